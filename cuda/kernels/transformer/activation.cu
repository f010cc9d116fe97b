// silu(gate) * up of a feed-forward layer, and rows as FP8 (E4M3) with a scale each. A row of FP8 is one block's, which
// goes over it twice: once for its largest number, once, from the caches, for its codes.
constexpr int THREADS = 256;
static_assert(RUST_THREADS == THREADS);

/// Writes the rows that `value_at(v, column)` gives.
template <class ValueAt> DEV void write_row(u8 *to, i64 to_stride, float *scales, int width, ValueAt value_at) {
    const int first = (blockIdx.y * THREADS + threadIdx.x) * 8, step = gridDim.y * THREADS * 8;
    float v[8], largest = 0;
    if (FP8)
        for (int c = first; c < width; c += step) {
            value_at(v, c);
#pragma unroll
            for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(v[i]));
        }
    if (FP8) largest = block_max<THREADS>(largest);
    const float scale = fp8_scale(largest);
    for (int c = first; c < width; c += step) {
        value_at(v, c);
        if (FP8) *(uint2 *)(to + blockIdx.x * to_stride + c) = fp8(v, 1.f / scale);
        else *(uint4 *)(to + (blockIdx.x * to_stride + c) * 2) = packed(v);
    }
    if (FP8 && threadIdx.x == 0) scales[blockIdx.x] = scale;
}

extern "C" __global__ void __launch_bounds__(THREADS)
swiglu(const u16 *__restrict__ gate_up, i64 stride, u8 *to, i64 to_stride, float *scales, int width) {
    release_next();
    wait_for_last();
    const u16 *row = gate_up + blockIdx.x * stride;
    write_row(to, to_stride, scales, width, [&](float (&v)[8], int c) {
        float up[8];
        unpack(v, *(const uint4 *)(row + c)), unpack(up, *(const uint4 *)(row + width + c));
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] = silu(v[i]) * up[i];
    });
}

extern "C" __global__ void __launch_bounds__(THREADS)
quantise_rows(const u16 *__restrict__ x, i64 stride, u8 *to, i64 to_stride, float *scales, int width) {
    release_next();
    wait_for_last();
    const u16 *row = x + blockIdx.x * stride;
    write_row(to, to_stride, scales, width, [&](float (&v)[8], int c) { unpack(v, *(const uint4 *)(row + c)); });
}
