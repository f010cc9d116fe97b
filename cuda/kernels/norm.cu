// RMS norm of every head's output (`to` may be `from`), with the weights of the norm and, where there is one, the output
// gate silu(z). D / 8 lanes a row, 16 bytes a lane.
extern "C" __global__ void __launch_bounds__(256)
rms_norm(const u16 *from, u16 *to, i64 stride, const void *__restrict__ gamma, int narrow, const u16 *__restrict__ z, i64 ldz,
     i64 rows, int heads, float epsilon) {
    static_assert(RUST_THREADS == 256 && RUST_COLUMNS == 8);  // columns of a lane
    constexpr int LANES = D / 8;
    const i64 row = ((i64)blockIdx.x * 256 + threadIdx.x) / LANES;
    if (row >= rows) return;
    const i64 token = row / heads;
    const int h = row % heads, column = threadIdx.x % LANES * 8;
    const i64 place = token * stride + h * D + column;
    uint4 *at = (uint4 *)(to + place);
    float x[8], sum = 0;
    unpack(x, *(const uint4 *)(from + place));
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += x[i] * x[i];
    // Whole rows leave above, and a row never straddles a warp: the mask is the row's own lanes.
    const u32 mask = LANES == 32 ? ~0u : ((1u << LANES) - 1) << ((threadIdx.x & 31) / LANES * LANES);
#pragma unroll
    for (int s = 1; s < LANES; s *= 2) sum += __shfl_xor_sync(mask, sum, s);
    const float r = rsqrtf(sum / D + epsilon);
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] *= r * number(gamma, column + i, narrow);
    if (z) {
        const uint4 gate = *(const uint4 *)(z + token * ldz + h * D + column);
        const u32 g[4] = {gate.x, gate.y, gate.z, gate.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) x[2 * i] *= silu(low(g[i])), x[2 * i + 1] *= silu(high(g[i]));
    }
    *at = packed(x);
}
