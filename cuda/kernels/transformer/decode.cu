// Attention of few rows a sequence over pages, bound by reading keys and values once. The heads that share keys are rows
// too. A block sums a split of 256 keys for one head of keys and 16 rows, a page a warp, and leaves its sums; the last
// block of a sequence adds up the splits in their order. A split's size never changes, so a row's result depends on no
// other row, and neither grid nor addresses depend on the batch: blocks take split after split of a list.
//
// Keys and values go from memory into the registers from which the tensor cores take them. A product may add up its
// depth in any order that both operands have, so a thread reads 16 bytes of a key at once; and the columns of a product
// may stand in any order, so of the values a thread reads 8 columns of the four keys that it multiplies.
constexpr int WARPS = 4, PAGE = 64, SPLIT = WARPS * PAGE, ROWS = 16, CHUNKS = D / 32, HALVES = D / 64;
static_assert(RUST_THREADS == 32 * WARPS && RUST_SPLIT == SPLIT && RUST_PAGE == PAGE && RUST_ROWS == ROWS);
#ifndef BLOCKS_AT_ONCE
#define BLOCKS_AT_ONCE (D <= 128 ? 3 : 2)
#endif

struct Arguments {
    const u16 *queries;
    u16 *to;
    i64 query_stride, to_stride;
    const u16 *keys, *values;  // [pages, kv_heads, PAGE, D]
    const uint4 *header;       // decoding sequences, splits
    const uint4 *sequences;    // first row, rows, position of the first row, first entry of the page table
    const uint2 *decoding;     // sequence, first split; one more for the end
    const u32 *pages;
    u32 *counters;             // [decoding, kv_heads, tiles of rows], zeros between launches
    float2 *totals;            // [splits, kv_heads, rows]: largest product, sum of the weights
    float *sums;               // [splits, kv_heads, rows, D]: weighted values
    int kv_heads, group, rows, window;
    float scale;
    int unused;
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS);

DEV void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV u32 word(const uint4 &x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }
DEV uint4 once(const u16 *p) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}
DEV float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
constexpr float NONE = -1e30f;  // below every product, and no infinity

/// A block's share of the list.
struct Work {
    int entry, split, head, tile;  // split within its sequence
    int first, count;              // splits that the sequence's rows read
    uint4 sequence;                // row, rows, position, pages
    u32 page;                      // of this warp
    bool any;                      // whether this warp's page is read at all
    DEV int end() const { return sequence.z + sequence.y; }  // keys of the sequence
};

DEV bool find(Work &w, const Arguments &x, int item, int entries, int splits, int tiles, int warp) {
    if (item >= splits * x.kv_heads * tiles) return false;
    w.tile = item % tiles, w.head = item / tiles % x.kv_heads;
    const int split = item / tiles / x.kv_heads;
    int low = 0, high = entries;  // the last entry that begins at or before the split
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (__ldg(&x.decoding[middle].y) <= split) low = middle;
        else high = middle;
    }
    const uint2 entry = __ldg(&x.decoding[low]);
    w.entry = low, w.split = split - entry.y;
    w.sequence = __ldg(&x.sequences[entry.x]);
    const int oldest = max(0, (int)w.sequence.z - x.window + 1);  // key of the first row
    w.first = oldest / SPLIT, w.count = (w.end() + SPLIT - 1) / SPLIT - w.first;
    const int key = w.split * SPLIT + warp * PAGE;
    w.any = key < w.end() && key + PAGE > oldest && w.tile * ROWS < (int)w.sequence.y * x.group;
    w.page = w.any ? __ldg(&x.pages[w.sequence.w + key / PAGE]) : 0;
    return true;
}

