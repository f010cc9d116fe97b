// Attention of few rows a sequence over pages, bound by reading keys and values once. The heads that share keys are rows
// too. A block sums a split of 256 keys for one head of keys, a page a warp, and leaves its sums; a second kernel adds up
// the splits of a sequence in their order. A split's size never changes, so a row's result depends on no other row, and
// neither grids nor addresses depend on the batch: blocks take split after split of a list.
//
// Every warp has a ring of pieces of its own (64 keys, 64 columns), which the copy engine fills ahead, across splits; several
// blocks of a multiprocessor hide each other's waiting. From there the tensor cores' operands are read 16 bytes at a time:
// a product may add up its depth in any order that both operands have, so a thread takes 8 numbers of a key at once; and
// the columns of a product may stand in any order, so of the values a thread takes 8 columns of the four keys that it
// multiplies.
//
// Keys and values of FP8 become f16, which has all their numbers, on the way from shared memory to the tensor cores, and queries
// and weights are f16 then. A key's scale multiplies its products; a value's scale multiplies its weight, after division by
// the largest scale of the page, which multiplies the page's sums.
constexpr int WARPS = 4, PAGE = 64, SPLIT = WARPS * PAGE, ROWS = 16, CHUNKS = D / 32;
constexpr int NUMBER = FP8 ? 1 : 2, LINE = D * NUMBER < 128 ? D * NUMBER : 128;  // bytes of a number, of a row of a piece
constexpr int PIECES = D * NUMBER / LINE, BYTES = PAGE * LINE;                    // pieces of a page's keys, bytes of one
constexpr int COLUMNS = LINE / NUMBER, MINE = COLUMNS / 8;                        // of a piece, and a thread's of its values
static_assert(RUST_RING >= 2 && RUST_RING <= 2 * PIECES && RUST_THREADS == 32 * WARPS && RUST_SPLIT == SPLIT && RUST_PAGE == PAGE && RUST_ROWS == ROWS);

struct Arguments {
    const u16 *queries;
    u16 *to;
    i64 query_stride, to_stride;
    const uint4 *header;     // decoding sequences, splits
    const uint4 *sequences;  // first row, rows, position of the first row, first entry of the page table
    const uint2 *decoding;   // sequence, first split
    const uint4 *splits;     // those of their sequence, and in the upper 24 bits of `rows` the split's number
    const u32 *pages;
    const float *key_scales, *value_scales;  // [pages, kv_heads, PAGE], of FP8
    float2 *totals;          // [splits, kv_heads, rows]: largest product, sum of the weights
    float *sums;             // [splits, kv_heads, rows, D]: weighted values
    int kv_heads, group, rows, window;
    float scale;
    int sequence_rows;       // most rows of a sequence
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS);

DEV void multiply(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV void multiply_f16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/// Two numbers of f16, none beyond its largest.
DEV u32 pack_f16(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(fminf(fmaxf(high, -65504.f), 65504.f)), "f"(fminf(fmaxf(low, -65504.f), 65504.f)));
    return r;
}
/// Two numbers of FP8 as f16: the lower half of `x`.
DEV u32 f16(u32 x) {
    u32 r;
    asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.rn.f16x2.e4m3x2 %0, low;\n}" : "=r"(r) : "r"(x));
    return r;
}
DEV u32 word(const uint4 &x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }
DEV float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
constexpr float NONE = -1e30f;  // below every product, and no infinity

/// A sequence's rows, and the splits that they read.
struct Sequence {
    int row, rows, position, pages;
    DEV int end() const { return position + rows; }
    DEV int oldest(int window) const { return max(0, position - window + 1); }
    DEV int first(int window) const { return oldest(window) / SPLIT; }
    DEV int count(int window) const { return (end() + SPLIT - 1) / SPLIT - first(window); }
};
/// A block's share of the list.
struct Work {
    Sequence of;
    int split, head, tile;  // of the sequence; of keys; of rows
    int place;              // the split's number in the list
    u32 page;               // of this warp
    bool valid, any;        // whether the list goes so far; whether this warp's page is read at all
    DEV int rows(int group) const { return min(of.rows * group - tile * ROWS, ROWS); }  // of this tile, if any
};

