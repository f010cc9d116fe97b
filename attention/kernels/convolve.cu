// Convolve: y_t = silu(sum_j w_j x_(t - K + 1 + j)) in every channel of queries, keys and values; here D is K, the width of
// the convolution. What came before the first token is the tail: the last K - 1 tokens, [batch, K - 1, channels]. Bound by
// memory: x read and y written once. Sums are fp32. `keep_tail` makes the tail of what comes next; it may be in place.
constexpr int K = D, REACH = K - 1, THREADS = 128, CHANNELS = 8, RUN = 16;  // channels and tokens of a thread

extern "C" __global__ void __launch_bounds__(THREADS)
convolve(const u16 *__restrict__ x, i64 ldx, u16 *__restrict__ y, const u16 *__restrict__ weight,
         const u16 *__restrict__ tail, int tokens, int channels) {
    const int channel = (blockIdx.x * THREADS + threadIdx.x) * CHANNELS, first = blockIdx.y * RUN, b = blockIdx.z;
    if (channel >= channels) return;
    const auto row = [&](float (&to)[CHANNELS], int t) {
        if (t >= 0) unpack(to, *(const uint4 *)(x + ((i64)b * tokens + t) * ldx + channel));
        else unpack(to, *(const uint4 *)(tail + ((i64)b * REACH + t + REACH) * channels + channel));
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
        *(uint4 *)(y + ((i64)b * tokens + first + n) * channels + channel) = packed(sum);
    }
}

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
