// Step: one token, everything between the projections in one kernel. One block a head and sequence; its 512 threads
// hold the whole state of the head in registers, read and written once: S = e^g S, u = beta (v - k S),
// S += k^T u, o = q S, before it the short convolution and after it RMS norm and output gate, where asked for. All in
// fp32. `initial` may be `final`. The state does not depend on the kernel before, so it is read before that ends. With RAGGED
// states and tails lie in slots of pools, and may be written where they were read.
constexpr int THREADS = 512, GROUPS = THREADS / D, PART = D / GROUPS;
constexpr int WIDEST = 8;  // of the convolutions
#ifndef CONVOLVED
#define CONVOLVED 0
#endif

/// A short convolution over the channels of queries, keys and values, which lie in this order; of no use without
/// CONVOLVED. `tail` may not be `last`: a channel of a query is read for every head that it serves. (With RAGGED it may:
/// heads that share a query are a cluster, and nothing is written before all have read.)
struct Convolution {
    const u16 *weight;  // [channels, kernel]
    const u16 *tail;    // [batch, kernel - 1, channels]: the tokens before
    u16 *last;          // the tail of the next token
    int kernel, channels;
};

#if RAGGED
/// The channel `c` of a token's `x` after the convolution, `tail` being the tokens before, or null for zeros.
DEV float convolved(const Convolution &conv, float x, const u16 *tail, int c) {
    if (!CONVOLVED) return x;
    const int reach = conv.kernel - 1;
    const u16 *weight = conv.weight + c * conv.kernel;
    u16 before[WIDEST - 1], w[WIDEST - 1];  // all asked for before the first is used
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j)
        before[j] = tail && j < reach ? tail[j * conv.channels + c] : 0, w[j] = j < reach ? weight[j] : 0;
    float sum = bf16(weight[reach]) * x;
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j) sum += bf16(w[j]) * bf16(before[j]);
    return low(pack(silu(sum), 0.f));
}
/// Writes the tail of the next token in channel `c` to both slots, if they are wanted. One thread a channel.
DEV void keep(const Convolution &conv, float x, const u16 *tail, u16 *to, u16 *snapshot, int c) {
    const int reach = conv.kernel - 1;
    u16 rows[WIDEST - 1];
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j)
        rows[j] = j < reach - 1 ? (tail ? tail[(j + 1) * conv.channels + c] : 0) : (u16)pack(x, 0.f);
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j)
        if (j < reach) {
            if (to) to[j * conv.channels + c] = rows[j];
            if (snapshot) snapshot[j * conv.channels + c] = rows[j];
        }
}
#else
/// The channel `c` of a token's `x` after the convolution. Of padding (`end`) nothing is remembered.
DEV float convolved(const Convolution &conv, float x, int b, int c, bool end, bool keeps) {
    if (!CONVOLVED) return x;
    const int reach = conv.kernel - 1;
    const i64 at = (i64)b * reach * conv.channels + c;
    const u16 *weight = conv.weight + c * conv.kernel;
    u16 before[WIDEST - 1], w[WIDEST - 1];  // all asked for before the first is used
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j)
        before[j] = j < reach ? conv.tail[at + j * conv.channels] : 0, w[j] = j < reach ? weight[j] : 0;
    float sum = bf16(weight[reach]) * x;
#pragma unroll
    for (int j = 0; j < WIDEST - 1; ++j) {
        sum += bf16(w[j]) * bf16(before[j]);
        const int to = end ? j : j - 1;
        if (keeps && j < reach && to >= 0) conv.last[at + to * conv.channels] = before[j];
    }
    if (keeps && !end) conv.last[at + (reach - 1) * conv.channels] = (u16)pack(x, 0.f);
    return low(pack(silu(sum), 0.f));
}
#endif

struct Arguments {
    const u16 *q, *k, *v;
    u16 *o;
    const u16 *z;          // of the output gate, or null
    i64 ldq, ldk, ldv, ldo, ldz;  // elements from sequence to sequence
    Gates gates;
    Convolution conv;
    const void *gamma;     // [D] or null: no norm
    const float *initial;  // [batch, heads, D, D]
    float *final;
    float scale, epsilon, norm_epsilon;
    int normalise, erase, narrow, group;  // narrow: gamma in bf16; group: heads that share queries and keys
#if RAGGED
    Ragged ragged;         // of sequences of one token; `initial`, `final` and the tails are pools then
#endif
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS && sizeof(Convolution) == SIZEOF_CONVOLUTION && THREADS == RUST_THREADS && WIDEST == RUST_WIDEST);

