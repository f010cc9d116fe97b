// Rows: what is left of the backward pass when S, Vn, dS' and dR of every chunk are known; all chunks at once, one
// block a chunk and head. With rq, rk the factors that make rows of q (scale included) and k of unit length, and
// D_ij = e^(G_i - G_j):
//
//   A = lower(dO Vn^T) * D rq_i rk_j                 gradient by q_i . k_j through P
//   F = -strictly_lower(dR Vn^T) * D rk_i rk_j       gradient by k_i . k_j through the factor T
//   dQ     = diag(query) dO S^T + A K
//   writer = diag(write) Vn dS'^T + A^T Q + F^T K    dK = writer + reader
//   reader = -diag(read) dR S^T + F K
//   d beta_i = dR_i . Vn_i / beta_i^2
//
// F needs no product with T: the gradient by I + M is -dU Vn^T where dU = dR / beta solves the transposed system. A
// gate G_i stands in e^(G_i) of every q_i and reader and in e^(-G_i) of every writer, so its gradient is
// q_i . dQ_i + k_i . reader_i - k_i . writer_i; G_last has the whole of diag(write) and of the decay besides.
//
// A warp owns 16 tokens and half of the columns.
constexpr int THREADS = 256, PAIRS = D / 32;  // pairs of 8 columns in a half

struct Shared {
    u16 q[TILES * HALF], k[TILES * HALF], d_o[TILES * HALF], d_v[TILES * HALF];
    u16 before[STATE], after[STATE], news[NEWS];
    u16 a[HALF], f[HALF];
    ForState in;  // of it only the coefficients
    float query[CHUNK], gate[CHUNK], beta[CHUNK], rk[CHUNK], rq[CHUNK];
    float sums[2][4][CHUNK];  // of a half and row: q . dQ, k . writer, k . reader, the part of writer by the state
    float states[THREADS / 32];
    u64 bar;
};
enum { BY_Q, BY_WRITER, BY_READER, BY_WRITE };

struct Arguments {
    const Record *records;
    const u16 *before, *after, *news;
    const float *log_gate, *beta;
    float *d_gate, *d_beta;
    int tokens, chunks;
    float scale, epsilon;
    int normalise, erase;
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS && sizeof(Shared) == SIZEOF_SHARED);

/// Running sums of the log gates, and the factors that make rows of unit length: four threads a row.
DEV void coefficients(Shared &sh, const Arguments &x, int t, int first, i64 at, int heads) {
    const int lane = t & 31;
    if (t < CHUNK) {
        const bool inside = first + t < x.tokens;
        float g = inside ? fmaxf(x.log_gate[at + (i64)t * heads], -104.f) : 0.f;  // as `prepare` does
        sh.beta[t] = inside ? x.beta[at + (i64)t * heads] : 1.f;
        for (int s = 1; s < 32; s *= 2) {
            const float left = __shfl_up_sync(~0u, g, s);
            if (lane >= s) g += left;
        }
        sh.gate[t] = g;
    }
    __syncthreads();
    if (t >= 32 && t < CHUNK) sh.gate[t] += sh.gate[31];
    mbar_wait(&sh.bar, 0);
    const int row = t >> 2, part = t & 3;
    float nk = 0, nq = 0;
#pragma unroll
    for (int i = 0; i < D / 32; ++i) {
        const u32 to = in_tiles(0, row, i * 4 + part);
        const uint4 y = *(const uint4 *)((char *)sh.k + to), z = *(const uint4 *)((char *)sh.q + to);
        const u32 ys[4] = {y.x, y.y, y.z, y.w}, zs[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            nk += low(ys[e]) * low(ys[e]) + high(ys[e]) * high(ys[e]);
            nq += low(zs[e]) * low(zs[e]) + high(zs[e]) * high(zs[e]);
        }
    }
#pragma unroll
    for (int s = 1; s < 4; s *= 2) nk += __shfl_xor_sync(~0u, nk, s), nq += __shfl_xor_sync(~0u, nq, s);
    if (part == 0) {
        sh.rk[row] = x.normalise ? rsqrtf(nk + x.epsilon) : 1.f;
        sh.rq[row] = x.normalise ? rsqrtf(nq + x.epsilon) : 1.f;
    }
    // What both states have in common: the gradient by the decay.
    float both = 0;
#pragma unroll 4
    for (int i = t; i < STATE / 8; i += THREADS) {
        const uint4 y = ((const uint4 *)sh.before)[i], z = ((const uint4 *)sh.after)[i];
        const u32 ys[4] = {y.x, y.y, y.z, y.w}, zs[4] = {z.x, z.y, z.z, z.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) both += low(ys[e]) * low(zs[e]) + high(ys[e]) * high(zs[e]);
    }
#pragma unroll
    for (int s = 1; s < 32; s *= 2) both += __shfl_xor_sync(~0u, both, s);
    if (lane == 0) sh.states[t >> 5] = both;
    __syncthreads();
}

