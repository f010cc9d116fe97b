// Outputs of attention through their gates: rows times the sigmoid of other rows, 16 bytes a thread.
constexpr int THREADS = 256;
static_assert(RUST_THREADS == THREADS);

extern "C" __global__ void __launch_bounds__(THREADS)
gate_rows(u16 *x, i64 stride, const u16 *__restrict__ gates, i64 gate_stride, int width) {
    release_next();
    wait_for_last();
    const int c = (blockIdx.y * THREADS + threadIdx.x) * 8;
    if (c >= width) return;
    uint4 *at = (uint4 *)(x + blockIdx.x * stride + c);
    float v[8], gate[8];
    unpack(v, *at), unpack(gate, *(const uint4 *)(gates + blockIdx.x * gate_stride + c));
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] /= 1.f + __expf(-gate[i]);
    *at = packed(v);
}
