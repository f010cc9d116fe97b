// What the kernels of the rule share, compiled behind base.cuh in front of each of their files.
//
// Options given at compile time: D (head size: 64, 128 or 256), PRECISE (1: state and residual enter the products of
// the recurrence as a sum of two bf16 numbers), RAGGED (1: sequences of different lengths, whose states lie in slots of a
// pool). Sizes that Rust lays out too come from there as SIZEOF_X or RUST_X, and are asserted here.
#ifndef RAGGED
#define RAGGED 0
#endif
constexpr int CHUNK = 64;             // tokens of a chunk
constexpr int HALF = CHUNK * 64;      // elements of a tile of 64 tokens and 64 columns, 128 bytes a row
constexpr int FACTOR = 6144;          // bytes of a triangular factor

/// What `prepare` leaves for a chunk of one head. The factors are in the order in which wgmma takes its B operand:
/// blocks of 16 columns, 32 bytes a row, 32-byte swizzle; the first two with all 64 rows, the last two, whose first 32
/// rows are zero, with the rest.
struct ForOutput {
    u8 p[FACTOR];        // P
    float query[CHUNK];  // e^G |q|^-1 scale: the state as a query reads it
};
struct ForState {
    u8 t[FACTOR];        // T = (I + M)^-1 diag(b)
    float read[CHUNK];   // e^G |k|^-1: the state as a key reads it
    float write[CHUNK];  // e^(G_last - G) |k|^-1: the state as a key changes it
    float decay[CHUNK];  // e^G_last, the same in every place
};
struct Record {
    ForOutput output;
    ForState state;
};
DEV constexpr int factor_column(int j) { return j < 2 ? j * 2048 : 4096 + (j - 2) * 1024; }
DEV int factor_at(int row, int column) {
    int j = column >> 4, r = row & (j < 2 ? 63 : 31);
    return factor_column(j) + r * 32 + ((((column >> 3) & 1) ^ ((r >> 2) & 1)) << 4) + (column & 7) * 2;
}

/// A number of a small parameter of a layer, kept in fp32 or, `narrow`, in bf16.
DEV float number(const void *p, int i, int narrow) { return narrow ? bf16(((const u16 *)p)[i]) : ((const float *)p)[i]; }
/// The gates of a head from its two products: g = -exp(a_log) softplus(a + dt_bias), beta = sigmoid(b). Which of a_log,
/// dt_bias are kept in bf16 say the bits of `narrow`.
DEV float log_gate_of(float a, const void *a_log, const void *dt_bias, int h, int narrow) {
    const float x = a + number(dt_bias, h, narrow & 2);
    return -expf(number(a_log, h, narrow & 1)) * (x > 20.f ? x : log1pf(expf(x)));
}
DEV float strength_of(float b) { return 1.f / (1.f + expf(-b)); }
/// Where the gates of tokens come from, a row a token: numbers [rows, heads], or, where there are none, a layer's
/// products and what belongs to them.
struct Gates {
    const float *log_gate, *beta;
    const u16 *a, *b;
    i64 stride;  // of a and b, elements
    const void *a_log, *dt_bias;
    const float *lengths;  // [batch], tokens of a sequence before its padding; or null
    int first;             // place of the first token in its sequence
    int narrow;            // 1: a_log, 2: dt_bias in bf16
};
static_assert(CHUNK == RUST_CHUNK);
static_assert(sizeof(Record) == SIZEOF_RECORD && sizeof(Gates) == SIZEOF_GATES);
struct Gate {
    float log, strength;
};
/// The gate of a head at a token of a sequence, which lies in `row`. Padding has gate 0 and strength 0, which leave the
/// state alone.
DEV Gate gate_at(const Gates &x, int sequence, int token, i64 row, int h, int heads) {
    if (x.log_gate) return {x.log_gate[row * heads + h], x.beta[row * heads + h]};
    if (x.lengths && x.first + token >= x.lengths[sequence]) return {0.f, 0.f};
    return {log_gate_of(bf16(x.a[row * x.stride + h]), x.a_log, x.dt_bias, h, x.narrow), strength_of(bf16(x.b[row * x.stride + h]))};
}
// ---- bulk copies ---------------------------------------------------------------------------------------------
DEV void load_tile(void *to, const TensorMap *map, u64 *bar, int column, int token, int batch) {
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
                 ::"r"(shared(to)), "l"(map), "r"(shared(bar)), "r"(column), "r"(token), "r"(batch) : "memory");
}
#if RAGGED
/// A sequence of a batch whose sequences lie behind each other, rows and chunks counted through.
struct alignas(16) Sequence {
    int row, tokens;      // the first row, and how many
    int chunk;            // the first chunk
    int from, to;         // slots of the state before and after; below 0: zeros, not wanted
    int snapshot, after;  // slot of the state after so many chunks; below 0: not wanted
    int unused;
};
struct Ragged {
    const Sequence *sequences;
    const int *of_chunk;           // the sequence of every chunk
    i64 state_stride, tail_stride; // elements from slot to slot
    int chunks;                    // of all sequences
};
static_assert(sizeof(Sequence) == SIZEOF_SEQUENCE && sizeof(Ragged) == SIZEOF_RAGGED);
DEV int tokens_of(const Sequence &b, int) { return b.tokens; }
DEV int chunks_of(const Sequence &b) { return (b.tokens + CHUNK - 1) / CHUNK; }
DEV i64 first_row(const Sequence &b, int) { return b.row; }
/// What lies in a slot, null without one.
template <class T> DEV T *in_slot(T *pool, int slot, i64 stride) { return slot < 0 ? nullptr : pool + slot * stride; }

/// Tokens of a sequence; those behind its end arrive as zeros. The map has rank 4, [2^30, rows, rows, columns]: coordinates
/// a, b, c, d lie a 2^34 bytes minus a rows, plus b rows, plus c rows behind the first, and with a = 2^30 the first part is
/// minus 2^30 rows, as addresses have 64 bits. So c may count from 2^30 minus the sequence's length, and 2^30, where the
/// map's rows end, is where the sequence ends.
constexpr int BILLION = 1 << 30;
DEV void load_tile(void *to, const TensorMap *map, u64 *bar, int column, int token, const Sequence &b) {
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];"
                 ::"r"(shared(to)), "l"(map), "r"(shared(bar)), "r"(column), "r"(BILLION - b.tokens + token), "r"(b.row + b.tokens), "r"(BILLION)
                 : "memory");
}
#else
DEV int tokens_of(int, int tokens) { return tokens; }
DEV i64 first_row(int b, int tokens) { return (i64)b * tokens; }
#endif
