// Scan: the recurrence over chunks. A block owns 64 columns of the state of one head and walks the sequence. Per
// chunk, with S the state before it (D x D):
//
//   R  = V - diag(read) K S          what the state does not know yet
//   Vn = T R                         what each token writes
//   O  = diag(query) Q S + P Vn      what each token reads
//   S' = decay S + K^T diag(write) Vn
//
// Everything is computed transposed, 64 value columns by tokens or by key dimensions: then the state, the residual
// and the written values are accumulators of one wgmma and, without leaving their registers, the A operand of the
// next. One warp group ("state") does lines 1, 2 and 4, which is what the next chunk waits for; a second one
// ("output") does line 3 one step behind; a third asks for the tiles of later chunks, a ring for each of the two. The
// groups exchange S and Vn as ready A operands through shared memory. All sums and the state are fp32.
//
// Where the output's RMS norm is asked for, the blocks of one head, a cluster, add up their sums of squares.
constexpr int TILES = D / 64, STEPS = D / 16;
constexpr int STAGES = D <= 128 ? 3 : 2;   // chunks under way
constexpr int BUFFERS = D <= 128 ? 2 : 1;  // exchanges under way
constexpr int AHEAD = D <= 128 ? STEPS : PRECISE ? 2 : 8;  // A operands of S held at once

struct Exchange {
    uint4 s[STEPS][128], v[4][128];
};
struct Shared {
    u16 k[STAGES][TILES * HALF], v[STAGES][HALF], q[STAGES][TILES * HALF];
    ForState for_state[STAGES];
    ForOutput for_output[STAGES];
    Exchange exchange[BUFFERS];
    u16 o[HALF];
    float squares[2][TILES][4][CHUNK];
    u64 state_full[STAGES], state_empty[STAGES], output_full[STAGES], output_empty[STAGES], sums[2];
};
enum { OUTPUT = 1, FULL = 2, EMPTY = 4 };

struct Arguments {
    u16 *o;
    const Record *records;
    const float *initial;  // [batch, heads, D, D] or null: zeros
    float *final;          // the same or null: not wanted
    const void *gamma;     // [D] or null: no norm
    i64 ldo;
    int tokens, chunks;
    float epsilon;
    int narrow;            // gamma in bf16
    int group;             // heads that share queries and keys
#if RAGGED
    Ragged ragged;         // `initial` and `final` are pools then
#endif
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS && sizeof(Shared) == SIZEOF_SHARED);
/// A state that is to be written when so many chunks have been read; only with RAGGED.
struct Snapshot {
    float *state;
    int after;
};

/// Rounds a 16 x 16 block of accumulators to an A operand; `rest` takes what the rounding lost.
DEV void operand(u32 (&a)[4], const float *x) {
    a[0] = pack(x[0], x[1]), a[1] = pack(x[2], x[3]), a[2] = pack(x[4], x[5]), a[3] = pack(x[6], x[7]);
}
DEV void rest(u32 (&a)[4], const u32 (&r)[4], const float *x) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a[i] = pack(x[2 * i] - low(r[i]), x[2 * i + 1] - high(r[i]));
}
DEV void operands(u32 (&a)[4], u32 (&a2)[4], const float *x) {
    operand(a, x);
    if (PRECISE) rest(a2, a, x);
}
DEV uint4 as_uint4(const u32 (&a)[4]) { return make_uint4(a[0], a[1], a[2], a[3]); }
/// out (64 x tokens, tokens in two halves) += a (64 x tokens) * transpose of a triangular factor.
DEV void times_factor(float (&out)[2][16], const u32 (&a)[4][4], const u8 *factor, int add) {
    const u64 d = descriptor(factor, 16, 256, 3);
#pragma unroll
    for (int j = 0; j < 2; ++j) wg<32>(out[0], a[j], d + (factor_column(j) >> 4), add + j);
#pragma unroll
    for (int j = 0; j < 4; ++j) wg<32>(out[1], a[j], d + (factor_column(j) + (j < 2 ? 32 * 32 : 0) >> 4), add + j);
}
DEV constexpr int tile_step(int ks) { return (ks >> 2) * (HALF * 2 >> 4) + (ks & 3) * 2; }

DEV void store_state(float *to, i64 at, const float (&s)[TILES][32]) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) to[at + (n * 8 + (e & 1)) * D + (e >> 1) * 8] = s[n / 8][n % 8 * 4 + e];
}

