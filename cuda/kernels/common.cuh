// What the kernels share: types, Hopper's tensor-core and copy instructions. Compiled by NVRTC at run time (target
// sm_90a) in front of each kernel file; no header of CUDA is needed. bf16 values travel as 16-bit integers.
//
// Options given at compile time: D (head size: 64, 128 or 256), PRECISE (1: state and residual enter the products of
// the recurrence as a sum of two bf16 numbers), RAGGED (1: sequences of different lengths, whose states lie in slots of a
// pool). Sizes that Rust lays out too come from there as SIZEOF_X or RUST_X, and are asserted here.
#ifndef RAGGED
#define RAGGED 0
#endif
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEV __device__ __forceinline__

constexpr int CHUNK = 64;             // tokens of a chunk
constexpr int HALF = CHUNK * 64;      // elements of a tile of 64 tokens and 64 columns, 128 bytes a row
constexpr int FACTOR = 6144;          // bytes of a triangular factor

/// A tensor map of the driver (`cuTensorMapEncodeTiled`): rank 3, [batch, token, column], boxes of 64 x 64, 128-byte
/// swizzle. Tokens behind the end arrive as zeros.
struct alignas(64) TensorMap {
    u64 words[16];
};

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

DEV u32 pack(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEV float low(u32 x) { return __uint_as_float(x << 16); }
DEV float high(u32 x) { return __uint_as_float(x & 0xffff0000u); }
DEV float bf16(u16 x) { return __uint_as_float((u32)x << 16); }
/// Eight numbers of bf16, which are 16 bytes.
DEV void unpack(float (&x)[8], const uint4 y) {
    const u32 ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) x[2 * i] = low(ys[i]), x[2 * i + 1] = high(ys[i]);
}
DEV uint4 packed(const float (&x)[8]) { return make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7])); }
DEV float silu(float x) { return x / (1.f + __expf(-x)); }
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
static_assert(sizeof(TensorMap) == SIZEOF_TENSOR_MAP && sizeof(Record) == SIZEOF_RECORD && sizeof(Gates) == SIZEOF_GATES);
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
DEV u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// ---- barriers ------------------------------------------------------------------------------------------------
DEV void bar_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void bar_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void mbar_init(u64 *b, int count) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared(b)), "r"(count) : "memory"); }
DEV void mbar_expect(u64 *b, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared(b)), "r"(bytes) : "memory");
}
DEV void mbar_arrive(u64 *b) { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared(b)) : "memory"); }
DEV void mbar_wait(u64 *b, int parity) {
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(shared(b)), "r"(parity) : "memory");
}
/// The address in another block of the cluster of what lies at `address` in this one.
DEV u32 in_block(u32 address, int rank) {
    u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
/// Stores in another block; the barrier there counts the bytes when they have arrived.
DEV void store_there(u32 to, float2 x, u32 bar) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
                 ::"r"(to), "f"(x.x), "f"(x.y), "r"(bar) : "memory");
}
DEV void cluster_sync() { asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory"); }
/// Orders ordinary accesses to shared memory before those of the copy engine and the tensor cores.
DEV void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- kernels behind each other (no effect unless launched for it) ---------------------------------------------
/// The next kernel of the stream may be placed as soon as all blocks of this one have said so.
DEV void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
/// Until everything that the kernel before wrote is there.
DEV void wait_for_last() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

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
DEV void load_flat(void *to, const void *from, int bytes, u64 *bar) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared(to)), "l"(from), "r"(bytes), "r"(shared(bar)) : "memory");
}
DEV void store_flat(void *to, const void *from, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;"
                 ::"l"(to), "r"(shared(from)), "r"(bytes) : "memory");
}

// ---- small matrices ------------------------------------------------------------------------------------------
DEV void ldmatrix_t(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
DEV void stmatrix_t(u32 address, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};"
                 ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
/// c (16 x 8) += a (16 x 8) * b (8 x 8), tf32 operands.
DEV void mma_tf32(float *c, const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- wgmma ---------------------------------------------------------------------------------------------------
// D (64 x N) += A (64 x 16) B (16 x N) of four warps; each warp holds 16 rows. Descriptors: PTX ISA, "Matrix
// descriptor"; swizzle 1 is 128 bytes, 3 is 32 bytes.
DEV u64 descriptor(const void *p, int leading, int stride, u64 swizzle) {
    return (u64)((shared(p) & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 | swizzle << 62;
}
DEV void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> DEV void wg_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
/// Tells the compiler that asynchronous products may have changed the registers.
template <int N> DEV void touch(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
#define F8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define R8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define R16 R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define R32 R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WG_RS(N, REGS, A, B, C, TRANS, ...)                                                                       \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" C ", 0;\nwgmma.mma_async.sync.aligned.m64n" N               \
                 "k16.f32.bf16.bf16 {" REGS "}, {" A "}, %" B ", p, 1, 1, " TRANS ";\n}"                           \
                 : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add) : "memory")
/// A in registers, B row by row along k.
template <int N> DEV void wg(float *d, const u32 (&a)[4], u64 b, int add) {
    if constexpr (N == 64) WG_RS("64", R32, "%32,%33,%34,%35", "36", "37", "0", F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24));
    if constexpr (N == 32) WG_RS("32", R16, "%16,%17,%18,%19", "20", "21", "0", F8(d, 0), F8(d, 8));
}
/// A in registers, B (16 x 64) row by row along n.
DEV void wg_turned(float (&d)[32], const u32 (&a)[4], u64 b) {
    constexpr int add = 1;
    WG_RS("64", R32, "%32,%33,%34,%35", "36", "37", "1", F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24));
}
/// Both operands in shared memory, row by row along k.
DEV void wg_shared(float (&d)[32], u64 a, u64 b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24) : "l"(a), "l"(b), "r"(add) : "memory");
}
