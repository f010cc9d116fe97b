// Step: one token, everything between the projections in one kernel. One block a head and sequence; its 512 threads
// hold the whole state of the head in registers, read and written once: S = e^g S, u = beta (v - k S),
// S += k^T u, o = q S, then, where asked for, the RMS norm. All in fp32. `initial` may be `final`. The state does not
// depend on the kernel before, so it is read before that ends.
constexpr int THREADS = 512, GROUPS = THREADS / D, PART = D / GROUPS;

struct Arguments {
    const u16 *q, *k, *v;
    u16 *o;
    i64 ldq, ldk, ldv, ldo;  // elements from sequence to sequence
    Gates gates;
    const void *gamma;     // [D] or null: no norm
    const float *initial;  // [batch, heads, D, D]
    float *final;
    float scale, epsilon, norm_epsilon;
    int normalise, erase, narrow;  // narrow: gamma in bf16
};

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
    const int h = blockIdx.x, heads = gridDim.x, b = blockIdx.y, t = threadIdx.x, group = t / D, column = t % D;
    const i64 at = (((i64)b * heads + h) * D + group * PART) * D + column;
    release_next();
    float s[PART];
#pragma unroll
    for (int i = 0; i < PART; ++i) s[i] = x.initial[at + i * D];
    wait_for_last();

    float kx = 0, qx = 0;
    if (t < D) {
        kx = bf16(x.k[b * x.ldk + h * D + t]), qx = bf16(x.q[b * x.ldq + h * D + t]);
        sk[t] = kx, sq[t] = qx;
    }
    const float vx = bf16(x.v[b * x.ldv + h * D + column]);
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
    for (int i = 0; i < PART; ++i) x.final[at + i * D] = s[i] + rk * sk[group * PART + i] * u;

    float y = rq * (qs + rk * qk * u);
    if (x.gamma) y *= rsqrtf(block_sum(group ? 0.f : y * y, scratch) / D + x.norm_epsilon) * number(x.gamma, column, x.narrow);
    if (group == 0) x.o[b * x.ldo + h * D + column] = (u16)pack(y, 0.f);
}