DEV float block_sum(float x, float *scratch) {
#pragma unroll
    for (int s = 16; s; s /= 2) x += __shfl_xor_sync(~0u, x, s);
    if ((threadIdx.x & 31) == 0) scratch[threadIdx.x >> 5] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; ++i) sum += scratch[i];
    __syncthreads();
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) step(const __grid_constant__ Arguments x) {
    __shared__ float sk[D], sq[D], partial[2][GROUPS][D], scratch[THREADS / 32];
    const int h = blockIdx.x, heads = gridDim.x, t = threadIdx.x, group = t / D, column = t % D;
#if RAGGED
    release_next();
    float s[PART];
    const Sequence place = x.ragged.sequences[blockIdx.y];
    const int b = place.row;
    const i64 at = ((i64)h * D + group * PART) * D + column, stride = x.ragged.state_stride;
    const float *initial = in_slot(x.initial, place.from, stride);
    float *final = in_slot(x.final, place.to, stride), *snapshot = in_slot(x.final, place.snapshot, stride);
#pragma unroll
    for (int i = 0; i < PART; ++i) s[i] = initial ? initial[at + i * D] : 0.f;
#else
    const int b = blockIdx.y;
    const i64 at = (((i64)b * heads + h) * D + group * PART) * D + column;
    release_next();
    float s[PART];
#pragma unroll
    for (int i = 0; i < PART; ++i) s[i] = x.initial[at + i * D];
#endif
    wait_for_last();

#if !RAGGED
    const bool end = x.gates.lengths && x.gates.first >= x.gates.lengths[b];
#endif
    const int shared_head = h / x.group * D, keys = heads / x.group * D;
#if RAGGED
    const i64 tails = x.ragged.tail_stride;
    const u16 *tail = in_slot(x.conv.tail, place.from, tails);
    const int of_key = shared_head + t, of_value = h * D + column;
    const float kg = t < D ? bf16(x.k[b * x.ldk + of_key]) : 0.f, qg = t < D ? bf16(x.q[b * x.ldq + of_key]) : 0.f;
    const float vg = bf16(x.v[b * x.ldv + of_value]);
    float kx = 0, qx = 0;
    if (t < D) {
        kx = convolved(x.conv, kg, tail, keys + of_key), qx = convolved(x.conv, qg, tail, of_key);
        sk[t] = kx, sq[t] = qx;
    }
    const float vx = convolved(x.conv, vg, tail, 2 * keys + of_value);
    if (CONVOLVED) {
        cluster_sync();  // all have read
        u16 *to = in_slot(x.conv.last, place.to, tails), *kept = in_slot(x.conv.last, place.snapshot, tails);
        if (t < D && h % x.group == 0) {
            keep(x.conv, kg, tail, to, kept, keys + of_key);
            keep(x.conv, qg, tail, to, kept, of_key);
        }
        if (group == 0) keep(x.conv, vg, tail, to, kept, 2 * keys + of_value);
    }
#else
    float kx = 0, qx = 0;
    if (t < D) {
        const int c = shared_head + t;
        const bool keeps = h % x.group == 0;
        kx = convolved(x.conv, bf16(x.k[b * x.ldk + c]), b, keys + c, end, keeps);
        qx = convolved(x.conv, bf16(x.q[b * x.ldq + c]), b, c, end, keeps);
        sk[t] = kx, sq[t] = qx;
    }
    const float vx = convolved(x.conv, bf16(x.v[b * x.ldv + h * D + column]), b, 2 * keys + h * D + column, end, group == 0);
#endif
    const Gate gate = gate_at(x.gates, b, 0, b, h, heads);
    const float decay = expf(gate.log);
    const float nk = block_sum(kx * kx, scratch), nq = block_sum(qx * qx, scratch);
    const float rk = x.normalise ? rsqrtf(nk + x.epsilon) : 1.f, rq = (x.normalise ? rsqrtf(nq + x.epsilon) : 1.f) * x.scale;

    // k S, and q S before the write: q S' = q S + (q . k) u saves a second pass.
    float ks = 0, qs = 0;
#pragma unroll
    for (int i = 0; i < PART; ++i) {
        s[i] *= decay;
        ks += sk[group * PART + i] * s[i], qs += sq[group * PART + i] * s[i];
    }
    partial[0][group][column] = ks, partial[1][group][column] = qs;
    const float qk = block_sum(kx * qx, scratch);  // also the barrier between writing and reading `partial`
    ks = 0, qs = 0;
#pragma unroll
    for (int i = 0; i < GROUPS; ++i) ks += partial[0][i][column], qs += partial[1][i][column];
    const float u = gate.strength * (vx - (x.erase ? rk * ks : 0.f));
#pragma unroll
    for (int i = 0; i < PART; ++i) {
        const float next = s[i] + rk * sk[group * PART + i] * u;
#if RAGGED
        if (final) final[at + i * D] = next;
        if (snapshot) snapshot[at + i * D] = next;
#else
        x.final[at + i * D] = next;
#endif
    }

    float y = rq * (qs + rk * qk * u);
    if (x.gamma) y *= rsqrtf(block_sum(group ? 0.f : y * y, scratch) / D + x.norm_epsilon) * number(x.gamma, column, x.narrow);
    if (x.z) y *= silu(bf16(x.z[b * x.ldz + h * D + column]));
    if (group == 0) x.o[b * x.ldo + h * D + column] = (u16)pack(y, 0.f);
}