DEV Work find(const Arguments &x, int item, int splits, int tiles, int warp) {
    Work w;
    w.valid = item < splits * x.kv_heads * tiles, w.any = false;
    if (!w.valid) return w;
    w.tile = item % tiles, w.head = item / tiles % x.kv_heads, w.place = item / tiles / x.kv_heads;
    const uint4 split = __ldg(&x.splits[w.place]);
    w.of = {(int)split.x, (int)(split.y & 255), (int)split.z, (int)split.w}, w.split = split.y >> 8;
    const int key = w.split * SPLIT + warp * PAGE;
    w.any = key < w.of.end() && key + PAGE > w.of.oldest(x.window) && w.rows(x.group) > 0;
    w.page = w.any ? __ldg(&x.pages[w.of.pages + key / PAGE]) : 0;
    return w;
}
DEV void load_box(void *to, const TensorMap *map, u64 *bar, int column, int row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 ::"r"(shared(to)), "l"(map), "r"(shared(bar)), "r"(column), "r"(row) : "memory");
}

struct Shared {
    u8 ring[WARPS][RUST_RING][BYTES];
    alignas(16) float sum[ROWS][D];
    float largest[WARPS][ROWS], total[WARPS][ROWS];
    u64 full[WARPS][RUST_RING];
};
static_assert(sizeof(Shared) + 1024 <= SIZEOF_SHARED);

/// A warp's ring: pieces are numbered through, and one that is not read is neither loaded nor waited for.
struct Ring {
    u8 (*slots)[BYTES];
    u64 *full;
    u32 parity;  // a bit for every slot
    /// Asks for a piece of a page's keys (the first PIECES) or values.
    DEV void load(const Arguments &x, const TensorMap *keys, const TensorMap *values, const Work &w, int piece, int number, int lane) const {
        if (!w.any || lane) return;
        const int slot = number % RUST_RING;
        mbar_expect(full + slot, BYTES);
        load_box(slots[slot], piece < PIECES ? keys : values, full + slot, piece % PIECES * COLUMNS, (w.page * x.kv_heads + w.head) * PAGE);
    }
    DEV const u8 *wait(int number) {
        const int slot = number % RUST_RING;
        mbar_wait(full + slot, parity >> slot & 1);
        parity ^= 1u << slot;
        return slots[slot];
    }
};
/// 16 bytes of a row of a piece, as the copy engine swizzles them.
DEV uint4 at(const u8 *piece, int row, int c) {
    return *(const uint4 *)(piece + row * LINE + ((LINE == 128 ? c ^ (row & 7) : c ^ (row >> 1 & 3)) << 4));
}
/// Chunk g of the eight of a row of values: 16 bytes, or 8 in the first two words.
DEV uint4 values_at(const u8 *piece, int row, int g) {
    if constexpr (LINE == 128) return at(piece, row, g);
    const uint2 x = *(const uint2 *)(piece + row * LINE + ((g >> 1 ^ (row >> 1 & 3)) << 4) + (g & 1) * 8);
    return make_uint4(x.x, x.y, 0, 0);
}

/// Scales of a warp's page: a lane has those of two tokens behind each other.
struct Scales {
    float2 keys, values;
    DEV void load(const Arguments &x, const Work &w, int lane) {
        keys = values = make_float2(0, 0);
        if (!FP8 || !w.any) return;
        const i64 place = ((i64)w.page * x.kv_heads + w.head) * PAGE + lane * 2;
        keys = __ldg((const float2 *)(x.key_scales + place)), values = __ldg((const float2 *)(x.value_scales + place));
    }
    /// Divides the values' by the largest, which it returns; those from `count` on are not read.
    DEV float normalise(int count, int lane) {
        if (lane * 2 >= count) values.x = 0;
        if (lane * 2 + 1 >= count) values.y = 0;
        float largest = fmaxf(values.x, values.y);
#pragma unroll
        for (int i = 16; i; i >>= 1) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, i));
        const float factor = largest > 0 ? 1.f / largest : 0.f;
        values.x *= factor, values.y *= factor;
        return largest;
    }
};
/// The number of a pair that belongs to token `key`, which is as odd as `odd` says.
DEV float of_token(float2 pair, int key, int odd) { return __shfl_sync(~0u, odd ? pair.y : pair.x, key >> 1); }

