// RMS norm of rows of the residual stream, a block a row: what is added to the stream before, FP8 with a scale a row
// after. A thread holds PIECES times 8 numbers of the row, so the row is read once.
constexpr int THREADS = 256;
static_assert(RUST_THREADS == THREADS);

extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(u16 *x, i64 x_stride, const u16 *delta, i64 delta_stride, const u16 *__restrict__ weight, float bias, u8 *to, i64 to_stride,
         float *scales, int width, float epsilon) {
    const int t = threadIdx.x;
    release_next();
    uint4 w[PIECES];
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        const int c = (p * THREADS + t) * 8;
        w[p] = c < width ? *(const uint4 *)(weight + c) : make_uint4(0, 0, 0, 0);
    }
    wait_for_last();
    float v[PIECES][8];
    float sum = 0;
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        const int c = (p * THREADS + t) * 8;
        uint4 y = make_uint4(0, 0, 0, 0);
        if (c < width) {
            u16 *at = x + blockIdx.x * x_stride + c;
            y = *(const uint4 *)at;
            if (delta) {
                float d[8];
                unpack(v[p], y), unpack(d, *(const uint4 *)(delta + blockIdx.x * delta_stride + c));
#pragma unroll
                for (int i = 0; i < 8; ++i) v[p][i] += d[i];
                *(uint4 *)at = y = packed(v[p]);  // the stream is bf16, and so is what is normed
            }
        }
        unpack(v[p], y);
#pragma unroll
        for (int i = 0; i < 8; ++i) sum += v[p][i] * v[p][i];
    }
    const float root = rsqrtf(block_sum<THREADS>(sum) / width + epsilon);
    float largest = 0;
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        float g[8];
        unpack(g, w[p]);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[p][i] *= root * (g[i] + bias), largest = fmaxf(largest, fabsf(v[p][i]));
    }
    if (FP8) largest = block_max<THREADS>(largest);
    const float scale = fp8_scale(largest);
#pragma unroll
    for (int p = 0; p < PIECES; ++p) {
        const int c = (p * THREADS + t) * 8;
        if (c >= width) continue;
        if (FP8) *(uint2 *)(to + blockIdx.x * to_stride + c) = fp8(v[p], 1.f / scale);
        else *(uint4 *)(to + (blockIdx.x * to_stride + c) * 2) = packed(v[p]);
    }
    if (FP8 && t == 0) scales[blockIdx.x] = scale;
}
