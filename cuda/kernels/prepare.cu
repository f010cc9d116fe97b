// Prepare: everything of a chunk of 64 tokens that does not depend on the state. One block a chunk and head, all
// chunks at once.
//
//   G = running sum of the log gates inside the chunk, k^ = k / |k|, q^ = q / |q| * scale
//   M = strict lower triangle of  b_i (k^_i . k^_j) e^(G_i - G_j),    T = (I + M)^-1 diag(b)
//   P = lower triangle of         (q^_i . k^_j) e^(G_i - G_j)
//
// T and P leave as bf16, norms and gates as fp32 coefficients (see `Record`), so that q, k and v are never written
// again. The inverse: forward substitution inside blocks of 16 in fp32, then blocks by 3 x tf32 products.
constexpr int PITCH = 72;  // of M in shared memory
constexpr int SMALL = 24;  // of an inverted block

/// x = big + small, both exact in tf32 up to the last bits of fp32.
DEV void split(float x, u32 &big, u32 &small) {
    big = __float_as_uint(x) & 0xffffe000u;
    small = __float_as_uint(x - __uint_as_float(big));
}
/// c (16 x 16) += a (16 x 16, accumulators of an earlier product) * transpose of the block at `b`. Which k a lane
/// holds is free as long as both operands agree: here columns 2t and 2t + 1 of an accumulator.
DEV void multiply(float (&c)[8], const float (&a)[8], const float *b, int pitch, int lane) {
#pragma unroll
    for (int kk = 0; kk < 2; ++kk) {
        u32 big[4], small[4];
        split(a[kk * 4], big[0], small[0]), split(a[kk * 4 + 2], big[1], small[1]);
        split(a[kk * 4 + 1], big[2], small[2]), split(a[kk * 4 + 3], big[3], small[3]);
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const float2 x = *(const float2 *)(b + (n * 8 + (lane >> 2)) * pitch + kk * 8 + (lane & 3) * 2);
            u32 b0, b1, s0, s1;
            split(x.x, b0, s0), split(x.y, b1, s1);
            mma_tf32(c + n * 4, small, b0, b1);
            mma_tf32(c + n * 4, big, s0, s1);
            mma_tf32(c + n * 4, big, b0, b1);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, D <= 128 ? 5 : 2)
prepare(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ Gates gates,
        Record *__restrict__ records, int tokens, int group, float scale, float epsilon, int normalise, int erase
#if RAGGED
        , const __grid_constant__ Ragged ragged
#endif
) {
    extern __shared__ __align__(1024) char smem[];
    constexpr int TILES = D / 64, SPENT = 24576;
    constexpr int AREA = TILES == 1 ? SPENT + sizeof(ForOutput) : 2 * TILES * HALF * 2;
    u16 *sk = (u16 *)smem, *sq = sk + TILES * HALF;
    float *sm = (float *)smem, *inverse = sm + CHUNK * PITCH;  // where K and Q were, once they are spent
    ForOutput &output = *(ForOutput *)(smem + SPENT);
    ForState &state = *(ForState *)(smem + AREA);
    float *sg = (float *)(smem + AREA + sizeof(ForState)), *sb = sg + CHUNK, *rk = sb + CHUNK, *rq = rk + CHUNK;
    u64 *bar = (u64 *)(rq + CHUNK);
    static_assert(AREA + sizeof(ForState) + 4 * CHUNK * sizeof(float) + 2 * sizeof(u64) == SIZEOF_SHARED);
    const int h = blockIdx.x, heads = gridDim.x, c = blockIdx.y, chunks = gridDim.y, sequence = blockIdx.z;
    const int t = threadIdx.x, warp = t >> 5, lane = t & 31;
#if RAGGED
    const Sequence b = ragged.sequences[ragged.of_chunk[c]];
    const int first = (c - b.chunk) * CHUNK;
#else
    const int b = sequence, first = c * CHUNK;
#endif

    if (t == 64) {  // not a thread that loads gates
        mbar_init(bar, 1);
        proxy_fence();
        mbar_expect(bar, 2 * TILES * HALF * 2);
#pragma unroll
        for (int i = 0; i < TILES; ++i) {
            load_tile(sk + i * HALF, &k, bar, h / group * D + i * 64, first, b);
            load_tile(sq + i * HALF, &q, bar, h / group * D + i * 64, first, b);
        }
    }
    // The running sum of the log gates. A token behind the end has gate 0 and strength 0: it changes nothing. e^-104 is
    // 0 in fp32: a lower gate forgets no more, but would take the last digits from the sums behind it.
    if (t < CHUNK) {
        const int token = first + t;
        Gate gate = {0.f, 0.f};
        if (token < tokens_of(b, tokens)) gate = gate_at(gates, sequence, token, first_row(b, tokens) + token, h, heads);
        float g = fmaxf(gate.log, -104.f);
        sb[t] = gate.strength;
        for (int s = 1; s < 32; s *= 2) {
            float left = __shfl_up_sync(~0u, g, s);
            if (lane >= s) g += left;
        }
        sg[t] = g;
    }
    __syncthreads();
    if (t >= 32 && t < CHUNK) sg[t] += sg[31];
    mbar_wait(bar, 0);

    float kk[32], qk[32];
    const u64 dk = descriptor(sk, 16, 1024, 1), dq = descriptor(sq, 16, 1024, 1);
    touch(kk), touch(qk);
    wg_fence();
#pragma unroll
    for (int ks = 0; ks < D / 16; ++ks) {
        const int at = (ks >> 2) * (HALF * 2 >> 4) + (ks & 3) * 2;
        wg_shared(kk, dk + at, dk + at, ks > 0);
        wg_shared(qk, dq + at, dk + at, ks > 0);
    }
    wg_commit();
    // Norms meanwhile: two threads a row, each every other tile of 64 columns (every other half for D = 64).
    {
        const int row = t >> 1, side = t & 1;
        float nk = 0, nq = 0;
        constexpr int PIECES = D / 16;
#pragma unroll
        for (int i = 0; i < PIECES; ++i) {
            const int tile = D == 64 ? 0 : (i >> 3) * 2 + side;
            const int piece = D == 64 ? ((i + row) & 3) + 4 * ((side + (row >> 2)) & 1) : (i + row + 4 * side) & 7;
            const int at = tile * HALF + row * 64 + piece * 8;
            const uint4 x = *(const uint4 *)(sk + at), y = *(const uint4 *)(sq + at);
            const u32 xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                nk += low(xs[e]) * low(xs[e]) + high(xs[e]) * high(xs[e]);
                nq += low(ys[e]) * low(ys[e]) + high(ys[e]) * high(ys[e]);
            }
        }
        nk += __shfl_xor_sync(~0u, nk, 1), nq += __shfl_xor_sync(~0u, nq, 1);
        if (side) rq[row] = (normalise ? rsqrtf(nq + epsilon) : 1.f) * scale;
        else rk[row] = normalise ? rsqrtf(nk + epsilon) : 1.f;
    }
    wg_wait<0>();
    touch(kk), touch(qk);
    __syncthreads();

    if (t < CHUNK) {
        const float g = sg[t], last = sg[CHUNK - 1], e = expf(g);
        state.read[t] = erase ? e * rk[t] : 0.f;
        state.write[t] = expf(last - g) * rk[t];
        output.query[t] = e * rq[t];
        state.decay[t] = expf(last);
    }
    // The two blocks above the diagonal that the products of halves read.
    if (t < 64) {
        const int row = (t >> 5) * 32 + (lane & 15), j = (t >> 5) * 32 + 16 + (lane >> 4) * 8;
        *(uint4 *)(state.t + factor_at(row, j)) = make_uint4(0, 0, 0, 0);
        *(uint4 *)(output.p + factor_at(row, j)) = make_uint4(0, 0, 0, 0);
    }
    // M to shared memory, P to the state. Row block `warp`, columns up to it.
    const int g8 = lane >> 2, t2 = (lane & 3) * 2, i0 = warp * 16 + g8, i1 = i0 + 8;
    {
        const float g0 = sg[i0], g1 = sg[i1], k0 = erase ? rk[i0] * sb[i0] : 0.f, k1 = erase ? rk[i1] * sb[i1] : 0.f;
        const float q0 = rq[i0], q1 = rq[i1];
#pragma unroll
        for (int n = 0; n < 8; ++n)
            if (n <= 2 * warp + 1) {
                const int j = n * 8 + t2;
                const float2 gj = *(const float2 *)(sg + j), rj = *(const float2 *)(rk + j);
                const float d0 = j <= i0 ? __expf(g0 - gj.x) * rj.x : 0.f, d1 = j < i0 ? __expf(g0 - gj.y) * rj.y : 0.f;
                const float d2 = j <= i1 ? __expf(g1 - gj.x) * rj.x : 0.f, d3 = j < i1 ? __expf(g1 - gj.y) * rj.y : 0.f;
                *(float2 *)(sm + i0 * PITCH + j) = make_float2(kk[n * 4] * d0 * k0, kk[n * 4 + 1] * d1 * k0);
                *(float2 *)(sm + i1 * PITCH + j) = make_float2(kk[n * 4 + 2] * d2 * k1, kk[n * 4 + 3] * d3 * k1);
                *(u32 *)(output.p + factor_at(i0, j)) = pack(qk[n * 4] * d0 * q0, qk[n * 4 + 1] * d1 * q0);
                *(u32 *)(output.p + factor_at(i1, j)) = pack(qk[n * 4 + 2] * d2 * q1, qk[n * 4 + 3] * d3 * q1);
            }
    }
    __syncwarp();

    // Block `warp` of the diagonal by forward substitution, a lane a column (both half warps do the same).
    {
        const float *m = sm + (warp * 16) * PITCH + warp * 16;
        const int column = lane & 15;
        float x[16];
#pragma unroll
        for (int r = 0; r < 16; ++r) {
            float sum[4] = {r == column ? 1.f : 0.f, 0, 0, 0};
#pragma unroll
            for (int s = 0; s < r; s += 4) {
                const float4 y = *(const float4 *)(m + r * PITCH + s);
                sum[0] -= y.x * x[s];
                if (s + 1 < r) sum[1] -= y.y * x[s + 1];
                if (s + 2 < r) sum[2] -= y.z * x[s + 2];
                if (s + 3 < r) sum[3] -= y.w * x[s + 3];
            }
            x[r] = (sum[0] + sum[1]) + (sum[2] + sum[3]);
        }
        if (lane < 16)
#pragma unroll
            for (int r = 0; r < 16; ++r) inverse[(warp * 16 + r) * SMALL + column] = x[r];
    }
    __syncthreads();

    // Block column `column` of T, transposed so that results are operands again: T_ij' = -(sum_k T_kj' M_ik') T_ii'.
    // The columns differ in length: which warp takes which turns with the block, so that the four quarters of a
    // multiprocessor are loaded alike.
    const int column = (warp + h + c) & 3;
    float turned[4][8];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i < column) continue;
        if (i == column) {
#pragma unroll
            for (int n = 0; n < 2; ++n)
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    turned[i][n * 4 + e] = inverse[(i * 16 + n * 8 + t2 + (e & 1)) * SMALL + g8 + (e >> 1) * 8];
        } else {
            float x[8] = {}, y[8] = {};
#pragma unroll
            for (int j = 0; j < 3; ++j)
                if (j >= column && j < i) multiply(x, turned[j], sm + (i * 16) * PITCH + j * 16, PITCH, lane);
            multiply(y, x, inverse + i * 16 * SMALL, SMALL, lane);
#pragma unroll
            for (int e = 0; e < 8; ++e) turned[i][e] = -y[e];
        }
        const float b0 = sb[column * 16 + g8], b1 = sb[column * 16 + g8 + 8];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
            const u32 x = pack(turned[i][n * 4] * b0, turned[i][n * 4 + 1] * b0), y = pack(turned[i][n * 4 + 2] * b1, turned[i][n * 4 + 3] * b1);
            const int row = i * 16 + n * 8 + t2, j = column * 16 + g8;
            *(u16 *)(state.t + factor_at(row, j)) = (u16)x, *(u16 *)(state.t + factor_at(row + 1, j)) = (u16)(x >> 16);
            *(u16 *)(state.t + factor_at(row, j + 8)) = (u16)y, *(u16 *)(state.t + factor_at(row + 1, j + 8)) = (u16)(y >> 16);
        }
    }
    proxy_fence();
    __syncthreads();
    if (t == 0) {
        Record *to = records + ((i64)sequence * heads + h) * chunks + c;
        store_flat(&to->output, &output, sizeof(ForOutput));
        store_flat(&to->state, &state, sizeof(ForState));
        asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
    }
}
