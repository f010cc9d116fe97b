// silu(gate) * up of a feed-forward layer, and rows as FP8 (E4M3) with a scale each. A row of FP8 is one block's, which
// holds it in registers between finding its largest number and writing its codes.
constexpr int THREADS = 256;
static_assert(RUST_THREADS == THREADS);

/// Writes the rows that `value_at(v, column)` gives.
template <class ValueAt> DEV void write_row(u8 *to, i64 to_stride, float *scales, int width, ValueAt value_at) {
    const int first = (blockIdx.y * THREADS + threadIdx.x) * 8, step = gridDim.y * THREADS * 8;
    float v[8];
    if (!FP8) {
        for (int c = first; c < width; c += step) {
            value_at(v, c);
            *(uint4 *)(to + (blockIdx.x * to_stride + c) * 2) = packed(v);
        }
        return;
    }
    constexpr int HELD = 8;  // pieces in registers; what is behind them is computed twice
    uint4 held[HELD];
    float largest = 0;
    const auto measure = [&] {
#pragma unroll
        for (int i = 0; i < 8; ++i) largest = fmaxf(largest, fabsf(v[i]));
    };
#pragma unroll
    for (int p = 0; p < HELD; ++p) {
        const int c = first + p * step;
        if (c >= width) continue;
        value_at(v, c);
        held[p] = packed(v);
        measure();
    }
    for (int c = first + HELD * step; c < width; c += step) value_at(v, c), measure();
    const float scale = fp8_scale(block_max<THREADS>(largest));
    u8 *row = to + blockIdx.x * to_stride;
#pragma unroll
    for (int p = 0; p < HELD; ++p) {
        const int c = first + p * step;
        if (c >= width) continue;
        unpack(v, held[p]);
        *(uint2 *)(row + c) = fp8(v, 1.f / scale);
    }
    for (int c = first + HELD * step; c < width; c += step) {
        value_at(v, c);
        *(uint2 *)(row + c) = fp8(v, 1.f / scale);
    }
    if (threadIdx.x == 0) scales[blockIdx.x] = scale;
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