DEV void run_state(Shared &sh, const Arguments &x, int t, int head, const Snapshot &snapshot) {
    const int warp = t >> 5, lane = t & 31, g8 = lane >> 2, t2 = (lane & 3) * 2;
    float s[TILES][32];  // rows are value columns, columns key dimensions
    const i64 at = ((i64)head * D + t2) * D + blockIdx.x * 64 + warp * 16 + g8;
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
            s[n / 8][n % 8 * 4 + e] = x.initial ? x.initial[at + (n * 8 + (e & 1)) * D + (e >> 1) * 8] : 0.f;

    // S as A operands. For the small heads they are made while the update still runs, for 256 there is no room.
    u32 a[AHEAD][4], a2[AHEAD][4];
    if (AHEAD == STEPS)
#pragma unroll
        for (int ks = 0; ks < AHEAD; ++ks) operands(a[ks], a2[ks], &s[ks / 4][ks % 4 * 8]);
    for (int c = 0; c < x.chunks; ++c) {
        if (RAGGED && snapshot.state && c == snapshot.after) store_state(snapshot.state, at, s);
        const int stage = c % STAGES;
        const ForState &in = sh.for_state[stage];
        Exchange &to = sh.exchange[c % BUFFERS];
        mbar_wait(&sh.state_full[stage], c / STAGES & 1);
        if (AHEAD < STEPS && c >= BUFFERS) bar_sync(EMPTY + c % BUFFERS, 256);
        float acc[32];
        touch(acc);
        const u64 dk = descriptor(sh.k[stage], 16, 1024, 1);
#pragma unroll
        for (int first = 0; first < STEPS; first += AHEAD) {
            if (AHEAD < STEPS)
#pragma unroll
                for (int i = 0; i < AHEAD; ++i) {
                    const int ks = first + i;
                    operands(a[i], a2[i], &s[ks / 4][ks % 4 * 8]);
                    to.s[ks][t] = as_uint4(a[i]);
                }
            wg_fence();
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) {
                wg<64>(acc, a[i], dk + tile_step(first + i), first + i > 0);
                if (PRECISE) wg<64>(acc, a2[i], dk + tile_step(first + i), 1);
            }
            wg_commit();
            if (AHEAD < STEPS) {
                wg_wait<0>();
                touch(acc);
            }
        }
        // What R needs besides, while the products run. V comes in through the same turned order.
        u32 v[4][4];
        float2 read[8], write[8];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const int token = j * 16 + (lane >> 4) * 8 + (lane & 7), piece = warp * 2 + ((lane >> 3) & 1);
            ldmatrix_t(v[j], shared(sh.v[stage]) + token * 128 + ((piece ^ (token & 7)) << 4));
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) read[n] = *(const float2 *)(in.read + n * 8 + t2);
        if (AHEAD == STEPS) {
            if (c >= BUFFERS) bar_sync(EMPTY + c % BUFFERS, 256);
#pragma unroll
            for (int ks = 0; ks < AHEAD; ++ks) to.s[ks][t] = as_uint4(a[ks]);
        }
        wg_wait<0>();
        touch(acc);
        u32 r[4][4], r2[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            float *y = acc + j * 8;
#pragma unroll
            for (int e = 0; e < 8; e += 2) {
                const float2 c0 = read[2 * j + e / 4];
                y[e] = low(v[j][e / 2]) - c0.x * y[e], y[e + 1] = high(v[j][e / 2]) - c0.y * y[e + 1];
            }
            operand(r[j], y);
            if (PRECISE) rest(r2[j], r[j], y);
        }
        float vn[2][16];
        touch(vn[0]), touch(vn[1]);
        wg_fence();
        times_factor(vn, r, in.t, 0);
        if (PRECISE) times_factor(vn, r2, in.t, 1);
        wg_commit();
        const float decay = in.decay[0];
#pragma unroll
        for (int i = 0; i < TILES; ++i)
#pragma unroll
            for (int e = 0; e < 32; ++e) s[i][e] *= decay;
#pragma unroll
        for (int n = 0; n < 8; ++n) write[n] = *(const float2 *)(in.write + n * 8 + t2);
        wg_wait<0>();
        touch(vn[0]), touch(vn[1]);
        u32 w[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const float *y = &vn[j / 2][j % 2 * 8];
#pragma unroll
            for (int e = 0; e < 4; ++e) w[j][e] = pack(y[2 * e] * write[2 * j + e / 2].x, y[2 * e + 1] * write[2 * j + e / 2].y);
        }