struct Queries {
    uint4 of[2][CHUNKS];  // rows g and g + 8
    DEV void load(const Arguments &x, const Work &w, int g, int q) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int r = w.tile * ROWS + g + i * 8;
            const bool there = w.valid && r < w.of.rows * x.group;
            const u16 *from = x.queries + (w.of.row + r / x.group) * x.query_stride + (w.head * x.group + r % x.group) * D;
#pragma unroll
            for (int c = 0; c < CHUNKS; ++c) {
                const int column = FP8 ? (c >> 1) * 64 + q * 16 + (c & 1) * 8 : c * 32 + q * 8;
                of[i][c] = there ? *(const uint4 *)(from + column) : make_uint4(0, 0, 0, 0);
                if constexpr (FP8) {
                    float y[8];
                    unpack(y, of[i][c]);
                    of[i][c] = make_uint4(pack_f16(y[0], y[1]), pack_f16(y[2], y[3]), pack_f16(y[4], y[5]), pack_f16(y[6], y[7]));
                }
            }
        }
    }
};

/// Leaves the sums of a tile of rows, which all warps have added up, or the result if there is no other split.
DEV void leave(Shared &sh, const Arguments &x, const Work &w) {
    const int t = threadIdx.x, rows = w.rows(x.group);
    const auto total_at = [&](int r) {
        float y = 0;
#pragma unroll
        for (int n = 0; n < WARPS; ++n) y += sh.total[n][r];
        return y;
    };
    if (w.of.count(x.window) == 1) {
        for (int i = t * 2; i < rows * D; i += 64 * WARPS) {
            const int r = i / D, all = w.tile * ROWS + r;
            const float factor = 1.f / total_at(r);
            u16 *to = x.to + (w.of.row + all / x.group) * x.to_stride + (w.head * x.group + all % x.group) * D + i % D;
            *(u32 *)to = pack(sh.sum[r][i % D] * factor, sh.sum[r][i % D + 1] * factor);
        }
    } else {
        const i64 place = ((i64)w.place * x.kv_heads + w.head) * x.rows + w.tile * ROWS;
        for (int i = t * 4; i < rows * D; i += 128 * WARPS) *(float4 *)(x.sums + place * D + i) = *(const float4 *)(&sh.sum[0][0] + i);
        if (t < rows) {
            float y = NONE;
#pragma unroll
            for (int n = 0; n < WARPS; ++n) y = fmaxf(y, sh.largest[n][t]);
            x.totals[place + t] = make_float2(y, total_at(t));
        }
    }
    __syncthreads();
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, AT_ONCE)
attend_decode(const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values, const __grid_constant__ Arguments x) {
    extern __shared__ u8 memory[];
    Shared &sh = *(Shared *)(memory + (1024 - (shared(memory) & 1023) & 1023));
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
    const int tiles = (x.rows + ROWS - 1) / ROWS, grid = gridDim.x;
    Ring ring{sh.ring[warp], sh.full[warp], 0};
    if (lane == 0) {
        for (int i = 0; i < RUST_RING; ++i) mbar_init(ring.full + i, 1);
        proxy_fence();
    }
    __syncwarp();
    wait_for_last();
    const uint4 header = *x.header;
    const int splits = header.y;
    int item = blockIdx.x, number = 0;  // of its first piece
    Work w = find(x, item, splits, tiles, warp);
#pragma unroll
    for (int i = 0; i < RUST_RING; ++i) ring.load(x, &keys, &values, w, i, i, lane);
    Scales scales;
    scales.load(x, w, lane);
    for (; w.valid; item += grid, number += 2 * PIECES) {
        Queries query;
        query.load(x, w, g, q);
        const Work next = find(x, item + grid, splits, tiles, warp);
        Scales scales_next;
        scales_next.load(x, next, lane);
        const auto take = [&](int piece) {  // it has been read: its place is for the one that is a ring behind
            __syncwarp();
            const int n = piece + RUST_RING;
            ring.load(x, &keys, &values, n < 2 * PIECES ? w : next, n % (2 * PIECES), number + n, lane);
        };
        const int rows = w.rows(x.group), end = w.of.end(), first_key = w.split * SPLIT + warp * PAGE;
        const bool whole = first_key + PAGE <= end;
        int position[2];  // of rows g and g + 8
#pragma unroll
        for (int i = 0; i < 2; ++i) position[i] = w.of.position + (w.tile * ROWS + g + i * 8) / x.group;
        float s[PAGE / 8][4] = {};
        float largest[2] = {NONE, NONE}, total[2] = {};
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            if (w.any) {
                const u8 *k = ring.wait(number + piece);
#pragma unroll
                for (int c = 0; c < LINE / 64; ++c) {
                    uint4 y[PAGE / 8];
#pragma unroll
                    for (int n = 0; n < PAGE / 8; ++n) y[n] = at(k, n * 8 + g, c * 4 + q);
                    if constexpr (FP8) {
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            const int chunk = (piece * (LINE / 64) + c) * 2 + i / 2;
                            const uint4 &a = query.of[0][chunk], &b = query.of[1][chunk];
                            const int m = i % 2 * 2;
#pragma unroll
                            for (int n = 0; n < PAGE / 8; ++n) {
                                const u32 of = word(y[n], i);
                                multiply_f16(s[n], {word(a, m), word(b, m), word(a, m + 1), word(b, m + 1)}, f16(of), f16(of >> 16));
                            }
                        }
                    } else {
                        const uint4 &a = query.of[0][piece * 2 + c], &b = query.of[1][piece * 2 + c];
#pragma unroll
                        for (int n = 0; n < PAGE / 8; ++n) multiply(s[n], {a.x, b.x, a.y, b.y}, y[n].x, y[n].y);
#pragma unroll
                        for (int n = 0; n < PAGE / 8; ++n) multiply(s[n], {a.z, b.z, a.w, b.w}, y[n].z, y[n].w);
                    }
                }
            }
            take(piece);
        }
        if (w.any)
