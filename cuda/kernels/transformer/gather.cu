// Rows of a table by their numbers, a block a row: embeddings of tokens, the last rows of sequences.
static_assert(RUST_THREADS == 128);

extern "C" __global__ void __launch_bounds__(RUST_THREADS)
gather_rows(const u16 *__restrict__ from, i64 from_stride, u32 limit, const u32 *numbers, u16 *__restrict__ to, i64 to_stride, int width) {
    release_next();
    wait_for_last();
    const u32 number = numbers[blockIdx.x];
    for (int i = threadIdx.x * 8; i < width; i += RUST_THREADS * 8) {
        uint4 y = make_uint4(0, 0, 0, 0);
        if (number < limit) y = *(const uint4 *)(from + number * from_stride + i);
        *(uint4 *)(to + blockIdx.x * to_stride + i) = y;
    }
}