#pragma unroll
        for (int i = 0; i < TILES; ++i) touch(s[i]);
        wg_fence();
        const u64 turned = descriptor(sh.k[stage], HALF * 2, 1024, 1);
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
#pragma unroll
            for (int j = 0; j < 4; ++j) wg_turned(s[i], w[j], turned + i * (HALF * 2 >> 4) + j * (2048 >> 4));
            wg_commit();
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            u32 y[4];
            operand(y, &vn[j / 2][j % 2 * 8]);
            to.v[j][t] = as_uint4(y);
        }
        bar_arrive(FULL + c % BUFFERS, 256);
        if (AHEAD == STEPS && TILES == 2) {
            wg_wait<1>();
            touch(s[0]);
#pragma unroll
            for (int ks = 0; ks < 4; ++ks) operands(a[ks], a2[ks], &s[0][ks * 8]);
        }
        wg_wait<0>();
#pragma unroll
        for (int i = 0; i < TILES; ++i) touch(s[i]);
        if (lane == 0) mbar_arrive(&sh.state_empty[stage]);
        if (AHEAD == STEPS)
#pragma unroll
            for (int ks = TILES == 2 ? 4 : 0; ks < AHEAD; ++ks) operands(a[ks], a2[ks], &s[ks / 4][ks % 4 * 8]);
    }
    for (int c = x.chunks; c < x.chunks + BUFFERS; ++c)  // leave no arrival of the other group unmatched
        if (c >= BUFFERS) bar_sync(EMPTY + c % BUFFERS, 256);
    if (RAGGED && snapshot.state && x.chunks == snapshot.after) store_state(snapshot.state, at, s);
    if (x.final)
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) x.final[at + (n * 8 + (e & 1)) * D + (e >> 1) * 8] = s[n / 8][n % 8 * 4 + e];
}

/// Adds up two halves of `v` over the lanes that differ in the bit 2 HALVES; a lane keeps the half that its bit names.
template <int HALVES> DEV void fold(float (&v)[16], int lane) {
    const bool upper = lane & HALVES * 2;
#pragma unroll
    for (int i = 0; i < HALVES; ++i) {
        const float give = upper ? v[i] : v[i + HALVES], keep = upper ? v[i + HALVES] : v[i];
        v[i] = keep + __shfl_xor_sync(~0u, give, HALVES * 2);
    }
}
/// Sums of squares over the value columns of a warp: afterwards a lane holds tokens 2 lane and 2 lane + 1.
DEV float2 squares(const float (&acc)[2][16], int lane) {
    float v[16];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
        const float *y = &acc[n / 4][n % 4 * 4];
        v[2 * n] = y[0] * y[0] + y[2] * y[2], v[2 * n + 1] = y[1] * y[1] + y[3] * y[3];
    }
    fold<8>(v, lane), fold<4>(v, lane), fold<2>(v, lane);
    return make_float2(v[0], v[1]);
}

/// Tells all blocks of the cluster this block's part of the sums of squares of a chunk.
DEV void send_squares(Shared &sh, const float (&acc)[2][16], int t, int c) {
    const float2 mine = squares(acc, t & 31);
    if (t == 0) mbar_expect(&sh.sums[c % 2], TILES * 1024);
    const u32 to = shared(&sh.squares[c % 2][blockIdx.x][t >> 5][2 * (t & 31)]), bar = shared(&sh.sums[c % 2]);
#pragma unroll
    for (int peer = 0; peer < TILES; ++peer) store_there(in_block(to, peer), mine, in_block(bar, peer));
}

/// Divides O by its root mean square over all columns of the head, which lie in the blocks of the cluster. Without a branch, and so is `store_rows`: the products of the next chunk are running.
DEV void normalise(Shared &sh, const Arguments &x, float (&acc)[2][16], int t, int c) {
    const int lane = t & 31;
    float2 sum = make_float2(0, 0);
#pragma unroll
    for (int i = 0; i < TILES * 4; ++i) {
        const float2 y = *(const float2 *)&sh.squares[c & 1][i >> 2][i & 3][2 * lane];
        sum.x += y.x, sum.y += y.y;
    }
    sum.x = sum.x * (1.f / D) + x.epsilon, sum.y = sum.y * (1.f / D) + x.epsilon;
    float2 root;
    asm volatile("rsqrt.approx.ftz.f32 %0, %2;\nrsqrt.approx.ftz.f32 %1, %3;" : "=f"(root.x), "=f"(root.y) : "f"(sum.x), "f"(sum.y));
    sum.x = x.gamma ? root.x : 1.f, sum.y = x.gamma ? root.y : 1.f;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
        const float r0 = __shfl_sync(~0u, sum.x, n * 4 + (lane & 3)), r1 = __shfl_sync(~0u, sum.y, n * 4 + (lane & 3));
        float *y = &acc[n / 4][n % 4 * 4];
        y[0] *= r0, y[1] *= r1, y[2] *= r0, y[3] *= r1;
    }
}