#pragma unroll
            for (int n = 0; n < PAGE / 8; ++n)
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const int key = first_key + n * 8 + q * 2 + (e & 1), row = position[e >> 1];
                    if constexpr (FP8) s[n][e] *= of_token(scales.keys, n * 8 + q * 2, e & 1);
                    s[n][e] = key <= row && key > row - x.window ? s[n][e] * x.scale : NONE;
                    largest[e >> 1] = fmaxf(largest[e >> 1], s[n][e]);
                }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 1));
            largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 2));
            if (q == 0) sh.largest[warp][g + i * 8] = largest[i];
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int n = 0; n < WARPS; ++n) largest[i] = fmaxf(largest[i], sh.largest[n][g + i * 8]);
        u32 p[PAGE / 16][4];
        const float values_scale = FP8 ? scales.normalise(end - first_key, lane) : 1.f;
#pragma unroll
        for (int j = 0; j < PAGE / 16; ++j) {
            float y[8];
#pragma unroll
            for (int e = 0; e < 8; ++e) {
                const float of = s[j * 2 + e / 4][e % 4];
                y[e] = w.any && of > NONE ? power(of - largest[e >> 1 & 1]) : 0.f;
                total[e >> 1 & 1] += y[e];
                if constexpr (FP8) y[e] *= of_token(scales.values, j * 16 + e / 4 * 8 + q * 2, e & 1);
            }
#pragma unroll
            for (int e = 0; e < 4; ++e) p[j][e] = FP8 ? pack_f16(y[e * 2], y[e * 2 + 1]) : pack(y[e * 2], y[e * 2 + 1]);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            total[i] += __shfl_xor_sync(~0u, total[i], 1);
            total[i] += __shfl_xor_sync(~0u, total[i], 2);
            if (q == 0) sh.total[warp][g + i * 8] = total[i];
        }
        float o[PIECES][MINE][4] = {};