/// Adds up the splits of a tile of rows in their order, a warp a row.
DEV void combine(const Arguments &x, const Work &w, int warp, int lane, int first_split) {
    constexpr int MINE = D / 32;
    const int all = w.sequence.y * x.group;
    for (int r = w.tile * ROWS + warp; r < min(all, (w.tile + 1) * ROWS); r += WARPS) {
        const auto place = [&](int s) { return ((i64)(first_split + w.first + s) * x.kv_heads + w.head) * x.rows + r; };
        float largest = NONE, total = 0, sum[MINE] = {};
        for (int s = lane; s < w.count; s += 32) largest = fmaxf(largest, __ldcg(&x.totals[place(s)]).x);
#pragma unroll
        for (int i = 16; i; i >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
#pragma unroll 4
        for (int s = 0; s < w.count; ++s) {
            const float2 of = __ldcg(&x.totals[place(s)]);
            const float weight = power(of.x - largest);
            total += weight * of.y;
            const float *from = x.sums + place(s) * D + lane * MINE;
            float v[MINE];
            if constexpr (MINE == 2) *(float2 *)v = __ldcg((const float2 *)from);
            else
#pragma unroll
                for (int i = 0; i < MINE; i += 4) *(float4 *)(v + i) = __ldcg((const float4 *)(from + i));
#pragma unroll
            for (int i = 0; i < MINE; ++i) sum[i] += weight * v[i];
        }
        const float factor = 1.f / total;
        u16 *to = x.to + (w.sequence.x + r / x.group) * x.to_stride + (w.head * x.group + r % x.group) * D + lane * MINE;
#pragma unroll
        for (int i = 0; i < MINE; i += 2) *(u32 *)(to + i) = pack(sum[i] * factor, sum[i + 1] * factor);
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, BLOCKS_AT_ONCE)
attend_decode(const __grid_constant__ Arguments x) {
    __shared__ float largest_of[WARPS][ROWS], total_of[WARPS][ROWS];
    __shared__ alignas(16) float sum[ROWS][D];
    __shared__ int is_last;
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
    const int tiles = (x.rows + ROWS - 1) / ROWS;
    release_next();
    wait_for_last();
    const uint4 header = *x.header;
    const int entries = header.x, splits = header.y;
    Work w;
    for (int item = blockIdx.x; find(w, x, item, entries, splits, tiles, warp); item += gridDim.x) {
        if (w.split < w.first || w.tile * ROWS >= (int)w.sequence.y * x.group) continue;
        const int rows = min((int)w.sequence.y * x.group - w.tile * ROWS, ROWS);  // of this tile
        const int end = w.end(), first_key = w.split * SPLIT + warp * PAGE;
        const i64 at = ((i64)w.page * x.kv_heads + w.head) * PAGE * D;
        int position[2];  // of rows g and g + 8
        uint4 query[2][CHUNKS];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int r = w.tile * ROWS + g + i * 8;
            position[i] = w.sequence.z + r / x.group;
            const u16 *from = x.queries + (w.sequence.x + r / x.group) * x.query_stride + (w.head * x.group + r % x.group) * D + q * 8;
#pragma unroll
            for (int c = 0; c < CHUNKS; ++c) query[i][c] = g + i * 8 < rows ? *(const uint4 *)(from + c * 32) : make_uint4(0, 0, 0, 0);
        }
        float s[PAGE / 8][4] = {};
        float largest[2] = {NONE, NONE};
        if (w.any) {
            const u16 *keys = x.keys + at + g * D + q * 8;
            constexpr int TOGETHER = D <= 64 ? 8 : D <= 128 ? 4 : 2;
#pragma unroll
            for (int n0 = 0; n0 < PAGE / 8; n0 += TOGETHER) {
                uint4 k[TOGETHER][CHUNKS];
#pragma unroll
                for (int n = 0; n < TOGETHER; ++n)
#pragma unroll
                    for (int c = 0; c < CHUNKS; ++c) k[n][c] = once(keys + (n0 + n) * 8 * D + c * 32);
#pragma unroll
                for (int n = 0; n < TOGETHER; ++n)
#pragma unroll
                    for (int c = 0; c < CHUNKS; ++c) {
                        const uint4 &y = k[n][c], &a = query[0][c], &b = query[1][c];
                        multiply(s[n0 + n], {a.x, b.x, a.y, b.y}, y.x, y.y);
                        multiply(s[n0 + n], {a.z, b.z, a.w, b.w}, y.z, y.w);
                    }
            }
#pragma unroll
            for (int n = 0; n < PAGE / 8; ++n)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int key = first_key + n * 8 + q * 2 + (e & 1), row = position[e >> 1];
                    s[n][e] = key <= row && key > row - x.window ? s[n][e] * x.scale : NONE;
                    largest[e >> 1] = fmaxf(largest[e >> 1], s[n][e]);
                }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 1));
            largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 2));
            if (q == 0) largest_of[warp][g + i * 8] = largest[i];
        }
        __syncthreads();
        float total[2] = {};