/// Turns O back and writes the rows of a chunk, 128 bytes each.
DEV void store_rows(Shared &sh, const Arguments &x, u16 *o, const float (&acc)[2][16], int t, int c) {
    const int warp = t >> 5, lane = t & 31, row = (lane >> 4) * 8 + (lane & 7);
    const u32 to = shared(sh.o) + row * 128 + (((warp * 2 + ((lane >> 3) & 1)) ^ (row & 7)) << 4);
    bar_sync(OUTPUT, 128);  // the rows of the chunk before have left
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        const float *y = &acc[j / 2][j % 2 * 8];
        stmatrix_t(to + j * 2048, pack(y[0], y[1]), pack(y[2], y[3]), pack(y[4], y[5]), pack(y[6], y[7]));
    }
    bar_sync(OUTPUT, 128);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int row = i * 16 + (t >> 3), part = t & 7, token = c * CHUNK + row;
        const uint4 y = *(const uint4 *)(sh.o + row * 64 + (part ^ (row & 7)) * 8);
        const int wanted = c >= 0 && token < x.tokens;
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\n@p st.global.v4.b32 [%0], {%1, %2, %3, %4};\n}"
                     ::"l"(o + token * x.ldo + part * 8), "r"(y.x), "r"(y.y), "r"(y.z), "r"(y.w), "r"(wanted) : "memory");
    }
}

DEV void run_output(Shared &sh, const Arguments &x, int t, int h, int b) {
    const int lane = t & 31, t2 = (lane & 3) * 2;
    u16 *o = x.o + (i64)b * x.tokens * x.ldo + h * D + blockIdx.x * 64;
    constexpr int COUNT = STEPS < 8 ? STEPS : 8;
    const int first_column = blockIdx.x * 64 + (t >> 5) * 16 + (lane >> 2);
    const float gamma[2] = {x.gamma ? number(x.gamma, first_column, x.narrow) : 1.f, x.gamma ? number(x.gamma, first_column + 8, x.narrow) : 1.f};
    float out[2][16] = {};
    for (int c = 0; c < x.chunks; ++c) {
        const int stage = c % STAGES;
        const ForOutput &in = sh.for_output[stage];
        Exchange &from = sh.exchange[c % BUFFERS];
        mbar_wait(&sh.output_full[stage], c / STAGES & 1);
        bar_sync(FULL + c % BUFFERS, 256);
        if (x.gamma && c) mbar_wait(&sh.sums[c - 1 & 1], (c - 1) / 2 & 1);
        float acc[32];
        touch(acc);
        const u64 dq = descriptor(sh.q[stage], 16, 1024, 1);
#pragma unroll
        for (int first = 0; first < STEPS; first += COUNT) {
            u32 a[COUNT][4];
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const uint4 y = from.s[first + i][t];
                a[i][0] = y.x, a[i][1] = y.y, a[i][2] = y.z, a[i][3] = y.w;
            }
            wg_fence();
#pragma unroll
            for (int i = 0; i < COUNT; ++i) wg<64>(acc, a[i], dq + tile_step(first + i), first + i > 0);
            wg_commit();
            if (first + COUNT < STEPS) wg_wait<0>();
        }
        // The chunk before, whose sums of squares have arrived, leaves while the products run.
        normalise(sh, x, out, t, c - 1);
        store_rows(sh, x, o, out, t, c - 1);
        u32 a[4][4];
        float2 query[8];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const uint4 y = from.v[j][t];
            a[j][0] = y.x, a[j][1] = y.y, a[j][2] = y.z, a[j][3] = y.w;
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) query[n] = *(const float2 *)(in.query + n * 8 + t2);
        wg_wait<0>();
        touch(acc);