#pragma unroll
        for (int piece = 0; piece < PIECES; ++piece) {
            if (w.any) {
                const u8 *v = ring.wait(number + PIECES + piece);
#pragma unroll
                for (int j = 0; j < PAGE / 16; ++j) {
                    uint4 of[4];  // keys 2 q, 2 q + 1, 2 q + 8, 2 q + 9 of 16; behind the last key may be no numbers
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int key = j * 16 + q * 2 + (i & 1) + (i >> 1) * 8;
                        of[i] = values_at(v, key, g);
                        if (!whole && first_key + key >= end) of[i] = make_uint4(0, 0, 0, 0);
                    }
#pragma unroll
                    for (int m = 0; m < MINE * NUMBER / 4; ++m) {
                        const u32 v0 = word(of[0], m), v1 = word(of[1], m), v2 = word(of[2], m), v3 = word(of[3], m);
                        if constexpr (FP8) {
#pragma unroll
                            for (int h = 0; h < 2; ++h) {
                                const u32 order = h ? 0x7362 : 0x5140, a = __byte_perm(v0, v1, order), b = __byte_perm(v2, v3, order);
                                multiply_f16(o[piece][4 * m + 2 * h], p[j], f16(a), f16(b));
                                multiply_f16(o[piece][4 * m + 2 * h + 1], p[j], f16(a >> 16), f16(b >> 16));
                            }
                        } else {
                            multiply(o[piece][2 * m], p[j], __byte_perm(v0, v1, 0x5410), __byte_perm(v2, v3, 0x5410));
                            multiply(o[piece][2 * m + 1], p[j], __byte_perm(v0, v1, 0x7632), __byte_perm(v2, v3, 0x7632));
                        }
                    }
                }
            }
            take(PIECES + piece);
        }
        if (w.split >= w.of.first(x.window) && rows > 0) {  // else nobody waits for the sums
            // The warps add them one after the other. Of row g a thread has 2 MINE columns behind each other of every piece.
            for (int turn = 0; turn < WARPS; ++turn) {
                if (turn == warp)
#pragma unroll
                    for (int i = 0; i < 2; ++i)
                        if (g + i * 8 < rows)
#pragma unroll
                            for (int h = 0; h < PIECES; ++h)
#pragma unroll
                                for (int j = 0; j < 2 * MINE; j += 4) {
                                    float4 *to = (float4 *)&sh.sum[g + i * 8][h * COLUMNS + q * 2 * MINE + j];
                                    float4 y = turn ? *to : make_float4(0, 0, 0, 0);
                                    const int e = i * 2 + j / MINE, n = j % MINE;
                                    y.x += o[h][n][e] * values_scale, y.y += o[h][n + 1][e] * values_scale;
                                    y.z += o[h][n + 2][e] * values_scale, y.w += o[h][n + 3][e] * values_scale;
                                    *to = y;
                                }
                __syncthreads();
            }
            leave(sh, x, w);
        }
        w = next, scales = scales_next;
    }
    release_next();
}

/// Adds up the splits of a row of a head: a warp every fourth, then the warps one after the other.
extern "C" __global__ void __launch_bounds__(32 * WARPS)
combine_splits(const __grid_constant__ Arguments x) {
    constexpr int MINE = D / 32;
    __shared__ alignas(16) float sum_of[WARPS][D];
    __shared__ float largest_of[WARPS], total_of[WARPS];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, head = blockIdx.x;
    const int entry = blockIdx.y / x.sequence_rows, row = blockIdx.y % x.sequence_rows;
    release_next();
    wait_for_last();
    if (entry >= x.header->x) return;
    const uint2 decoding = x.decoding[entry];
    const uint4 y = x.sequences[decoding.x];
    const Sequence s{(int)y.x, (int)y.y, (int)y.z, (int)y.w};
    const int count = s.count(x.window);
    if (row >= s.rows || count == 1) return;
    const i64 first = ((i64)(decoding.y + s.first(x.window)) * x.kv_heads + head / x.group) * x.rows + row * x.group + head % x.group;
    const i64 step = (i64)x.kv_heads * x.rows;
    float largest = NONE, total = 0, sum[MINE] = {};
#pragma unroll 4
    for (int n = warp; n < count; n += WARPS) {
        const i64 place = first + n * step;
        const float2 of = x.totals[place];
        float v[MINE];
        const float *from = x.sums + place * D + lane * MINE;
        if constexpr (MINE == 2) *(float2 *)v = *(const float2 *)from;
        else
#pragma unroll
            for (int i = 0; i < MINE; i += 4) *(float4 *)(v + i) = *(const float4 *)(from + i);
        const float now = fmaxf(largest, of.x), before = power(largest - now), weight = power(of.x - now);
        largest = now, total = total * before + weight * of.y;
#pragma unroll
        for (int i = 0; i < MINE; ++i) sum[i] = sum[i] * before + weight * v[i];
    }
#pragma unroll
    for (int i = 0; i < MINE; ++i) sum_of[warp][lane * MINE + i] = sum[i];
    if (lane == 0) largest_of[warp] = largest, total_of[warp] = total;
    __syncthreads();
    float all = NONE, weight[WARPS];
#pragma unroll
    for (int n = 0; n < WARPS; ++n) all = fmaxf(all, largest_of[n]);
    total = 0;
#pragma unroll
    for (int n = 0; n < WARPS; ++n) weight[n] = power(largest_of[n] - all), total += weight[n] * total_of[n];
    u16 *to = x.to + (s.row + row) * x.to_stride + head * D;
    for (int i = threadIdx.x * 2; i < D; i += 64 * WARPS) {
        float2 y = make_float2(0, 0);
#pragma unroll
        for (int n = 0; n < WARPS; ++n) y.x += weight[n] * sum_of[n][i], y.y += weight[n] * sum_of[n][i + 1];
        *(u32 *)(to + i) = pack(y.x / total, y.y / total);
    }
}