/// A of 16 rows from dO (half 0), or F and the gradient by beta from dR (half 1).
DEV void scores(Shared &sh, const Arguments &x, int r, int half, int lane, int first, i64 at, int heads) {
    const int g8 = lane >> 2, t2 = (lane & 3) * 2, i0 = r * 16 + g8, i1 = i0 + 8;
    const u32 left = shared(half ? sh.d_v : sh.d_o), news = shared(sh.news);
    const Place at_wide = wide(lane);
    float acc[8][4] = {};
#pragma unroll
    for (int ks = 0; ks < STEPS; ++ks) {
        u32 a[4];
        ldmatrix(a, in_tiles(left, r * 16 + at_wide.row, ks * 2 + at_wide.piece));
#pragma unroll
        for (int n = 0; n < 4; ++n)
            if (n <= r) {
                u32 b[4];
                ldmatrix_t(b, in_blocks(news, 8, ks * 16 + at_wide.row, n * 2 + at_wide.piece));
                mma(acc[2 * n], a, b[0], b[1]), mma(acc[2 * n + 1], a, b[2], b[3]);
            }
    }
    const float g0 = sh.gate[i0], g1 = sh.gate[i1], erase = x.erase ? -1.f : 0.f;
    const float f0 = half ? erase * sh.rk[i0] : sh.rq[i0] * x.scale, f1 = half ? erase * sh.rk[i1] : sh.rq[i1] * x.scale;
    char *to = (char *)(half ? sh.f : sh.a);
#pragma unroll
    for (int n = 0; n < 8; ++n)
        if (n <= 2 * r + 1) {
            const int j = n * 8 + t2;
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                // Before F is cut off below the diagonal: what stands on it is the gradient by beta.
                if (half && j + e == i0 && first + i0 < x.tokens) x.d_beta[at + (i64)i0 * heads] = acc[n][e] / sh.beta[i0] / sh.beta[i0];
                if (half && j + e == i1 && first + i1 < x.tokens) x.d_beta[at + (i64)i1 * heads] = acc[n][2 + e] / sh.beta[i1] / sh.beta[i1];
                const float gj = sh.gate[j + e], rj = sh.rk[j + e];
                acc[n][e] *= j + e + half <= i0 ? __expf(g0 - gj) * rj * f0 : 0.f;
                acc[n][2 + e] *= j + e + half <= i1 ? __expf(g1 - gj) * rj * f1 : 0.f;
            }
            *(u32 *)(to + in_tiles(0, i0, n) + t2 * 2) = pack(acc[n][0], acc[n][1]);
            *(u32 *)(to + in_tiles(0, i1, n) + t2 * 2) = pack(acc[n][2], acc[n][3]);
        }
}

