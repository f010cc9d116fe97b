// Step: one token, everything between the projections in one kernel. One block a head and sequence; its 512 threads
// hold the whole state of the head in registers, read and written once: S = e^g S, u = beta (v - k S),
// S += k^T u, o = q S, then, where asked for, the RMS norm and the output gate. All in fp32. `initial` may be `final`.
constexpr int THREADS = 512, GROUPS = THREADS / D, PART = D / GROUPS;

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

extern "C" __global__ void __launch_bounds__(THREADS, 1)
step(const u16 *__restrict__ q, i64 ldq, const u16 *__restrict__ k, i64 ldk, const u16 *__restrict__ v, i64 ldv,
     const float *__restrict__ log_gate, const float *__restrict__ beta, const float *__restrict__ gamma,
     const u16 *__restrict__ z, i64 ldz, const float *initial, float *final,
     u16 *__restrict__ o, i64 ldo, float scale, float epsilon, float norm_epsilon, int normalise, int erase,
     int normalise_output) {
    __shared__ float sk[D], sq[D], partial[2][GROUPS][D], scratch[THREADS / 32];
    const int h = blockIdx.x, heads = gridDim.x, b = blockIdx.y, t = threadIdx.x, group = t / D, column = t % D;
    const i64 at = (((i64)b * heads + h) * D + group * PART) * D + column;
    float s[PART];
#pragma unroll
    for (int i = 0; i < PART; ++i) s[i] = initial[at + i * D];

    float kx = 0, qx = 0, vx = 0;
    if (t < D) {
        kx = bf16(k[b * ldk + h * D + t]), qx = bf16(q[b * ldq + h * D + t]);
        sk[t] = kx, sq[t] = qx;
    }
    vx = bf16(v[b * ldv + h * D + column]);
    const float decay = expf(log_gate[b * heads + h]), strength = beta[b * heads + h];
    const float nk = block_sum(kx * kx, scratch), nq = block_sum(qx * qx, scratch);
    const float rk = normalise ? rsqrtf(nk + epsilon) : 1.f, rq = (normalise ? rsqrtf(nq + epsilon) : 1.f) * scale;

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
    const float u = strength * (vx - (erase ? rk * ks : 0.f));
#pragma unroll
    for (int i = 0; i < PART; ++i) final[at + i * D] = s[i] + rk * sk[group * PART + i] * u;

    float y = rq * (qs + rk * qk * u);
    if (normalise_output) y *= rsqrtf(block_sum(group ? 0.f : y * y, scratch) / D + norm_epsilon);
    if (group) return;
    y *= gamma ? gamma[column] : 1.f;
    if (z) {
        float g = bf16(z[b * ldz + h * D + column]);
        y *= g / (1.f + expf(-g));
    }
    o[b * ldo + h * D + column] = (u16)pack(y, 0.f);
}