#pragma unroll
        for (int i = 0; i < 2; ++i) {
#pragma unroll
            for (int n = 0; n < WARPS; ++n) largest[i] = fmaxf(largest[i], largest_of[n][g + i * 8]);
        }
        float o[HALVES][8][4] = {};
        if (w.any) {
            const u16 *values = x.values + at + q * 2 * D + g * 8;
#pragma unroll
            for (int ks = 0; ks < PAGE / 16; ++ks) {
                uint4 v[HALVES][4];  // keys 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of 16
#pragma unroll
                for (int h = 0; h < HALVES; ++h)
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int key = ks * 16 + (i & 1) + (i >> 1) * 8;  // what lies behind the last key may be no number
                        v[h][i] = first_key + key + q * 2 < end ? once(values + key * D + h * 64) : make_uint4(0, 0, 0, 0);
                    }
                float p[2][4];
#pragma unroll
                for (int n = 0; n < 2; ++n)
#pragma unroll
                    for (int e = 0; e < 4; ++e) {
                        const float y = s[ks * 2 + n][e];
                        p[n][e] = y > NONE ? power(y - largest[e >> 1]) : 0.f;
                        total[e >> 1] += p[n][e];
                    }
                const u32 a[4] = {pack(p[0][0], p[0][1]), pack(p[0][2], p[0][3]), pack(p[1][0], p[1][1]), pack(p[1][2], p[1][3])};
#pragma unroll
                for (int h = 0; h < HALVES; ++h)
#pragma unroll
                    for (int m = 0; m < 4; ++m) {
                        const u32 v0 = word(v[h][0], m), v1 = word(v[h][1], m), v2 = word(v[h][2], m), v3 = word(v[h][3], m);
                        multiply(o[h][2 * m], a, __byte_perm(v0, v1, 0x5410), __byte_perm(v2, v3, 0x5410));
                        multiply(o[h][2 * m + 1], a, __byte_perm(v0, v1, 0x7632), __byte_perm(v2, v3, 0x7632));
                    }
            }
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            total[i] += __shfl_xor_sync(~0u, total[i], 1);
            total[i] += __shfl_xor_sync(~0u, total[i], 2);
            if (q == 0) total_of[warp][g + i * 8] = total[i];
        }
        // The warps add their sums one after the other. Of row g a thread has columns 16 q to 16 q + 15 of every 64.
        for (int turn = 0; turn < WARPS; ++turn) {
            if (turn == warp)
#pragma unroll
                for (int i = 0; i < 2; ++i)
                    if (g + i * 8 < rows)
#pragma unroll
                        for (int h = 0; h < HALVES; ++h)
#pragma unroll
                            for (int j = 0; j < 16; j += 4) {
                                float4 *to = (float4 *)&sum[g + i * 8][h * 64 + q * 16 + j];
                                float4 y = turn ? *to : make_float4(0, 0, 0, 0);
                                const int e = i * 2 + (j >> 3), n = j & 7;
                                y.x += o[h][n][e], y.y += o[h][n + 1][e], y.z += o[h][n + 2][e], y.w += o[h][n + 3][e];
                                *to = y;
                            }
            __syncthreads();
        }
        const int first_split = __ldg(&x.decoding[w.entry].y);
        const auto total_at = [&](int r) {
            float y = 0;
#pragma unroll
            for (int n = 0; n < WARPS; ++n) y += total_of[n][r];
            return y;
        };
        if (w.count == 1) {
            for (int i = threadIdx.x * 2; i < rows * D; i += 64 * WARPS) {
                const int r = i / D, all = w.tile * ROWS + r;
                const float factor = 1.f / total_at(r);
                u16 *to = x.to + (w.sequence.x + all / x.group) * x.to_stride + (w.head * x.group + all % x.group) * D + i % D;
                *(u32 *)to = pack(sum[r][i % D] * factor, sum[r][i % D + 1] * factor);
            }
            __syncthreads();
            continue;
        }
        const i64 place = ((i64)(first_split + w.split) * x.kv_heads + w.head) * x.rows + w.tile * ROWS;
        for (int i = threadIdx.x * 4; i < rows * D; i += 128 * WARPS) *(float4 *)(x.sums + place * D + i) = *(const float4 *)(&sum[0][0] + i);
        if (threadIdx.x < rows) {
            float y = NONE;
#pragma unroll
            for (int n = 0; n < WARPS; ++n) y = fmaxf(y, largest_of[n][threadIdx.x]);
            x.totals[place + threadIdx.x] = make_float2(y, total_at(threadIdx.x));
        }
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            u32 *counter = x.counters + (w.entry * x.kv_heads + w.head) * tiles + w.tile;
            is_last = atomicAdd(counter, 1) + 1 == w.count;
            if (is_last) *counter = 0;
        }
        __syncthreads();
        if (is_last) {
            __threadfence();
            combine(x, w, warp, lane, first_split);
        }
    }
}