/// Rows of `rows` times those of accumulators, summed over this half's columns; a lane of each quad writes.
DEV void dot_rows(float *sums, u32 rows, const float (&acc)[2 * PAIRS][4], int r, int half, int lane) {
    const Place at = wide(lane);
    float s0 = 0, s1 = 0;
#pragma unroll
    for (int n = 0; n < PAIRS; ++n) {
        u32 y[4];
        ldmatrix(y, in_tiles(rows, r * 16 + at.row, (half * PAIRS + n) * 2 + at.piece));
        const float(&u)[4] = acc[2 * n], (&v)[4] = acc[2 * n + 1];
        s0 += low(y[0]) * u[0] + high(y[0]) * u[1] + low(y[2]) * v[0] + high(y[2]) * v[1];
        s1 += low(y[1]) * u[2] + high(y[1]) * u[3] + low(y[3]) * v[2] + high(y[3]) * v[3];
    }
#pragma unroll
    for (int s = 1; s < 4; s *= 2) s0 += __shfl_xor_sync(~0u, s0, s), s1 += __shfl_xor_sync(~0u, s1, s);
    if ((lane & 3) == 0) sums[r * 16 + (lane >> 2)] = s0, sums[r * 16 + (lane >> 2) + 8] = s1;
}
DEV void scale_rows(float (&acc)[2 * PAIRS][4], float upper, float lower) {
#pragma unroll
    for (int n = 0; n < 2 * PAIRS; ++n) acc[n][0] *= upper, acc[n][1] *= upper, acc[n][2] *= lower, acc[n][3] *= lower;
}
DEV void add(float (&acc)[2 * PAIRS][4], const u32 (&a)[4], const u32 (&b)[PAIRS][4]) {
#pragma unroll
    for (int n = 0; n < PAIRS; ++n) mma(acc[2 * n], a, b[n][0], b[n][1]), mma(acc[2 * n + 1], a, b[n][2], b[n][3]);
}
/// Takes out of a gradient what runs along the row itself and puts the result in the row's place.
DEV void finish(u32 rows, const float (&acc)[2 * PAIRS][4], float along0, float along1, int r, int half, int lane) {
    const Place at = wide(lane);
#pragma unroll
    for (int n = 0; n < PAIRS; ++n) {
        const u32 place = in_tiles(rows, r * 16 + at.row, (half * PAIRS + n) * 2 + at.piece);
        u32 y[4];
        ldmatrix(y, place);
        __syncwarp();
        const float(&u)[4] = acc[2 * n], (&v)[4] = acc[2 * n + 1];
        const u32 a = pack(u[0] - along0 * low(y[0]), u[1] - along0 * high(y[0])), b = pack(u[2] - along1 * low(y[1]), u[3] - along1 * high(y[1]));
        const u32 c = pack(v[0] - along0 * low(y[2]), v[1] - along0 * high(y[2])), d = pack(v[2] - along1 * low(y[3]), v[3] - along1 * high(y[3]));
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(place), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, D == 64 ? 2 : 1)
rows(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap d_o,
     const __grid_constant__ TensorMap d_v, const __grid_constant__ TensorMap d_q, const __grid_constant__ TensorMap d_k,
     const __grid_constant__ Arguments x) {
    extern __shared__ __align__(1024) char smem[];
    Shared &sh = *(Shared *)smem;
    const int t = threadIdx.x, warp = t >> 5, lane = t & 31, r = warp & 3, half = warp >> 2, g8 = lane >> 2;
    const int h = blockIdx.x, heads = gridDim.x, c = blockIdx.y, b = blockIdx.z, first = c * CHUNK;
    const i64 place = ((i64)b * heads + h) * x.chunks + c, at = ((i64)b * x.tokens + first) * heads + h;
    if (t == 64) {
        mbar_init(&sh.bar, 1);
        proxy_fence();
        mbar_expect(&sh.bar, 4 * TILES * HALF * 2 + 2 * STATE * 2 + NEWS * 2 + 4 * CHUNK * 4);
        for (int i = 0; i < TILES; ++i) {
            load_tile(sh.q + i * HALF, &q, &sh.bar, h * D + i * 64, first, b);
            load_tile(sh.k + i * HALF, &k, &sh.bar, h * D + i * 64, first, b);
            load_tile(sh.d_o + i * HALF, &d_o, &sh.bar, h * D + i * 64, first, b);
            load_tile(sh.d_v + i * HALF, &d_v, &sh.bar, h * D + i * 64, first, b);
        }
        load_flat(sh.before, x.before + place * STATE, STATE * 2, &sh.bar);
        load_flat(sh.after, x.after + place * STATE, STATE * 2, &sh.bar);
        load_flat(sh.news, x.news + place * NEWS, NEWS * 2, &sh.bar);
        load_flat(sh.query, x.records[place].output.query, CHUNK * 4, &sh.bar);
        load_flat(sh.in.read, x.records[place].state.read, 3 * CHUNK * 4, &sh.bar);
    }
    coefficients(sh, x, t, first, at, heads);
    scores(sh, x, r, half, lane, first, at, heads);
    __syncthreads();

    const u32 sq = shared(sh.q), sk = shared(sh.k), so = shared(sh.d_o), sv = shared(sh.d_v), sa = shared(sh.a), sf = shared(sh.f);
    const u32 before = shared(sh.before), after = shared(sh.after), news = shared(sh.news);
    const Place w = wide(lane), l = tall(lane);
    const int row = r * 16 + w.row, i0 = r * 16 + g8, i1 = i0 + 8;
    float dq[2 * PAIRS][4] = {}, writer[2 * PAIRS][4] = {}, reader[2 * PAIRS][4] = {};
#pragma unroll 2
    for (int ks = 0; ks < STEPS; ++ks) {
        u32 a[4], s[PAIRS][4];
#pragma unroll
        for (int n = 0; n < PAIRS; ++n) ldmatrix_t(s[n], in_blocks(before, D / 8, ks * 16 + w.row, (half * PAIRS + n) * 2 + w.piece));
        ldmatrix(a, in_tiles(so, row, ks * 2 + w.piece));
        add(dq, a, s);
        ldmatrix(a, in_tiles(sv, row, ks * 2 + w.piece));
        add(reader, a, s);
#pragma unroll
        for (int n = 0; n < PAIRS; ++n) ldmatrix_t(s[n], in_blocks(after, D / 8, ks * 16 + w.row, (half * PAIRS + n) * 2 + w.piece));
        ldmatrix_t(a, in_blocks(news, 8, ks * 16 + l.row, r * 2 + l.piece));
        add(writer, a, s);
    }
    scale_rows(dq, sh.query[i0], sh.query[i1]);
    scale_rows(reader, -sh.in.read[i0], -sh.in.read[i1]);
    scale_rows(writer, sh.in.write[i0], sh.in.write[i1]);
    dot_rows(sh.sums[half][BY_WRITE], sk, writer, r, half, lane);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
        u32 a[4], s[PAIRS][4];
#pragma unroll
        for (int n = 0; n < PAIRS; ++n) ldmatrix_t(s[n], in_tiles(sk, j * 16 + w.row, (half * PAIRS + n) * 2 + w.piece));
        if (j <= r) {
            ldmatrix(a, in_tiles(sa, row, j * 2 + w.piece));
            add(dq, a, s);
            ldmatrix(a, in_tiles(sf, row, j * 2 + w.piece));
            add(reader, a, s);
        }
        if (j >= r) {
            ldmatrix_t(a, in_tiles(sf, j * 16 + l.row, r * 2 + l.piece));
            add(writer, a, s);
#pragma unroll
            for (int n = 0; n < PAIRS; ++n) ldmatrix_t(s[n], in_tiles(sq, j * 16 + w.row, (half * PAIRS + n) * 2 + w.piece));
            ldmatrix_t(a, in_tiles(sa, j * 16 + l.row, r * 2 + l.piece));
            add(writer, a, s);
        }
    }
    dot_rows(sh.sums[half][BY_Q], sq, dq, r, half, lane);
    dot_rows(sh.sums[half][BY_WRITER], sk, writer, r, half, lane);
    dot_rows(sh.sums[half][BY_READER], sk, reader, r, half, lane);
    __syncthreads();

#pragma unroll
    for (int n = 0; n < 2 * PAIRS; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) writer[n][e] += reader[n][e];
    const auto sum = [&](int which, int i) { return sh.sums[0][which][i] + sh.sums[1][which][i]; };
    const auto along_q = [&](int i) { return x.normalise ? sh.rq[i] * sh.rq[i] * sum(BY_Q, i) : 0.f; };
    const auto along_k = [&](int i) { return x.normalise ? sh.rk[i] * sh.rk[i] * (sum(BY_WRITER, i) + sum(BY_READER, i)) : 0.f; };
    finish(sq, dq, along_q(i0), along_q(i1), r, half, lane);
    finish(sk, writer, along_k(i0), along_k(i1), r, half, lane);
    if (warp == 0) {
        // From the sums of both halves of the tokens of a lane, back from the last token.
        float last = 0, g[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int token = 2 * lane + i;
            last += sum(BY_WRITE, token);
            g[i] = sum(BY_Q, token) + sum(BY_READER, token) - sum(BY_WRITER, token);
        }
        last += lane < THREADS / 32 ? sh.in.decay[0] * sh.states[lane] : 0.f;
#pragma unroll
        for (int s = 1; s < 32; s *= 2) last += __shfl_xor_sync(~0u, last, s);
        if (lane == 31) g[1] += last;
        g[0] += g[1];
        float later = g[0];
#pragma unroll
        for (int s = 1; s < 32; s *= 2) {
            const float y = __shfl_down_sync(~0u, later, s);
            if (lane + s < 32) later += y;
        }
        later -= g[0];
#pragma unroll
        for (int i = 0; i < 2; ++i)
            if (first + 2 * lane + i < x.tokens) x.d_gate[at + (i64)(2 * lane + i) * heads] = g[i] + later;
    }
    proxy_fence();
    __syncthreads();
    if (t == 0) {
        for (int i = 0; i < TILES; ++i) {
            store_tile(&d_q, sh.q + i * HALF, h * D + i * 64, first, b);
            store_tile(&d_k, sh.k + i * HALF, h * D + i * 64, first, b);
        }
        stores_read();
    }
}
