// Gradients around the recurrence. `rms_norm_backward`: of y = x / rms(x) * gamma, times silu(z) where there is a gate.
// D / 8 lanes a row, 16 bytes a lane; a block walks rows and keeps its part of the gradient by gamma, which
// `sum_parts` adds up. `raise_strengths` keeps the writing strengths away from zero: the backward pass divides by them.
constexpr int LANES = D / 8, ROWS = 256 / LANES;
static_assert(RUST_THREADS == 256);

extern "C" __global__ void __launch_bounds__(256)
rms_norm_backward(const u16 *__restrict__ from, const float *__restrict__ gamma, const u16 *__restrict__ z,
                  const u16 *__restrict__ d_y, u16 *__restrict__ d_x, u16 *__restrict__ d_z, float *__restrict__ parts,
                  i64 rows, float epsilon) {
    __shared__ float sums[ROWS][D];
    const int own = threadIdx.x / LANES, column = threadIdx.x % LANES * 8;
    const u32 mask = LANES == 32 ? ~0u : ((1u << LANES) - 1) << ((threadIdx.x & 31) / LANES * LANES);
    float weight[8], by_gamma[8] = {};
#pragma unroll
    for (int i = 0; i < 8; ++i) weight[i] = gamma[column + i];
    for (i64 row = (i64)blockIdx.x * ROWS + own; row < rows; row += (i64)gridDim.x * ROWS) {
        const i64 place = row * D + column;
        float x[8], d[8], squares = 0, along = 0;
        unpack(x, *(const uint4 *)(from + place));
        unpack(d, *(const uint4 *)(d_y + place));
        float gate[8], slope[8];
        if (z) {
            unpack(gate, *(const uint4 *)(z + place));
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const float s = 1.f / (1.f + __expf(-gate[i]));
                slope[i] = d[i] * weight[i] * x[i] * s * (1.f + gate[i] * (1.f - s));
                d[i] *= gate[i] * s;
            }
        }
#pragma unroll
        for (int i = 0; i < 8; ++i) squares += x[i] * x[i], along += x[i] * d[i] * weight[i];
#pragma unroll
        for (int s = 1; s < LANES; s *= 2) squares += __shfl_xor_sync(mask, squares, s), along += __shfl_xor_sync(mask, along, s);
        const float r = rsqrtf(squares / D + epsilon);
        along *= r * r / D;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            by_gamma[i] += d[i] * x[i] * r;
            d[i] = r * (d[i] * weight[i] - along * x[i]);
            if (z) slope[i] *= r;
        }
        *(uint4 *)(d_x + place) = packed(d);
        if (z) *(uint4 *)(d_z + place) = packed(slope);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) sums[own][column + i] = by_gamma[i];
    __syncthreads();
    for (int i = threadIdx.x; i < D; i += 256) {
        float sum = 0;
        for (int j = 0; j < ROWS; ++j) sum += sums[j][i];
        parts[(i64)blockIdx.x * D + i] = sum;
    }
}

/// Sums of columns of `[parts, D]`, one block a column.
extern "C" __global__ void __launch_bounds__(256) sum_parts(const float *__restrict__ parts, float *__restrict__ to, int count) {
    __shared__ float scratch[8];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += 256) sum += parts[(i64)i * D + blockIdx.x];
#pragma unroll
    for (int s = 16; s; s /= 2) sum += __shfl_xor_sync(~0u, sum, s);
    if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < 8; ++i) sum += scratch[i];
        to[blockIdx.x] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(256) raise_strengths(const float *__restrict__ from, float *__restrict__ to, i64 count) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < count) to[i] = fmaxf(from[i], 1e-12f);
}
