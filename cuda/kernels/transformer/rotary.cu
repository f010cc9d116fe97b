// Between the projections and attention, a warp a head of a row: norm of queries and keys, rotation by position (numbers
// i and i + rotated / 2 are a pair), keys and values into the pages of their sequences, as bf16 or as FP8 with a scale for
// each head of a token: a power of two.
constexpr int WARPS = 4, MINE = D / 32, PAGE = 64;
static_assert(RUST_THREADS == 32 * WARPS);

struct Arguments {
    const u16 *queries, *keys, *values;
    u16 *to;
    i64 query_stride, key_stride, value_stride, to_stride;
    const float *cosines, *sines;         // [positions, rotated / 2]
    const u16 *query_norm, *key_norm;     // [D] or null
    u8 *key_pages, *value_pages;          // [pages, kv_heads, PAGE, D]
    float *key_scales, *value_scales;     // [pages, kv_heads, PAGE] or null
    const u32 *positions, *slots;         // [rows]
    int query_pitch, query_heads, kv_heads, rotated, rows;
    float bias, epsilon;
    int unused;
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS);

DEV void load(float (&v)[MINE], const u16 *from) {
    u32 words[MINE / 2];
    if constexpr (MINE == 2) words[0] = *(const u32 *)from;
    if constexpr (MINE == 4) *(uint2 *)words = *(const uint2 *)from;
    if constexpr (MINE == 8) *(uint4 *)words = *(const uint4 *)from;
#pragma unroll
    for (int i = 0; i < MINE / 2; ++i) v[2 * i] = low(words[i]), v[2 * i + 1] = high(words[i]);
}
DEV void store(u16 *to, const float (&v)[MINE]) {
    u32 words[MINE / 2];
#pragma unroll
    for (int i = 0; i < MINE / 2; ++i) words[i] = pack(v[2 * i], v[2 * i + 1]);
    if constexpr (MINE == 2) *(u32 *)to = words[0];
    if constexpr (MINE == 4) *(uint2 *)to = *(const uint2 *)words;
    if constexpr (MINE == 8) *(uint4 *)to = *(const uint4 *)words;
}
/// A head as FP8 at place `at` of the pages: codes and their scale.
DEV void store_fp8(u8 *pages, float *scales, i64 at, int lane, const float (&v)[MINE]) {
    float largest = 0;
#pragma unroll
    for (int i = 0; i < MINE; ++i) largest = fmaxf(largest, fabsf(v[i]));
#pragma unroll
    for (int i = 16; i; i >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
    const float scale = fp8_power(largest), factor = 1.f / scale;
    u16 codes[MINE / 2];
#pragma unroll
    for (int i = 0; i < MINE / 2; ++i)
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes[i]) : "f"(v[2 * i + 1] * factor), "f"(v[2 * i] * factor));
    u8 *to = pages + at * D + lane * MINE;
    if constexpr (MINE == 2) *(u16 *)to = codes[0];
    if constexpr (MINE == 4) *(u32 *)to = codes[0] | (u32)codes[1] << 16;
    if constexpr (MINE == 8) *(uint2 *)to = make_uint2(codes[0] | (u32)codes[1] << 16, codes[2] | (u32)codes[3] << 16);
    if (lane == 0) scales[at] = scale;
}

extern "C" __global__ void __launch_bounds__(RUST_THREADS)
rotate_and_write(const __grid_constant__ Arguments x) {
    __shared__ float heads[WARPS][D];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, c = lane * MINE;
    const int all = x.query_heads + 2 * x.kv_heads, work = blockIdx.x * WARPS + warp;
    const int row = work / all, head = work % all, kv = (head - x.query_heads) % x.kv_heads;
    release_next();
    wait_for_last();
    if (row >= x.rows) return;
    const bool query = head < x.query_heads, value = head >= x.query_heads + x.kv_heads;
    const u32 slot = x.slots[row];
    if (!query && slot == ~0u) return;
    const i64 place = ((i64)(slot / PAGE) * x.kv_heads + kv) * PAGE + slot % PAGE;
    u8 *const pages = value ? x.value_pages : x.key_pages;
    float v[MINE];
    load(v, query ? x.queries + row * x.query_stride + head * x.query_pitch + c
          : value ? x.values + row * x.value_stride + kv * D + c : x.keys + row * x.key_stride + kv * D + c);
    if (!value) {
        const u16 *norm = query ? x.query_norm : x.key_norm;
        if (norm) {
            float sum = 0, g[MINE];
            load(g, norm + c);
#pragma unroll
            for (int i = 0; i < MINE; ++i) sum += v[i] * v[i];
#pragma unroll
            for (int i = 16; i; i >>= 1) sum += __shfl_xor_sync(~0u, sum, i);
            const float root = rsqrtf(sum * (1.f / D) + x.epsilon);
#pragma unroll
            for (int i = 0; i < MINE; ++i) v[i] *= root * (g[i] + x.bias);
        }
#pragma unroll
        for (int i = 0; i < MINE; ++i) heads[warp][c + i] = v[i];
        __syncwarp();
        const int half = x.rotated / 2;
        const i64 at = (i64)x.positions[row] * half;
#pragma unroll
        for (int i = 0; i < MINE; ++i) {
            const int n = c + i, pair = n < half ? n : n - half;
            if (n >= x.rotated) continue;
            const float cosine = x.cosines[at + pair], sine = x.sines[at + pair];
            v[i] = n < half ? v[i] * cosine - heads[warp][n + half] * sine : v[i] * cosine + heads[warp][n - half] * sine;
        }
    }
    if (query) store(x.to + row * x.to_stride + head * D + c, v);
    else if constexpr (FP8) store_fp8(pages, value ? x.value_scales : x.key_scales, place, lane, v);
    else store((u16 *)pages + place * D + c, v);
}
