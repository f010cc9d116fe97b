// Convolve: y_t = silu(sum_j w_j x_(t - K + 1 + j)) in every channel of queries, keys and values; here D is K, the width of
// the convolution. What came before the first token is the tail: the last K - 1 tokens, [batch, K - 1, channels]. Bound by
// memory: x read and y written once. Sums are fp32. `keep_tail` makes the tail of what comes next; it may be in place.
// With RAGGED tails lie in slots of a pool.
constexpr int K = D, REACH = K - 1, THREADS = 128, CHANNELS = 8, RUN = 16;  // channels and tokens of a thread
static_assert(RUST_THREADS == THREADS && RUST_CHANNELS == THREADS * CHANNELS && RUST_RUN == RUN && CHUNK % RUN == 0);

#if RAGGED
DEV i64 first_tail(const Sequence &) { return 0; }  // in a slot
#else
DEV i64 first_tail(int b) { return (i64)b * REACH; }
#endif

extern "C" __global__ void __launch_bounds__(THREADS)
convolve(const u16 *__restrict__ x, i64 ldx, u16 *__restrict__ y, const u16 *__restrict__ weight,
         const u16 *__restrict__ tail, int tokens, int channels
#if RAGGED
         , const __grid_constant__ Ragged ragged
#endif
) {
    const int channel = (blockIdx.x * THREADS + threadIdx.x) * CHANNELS;
#if RAGGED
    constexpr int RUNS = CHUNK / RUN;
    const int c = blockIdx.y / RUNS;
    const Sequence b = ragged.sequences[ragged.of_chunk[c]];
    const int first = (c - b.chunk) * CHUNK + blockIdx.y % RUNS * RUN;
    tokens = b.tokens;
    const u16 *before = in_slot(tail, b.from, ragged.tail_stride);
#else
    const int first = blockIdx.y * RUN, b = blockIdx.z;
    const u16 *__restrict__ before = tail;
#endif
    // Behind the end of a sequence there is nothing to read: its rows may be the last ones of their memory.
    if (channel >= channels || RAGGED && first >= tokens) return;
    const auto row = [&](float (&to)[CHANNELS], int t) {
        if (t >= 0) unpack(to, *(const uint4 *)(x + (first_row(b, tokens) + t) * ldx + channel));
        else unpack(to, RAGGED && !before ? make_uint4(0, 0, 0, 0) : *(const uint4 *)(before + (first_tail(b) + t + REACH) * channels + channel));
    };
    float w[K][CHANNELS], window[K][CHANNELS];  // of the window, token t is row t - first modulo K
#pragma unroll
    for (int i = 0; i < CHANNELS; ++i)
#pragma unroll
        for (int j = 0; j < K; ++j) w[j][i] = bf16(weight[(channel + i) * K + j]);
#pragma unroll
    for (int j = 1; j < K; ++j) row(window[K - j], first - j);
#pragma unroll
    for (int n = 0; n < RUN; ++n) {
        if (first + n >= tokens) return;
        row(window[n % K], first + n);
        float sum[CHANNELS] = {};
#pragma unroll
        for (int j = 0; j < K; ++j)
#pragma unroll
            for (int i = 0; i < CHANNELS; ++i) sum[i] += w[j][i] * window[(n + 1 + j) % K][i];
#pragma unroll
        for (int i = 0; i < CHANNELS; ++i) sum[i] = silu(sum[i]);
        *(uint4 *)(y + (first_row(b, tokens) + first + n) * channels + channel) = packed(sum);
    }
}

#if RAGGED
/// The last rows of `tokens` tokens, of which `tail`, if there is one, holds those before the first.
DEV void last_rows(uint4 (&rows)[REACH], const u16 *x, i64 ldx, i64 first, const u16 *tail, int tokens, int channels, int channel) {
#pragma unroll
    for (int j = 0; j < REACH; ++j) {
        const int t = tokens - REACH + j;
        if (t < 0 && !tail) rows[j] = make_uint4(0, 0, 0, 0);
        else rows[j] = *(const uint4 *)(t >= 0 ? x + (first + t) * ldx + channel : tail + (t + REACH) * channels + channel);
    }
}
DEV void store_rows(u16 *to, const uint4 (&rows)[REACH], int channels, int channel) {
#pragma unroll
    for (int j = 0; j < REACH; ++j) *(uint4 *)(to + j * channels + channel) = rows[j];
}

extern "C" __global__ void __launch_bounds__(THREADS)
keep_tail(const u16 *__restrict__ x, i64 ldx, const u16 *tail, u16 *last, int channels, const __grid_constant__ Ragged ragged) {
    const int channel = (blockIdx.x * THREADS + threadIdx.x) * CHANNELS;
    if (channel >= channels) return;
    const Sequence b = ragged.sequences[blockIdx.y];
    const u16 *before = in_slot(tail, b.from, ragged.tail_stride);
    u16 *to = in_slot(last, b.to, ragged.tail_stride), *snapshot = in_slot(last, b.snapshot, ragged.tail_stride);
    uint4 rows[REACH], then[REACH];
    last_rows(rows, x, ldx, b.row, before, b.tokens, channels, channel);
    if (snapshot) last_rows(then, x, ldx, b.row, before, min(b.after * CHUNK, b.tokens), channels, channel);
    if (snapshot) store_rows(snapshot, then, channels, channel);
    if (to) store_rows(to, rows, channels, channel);
}
#else
/// `lengths` and `begin` as in `Gates`: the tail ends with the last token before the padding.
extern "C" __global__ void __launch_bounds__(THREADS)
keep_tail(const u16 *__restrict__ x, i64 ldx, const u16 *tail, u16 *last, const float *__restrict__ lengths, int begin,
          int tokens, int channels) {
    const int channel = (blockIdx.x * THREADS + threadIdx.x) * CHANNELS, b = blockIdx.y;
    if (channel >= channels) return;
    const int end = lengths ? min(max((int)lengths[b] - begin, 0), tokens) : tokens;
    uint4 rows[REACH];
#pragma unroll
    for (int j = 0; j < REACH; ++j) {
        const int t = end - REACH + j;
        rows[j] = *(const uint4 *)(t >= 0 ? x + ((i64)b * tokens + t) * ldx + channel
                                          : tail + ((i64)b * REACH + t + REACH) * channels + channel);
    }
#pragma unroll
    for (int j = 0; j < REACH; ++j) *(uint4 *)(last + ((i64)b * REACH + j) * channels + channel) = rows[j];
}
#endif