#pragma unroll
        for (int n = 0; n < 8; ++n) {
            float *y = &out[n / 4][n % 4 * 4];
            y[0] = acc[4 * n] * query[n].x, y[1] = acc[4 * n + 1] * query[n].y;
            y[2] = acc[4 * n + 2] * query[n].x, y[3] = acc[4 * n + 3] * query[n].y;
        }
        touch(out[0]), touch(out[1]);
        wg_fence();
        times_factor(out, a, in.p, 1);
        wg_commit();
        wg_wait<0>();
        touch(out[0]), touch(out[1]);
        bar_arrive(EMPTY + c % BUFFERS, 256);
        if (lane == 0) mbar_arrive(&sh.output_empty[stage]);
        if (x.gamma) send_squares(sh, out, t, c);
        // The norm's weights. Done here, so that what waits for the sums is no longer a register of a product: the
        // compiler would wait for the next one before touching it.
#pragma unroll
        for (int i = 0; i < 32; ++i) out[i / 16][i % 16] *= gamma[i % 4 / 2];
    }
    if (x.gamma) mbar_wait(&sh.sums[x.chunks - 1 & 1], (x.chunks - 1) / 2 & 1);
    normalise(sh, x, out, t, x.chunks - 1);
    store_rows(sh, x, o, out, t, x.chunks - 1);
}

/// Asks for the tiles of every chunk as soon as a stage is free.
template <class Load> DEV void run_loads(u64 *full, u64 *empty, int chunks, int bytes, Load load) {
    for (int c = 0; c < chunks; ++c) {
        const int stage = c % STAGES;
        if (c >= STAGES) mbar_wait(&empty[stage], c / STAGES - 1 & 1);
        mbar_expect(&full[stage], bytes);
        load(stage, c, &full[stage]);
    }
}

extern "C" __global__ void __cluster_dims__(TILES, 1, 1) __launch_bounds__(384, 1)
scan(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, const __grid_constant__ Arguments given) {
    extern __shared__ __align__(1024) char smem[];
    Shared &sh = *(Shared *)smem;
    static_assert(RUST_THREADS == 384);
    const int t = threadIdx.x, tile = blockIdx.x, h = blockIdx.y;
#if RAGGED
    const Sequence b = given.ragged.sequences[blockIdx.z];
    const int sequence = 0, head = h;
    Arguments x = given;
    x.tokens = b.tokens, x.chunks = chunks_of(b);
    x.o += b.row * x.ldo;
    x.initial = in_slot(given.initial, b.from, given.ragged.state_stride), x.final = in_slot(given.final, b.to, given.ragged.state_stride);
    const Snapshot snapshot = {in_slot(given.final, b.snapshot, given.ragged.state_stride), b.after};
    const i64 first_record = (i64)h * given.ragged.chunks + b.chunk;
#else
    const int b = blockIdx.z, sequence = b, head = b * gridDim.y + h;
    const Arguments &x = given;
    const Snapshot snapshot = {};
#endif
    if (t == 0) {
        for (int i = 0; i < STAGES; ++i) {
            mbar_init(&sh.state_full[i], 1), mbar_init(&sh.state_empty[i], 4);
            mbar_init(&sh.output_full[i], 1), mbar_init(&sh.output_empty[i], 4);
        }
        for (int i = 0; i < 2; ++i) mbar_init(&sh.sums[i], 1);
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        proxy_fence();
    }
    cluster_sync();
#if !RAGGED
    const i64 first_record = (i64)head * x.chunks;
#endif
    const Record *records = x.records + first_record;
    if (t < 128) {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        run_state(sh, x, t, head, snapshot);
    } else if (t < 256) {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        if (!RAGGED || x.chunks) run_output(sh, x, t - 128, h, sequence);
    } else {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
        if (t == 256)
            run_loads(sh.state_full, sh.state_empty, x.chunks, (TILES + 1) * HALF * 2 + sizeof(ForState), [&](int stage, int c, u64 *bar) {
#pragma unroll
                for (int i = 0; i < TILES; ++i) load_tile(sh.k[stage] + i * HALF, &k, bar, h / x.group * D + i * 64, c * CHUNK, b);
                load_tile(sh.v[stage], &v, bar, h * D + tile * 64, c * CHUNK, b);
                load_flat(&sh.for_state[stage], &records[c].state, sizeof(ForState), bar);
            });
        if (t == 288)
            run_loads(sh.output_full, sh.output_empty, x.chunks, TILES * HALF * 2 + sizeof(ForOutput), [&](int stage, int c, u64 *bar) {
#pragma unroll
                for (int i = 0; i < TILES; ++i) load_tile(sh.q[stage] + i * HALF, &q, bar, h / x.group * D + i * 64, c * CHUNK, b);
                load_flat(&sh.for_output[stage], &records[c].output, sizeof(ForOutput), bar);
            });
        __syncwarp();
    }
    cluster_sync();  // a block may not leave while another still writes sums to it
}
