// Attention of many rows a sequence over pages: a block takes 128 rows of one head and walks the keys from the last that
// they see to the first. Two warp groups multiply, 64 rows each; a third asks the copy engine for pages of keys and
// values. Within a group the products with the next keys run beside the exponentials of these (FlashAttention-3,
// 2407.08608).
// Products are bf16 with sums of fp32; weights of keys are rounded to bf16 for the product with values.
// Keys and values of FP8 are fetched as they lie, and the third group makes them bf16, times their scales, which changes no number:
// bf16 has all of FP8's, and the scales are powers of two.
constexpr int TILE = 128, PAGE = 64, GROUPS = 2, HALVES = D / 64, STEPS = D / 16;
constexpr int BLOCK_BYTES = KEYS * 128;  // 64 columns of all keys of a tile
constexpr int RAW = FP8 ? RUST_RAW : 1, RAW_BYTES = FP8 ? KEYS * D : 16, RAW_SCALES = FP8 ? KEYS : 4;  // tiles of FP8 under way
static_assert(RUST_THREADS == 384 && RUST_TILE == TILE && RUST_PAGE == PAGE && RUST_RAW >= 2);

struct Arguments {
    const u16 *queries;
    u16 *to;
    i64 query_stride, to_stride;
    const uint4 *sequences;  // first row, rows, position of the first row, first entry of the page table
    const uint2 *tiles;      // sequence, first row
    const u32 *pages;
    const u8 *keys, *values;                 // [pages, kv_heads, PAGE, D], of FP8
    const float *key_scales, *value_scales;  // [pages, kv_heads, PAGE]
    int kv_heads, group;
    float scale;             // times log2 e
    int window;
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS);
struct Shared {
    u8 q[HALVES * TILE * 128];
    u8 k[STAGES][HALVES * BLOCK_BYTES], v[STAGES][HALVES * BLOCK_BYTES];
    u8 raw[RAW][RAW_BYTES];
    float scales[RAW][RAW_SCALES];
    u64 k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES], raw_full[RAW];
};
static_assert(sizeof(Shared) + 1024 <= SIZEOF_SHARED);
enum { GROUP = 1, CONVERTERS = GROUP + GROUPS };  // named barriers, one of each group

#define F64(d, i) F8(d, i), F8(d, i + 8), F8(d, i + 16), F8(d, i + 24), F8(d, i + 32), F8(d, i + 40), F8(d, i + 48), F8(d, i + 56)
#define R64 R32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
/// s (64 x KEYS) = or += 16 columns of q times those of k.
DEV void with_keys(float (&d)[KEYS / 2], u64 a, u64 b, int add) {
    if constexpr (KEYS == 128)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" R64
                     "}, %64, %65, p, 1, 1, 0, 0;\n}" : F64(d, 0) : "l"(a), "l"(b), "r"(add) : "memory");
    else
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32
                     "}, %32, %33, p, 1, 1, 0, 0;\n}" : F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24) : "l"(a), "l"(b), "r"(add) : "memory");
}
/// o (64 x 64 or 128 columns from `d` on) += weights of 16 keys times their values, which lie row by row.
template <int COLUMNS> DEV void with_values(float *d, const u32 (&a)[4], u64 b) {
    constexpr int add = 1;
    if constexpr (COLUMNS == 128) WG_RS("128", R64, "%64,%65,%66,%67", "68", "69", "1", F64(d, 0));
    else WG_RS("64", R32, "%32,%33,%34,%35", "36", "37", "1", F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24));
}
DEV void load_box(void *to, const TensorMap *map, u64 *bar, int column, int row) {
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
                 ::"r"(shared(to)), "l"(map), "r"(shared(bar)), "r"(column), "r"(row) : "memory");
}
DEV float power(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
constexpr float NONE = -1e30f;  // below every product, and no infinity

/// A block's rows, and the tiles of keys that they see.
struct Work {
    uint4 sequence;
    int first, rows;      // rows of the sequence, and how many of them
    int from, to;         // tiles of keys
    int end;              // keys of the sequence
};
DEV Work work_of(const Arguments &x) {
    const uint2 tile = x.tiles[blockIdx.x];
    Work w;
    w.sequence = x.sequences[tile.x];
    w.first = tile.y, w.rows = min(TILE, (int)w.sequence.y - w.first);
    const int position = w.sequence.z + w.first;
    w.from = max(0, position - x.window + 1) / KEYS, w.to = (position + w.rows - 1) / KEYS + 1;
    w.end = w.sequence.z + w.sequence.y;
    return w;
}

DEV void run_loads(Shared &sh, const Arguments &x, const Work &w, const TensorMap *keys, const TensorMap *values) {
    const int head = blockIdx.y / x.group, pages = (w.end + PAGE - 1) / PAGE;
    int count = 0;
    const auto load = [&](u8 *to, const TensorMap *map, u64 *full, u64 *empty, int tile, int n) {
        if (n >= STAGES) mbar_wait(empty, n / STAGES - 1 & 1);
        mbar_expect(full, HALVES * BLOCK_BYTES);
#pragma unroll
        for (int p = 0; p < KEYS / PAGE; ++p) {
            // Behind the last page the last one again: what it gives is masked.
            const u32 page = x.pages[w.sequence.w + min(tile * (KEYS / PAGE) + p, pages - 1)];
#pragma unroll
            for (int h = 0; h < HALVES; ++h) load_box(to + h * BLOCK_BYTES + p * 8192, map, full, h * 64, (page * x.kv_heads + head) * PAGE);
        }
    };
    for (int tile = w.to - 1; tile >= w.from; --tile, ++count) {
        const int stage = count % STAGES;
        load(sh.k[stage], keys, &sh.k_full[stage], &sh.k_empty[stage], tile, count);
        if (count) load(sh.v[(count - 1) % STAGES], values, &sh.v_full[(count - 1) % STAGES], &sh.v_empty[(count - 1) % STAGES], tile + 1, count - 1);
    }
    load(sh.v[(count - 1) % STAGES], values, &sh.v_full[(count - 1) % STAGES], &sh.v_empty[(count - 1) % STAGES], w.from, count - 1);
}

/// A tile of keys or values on its way: those of tile 0, then of the next tile the keys and of the last one the values.
struct Fetch {
    bool values;
    int index;  // of the tile among those of this block
    DEV Fetch(int number, int tiles)
        : values(number == 2 * tiles - 1 || (number && number % 2 == 0)),
          index(number == 2 * tiles - 1 ? tiles - 1 : number == 0 ? 0 : number % 2 ? (number + 1) / 2 : number / 2 - 1) {}
};
DEV void fetch(Shared &sh, const Arguments &x, const Work &w, int number) {
    const int head = blockIdx.y / x.group, pages = (w.end + PAGE - 1) / PAGE, slot = number % RAW;
    const Fetch f(number, w.to - w.from);
    const int tile = w.to - 1 - f.index;
    mbar_expect(&sh.raw_full[slot], RAW_BYTES + RAW_SCALES * 4);
#pragma unroll
    for (int p = 0; p < KEYS / PAGE; ++p) {
        // Behind the last page the last one again: what it gives is masked.
        const u32 page = x.pages[w.sequence.w + min(tile * (KEYS / PAGE) + p, pages - 1)];
        const i64 first = ((i64)page * x.kv_heads + head) * PAGE;
        load_flat(sh.raw[slot] + p * PAGE * D, (f.values ? x.values : x.keys) + first * D, PAGE * D, &sh.raw_full[slot]);
        load_flat(&sh.scales[slot][p * PAGE], (f.values ? x.value_scales : x.key_scales) + first, PAGE * 4, &sh.raw_full[slot]);
    }
}
/// Four numbers of FP8, the lower or the upper two, as bf16 times a factor that has 2^120 in it: the bits in their places have an
/// exponent that is too small by so much.
DEV u32 widened(u32 x, bool upper, u32 factor) {
    const u32 y = __byte_perm(x, 0, upper ? 0x3424 : 0x1404);
    u32 z = (y & 0x80008000u) | (y >> 4 & 0x07f007f0u);
    asm("mul.rn.bf16x2 %0, %0, %1;" : "+r"(z) : "r"(factor));
    return z;
}
DEV void widen(u8 *to, const u8 *raw, const float *scales, int t) {
    constexpr int LINE = D / 8;  // pieces of 8 numbers of a row
#pragma unroll 4
    for (int i = t; i < KEYS * LINE; i += 128) {
        const int row = i / LINE, c = i % LINE;
        const uint2 y = *(const uint2 *)(raw + i * 8);
        const u32 high = __float_as_uint(scales[row] * 1.3292279957849159e36f) >> 16, factor = high | high << 16;
        *(uint4 *)(to + (c >> 3) * BLOCK_BYTES + row * 128 + (((c & 7) ^ (row & 7)) << 4)) =
            make_uint4(widened(y.x, false, factor), widened(y.x, true, factor), widened(y.y, false, factor), widened(y.y, true, factor));
    }
}
/// What `run_loads` does, for FP8, by all threads of the third group.
DEV void run_conversions(Shared &sh, const Arguments &x, const Work &w, int t) {
    const int tiles = w.to - w.from;
    if (t == 0)
        for (int n = 0; n < min(RAW, 2 * tiles); ++n) fetch(sh, x, w, n);
    for (int number = 0; number < 2 * tiles; ++number) {
        const int slot = number % RAW;
        const Fetch f(number, tiles);
        const int stage = f.index % STAGES;
        mbar_wait(&sh.raw_full[slot], number / RAW & 1);
        if (f.index >= STAGES) mbar_wait(f.values ? &sh.v_empty[stage] : &sh.k_empty[stage], f.index / STAGES - 1 & 1);
        widen(f.values ? sh.v[stage] : sh.k[stage], sh.raw[slot], sh.scales[slot], t);
        proxy_fence();
        bar_sync(CONVERTERS, 128);
        if (t == 0) {
            mbar_arrive(f.values ? &sh.v_full[stage] : &sh.k_full[stage]);
            if (number + RAW < 2 * tiles) fetch(sh, x, w, number + RAW);
        }
    }
}

/// The queries of a group, 128 bytes a row, as the tensor cores want them; zeros behind the last row.
DEV void load_queries(u8 *to, const Arguments &x, const Work &w, int t, int group) {
    const u16 *from = x.queries + (i64)(w.sequence.x + w.first) * x.query_stride + blockIdx.y * D;
#pragma unroll
    for (int i = 0; i < 64 * D / 8 / 128; ++i) {
        const int piece = i * 128 + t, row = group * 64 + piece / (D / 8), c = piece % (D / 8);
        const uint4 y = row < w.rows ? *(const uint4 *)(from + row * x.query_stride + c * 8) : make_uint4(0, 0, 0, 0);
        *(uint4 *)(to + (c >> 3) * (TILE * 128) + row * 128 + (((c & 7) ^ (row & 7)) << 4)) = y;
    }
}
DEV void store_outputs(u8 *through, const float (&o)[D / 2], const float (&factor)[2], const Arguments &x, const Work &w, int t, int group) {
    const int warp = t >> 5, lane = t & 31, g = lane >> 2, q = lane & 3;
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = group * 64 + warp * 16 + g + i * 8;
            *(u32 *)(through + (n >> 3) * (TILE * 128) + row * 128 + (((n & 7) ^ (row & 7)) << 4) + q * 4) =
                pack(o[n * 4 + i * 2] * factor[i], o[n * 4 + i * 2 + 1] * factor[i]);
        }
    bar_sync(GROUP + group, 128);
    u16 *to = x.to + (i64)(w.sequence.x + w.first) * x.to_stride + blockIdx.y * D;
#pragma unroll
    for (int i = 0; i < 64 * D / 8 / 128; ++i) {
        const int piece = i * 128 + t, row = group * 64 + piece / (D / 8), c = piece % (D / 8);
        if (row < w.rows)
            *(uint4 *)(to + row * x.to_stride + c * 8) =
                *(const uint4 *)(through + (c >> 3) * (TILE * 128) + row * 128 + (((c & 7) ^ (row & 7)) << 4));
    }
}

/// Values behind the last key of a tile, which may be no numbers, become zeros.
DEV void clear_rest(u8 *v, int keys, int t) {
    for (int piece = t; piece < (KEYS - keys) * 8 * HALVES; piece += 128) {
        const int h = piece % HALVES, row = keys + piece / HALVES / 8, c = piece / HALVES % 8;
        *(uint4 *)(v + h * BLOCK_BYTES + row * 128 + c * 16) = make_uint4(0, 0, 0, 0);
    }
}

struct Softmax {
    float largest[2], total[2], scale;
    /// Products to weights; returns what the sums so far are to be multiplied with.
    DEV float2 update(float (&s)[KEYS / 2]) {
        float factor[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float y = largest[i];
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n) y = fmaxf(y, fmaxf(s[n * 4 + i * 2], s[n * 4 + i * 2 + 1]));
            y = fmaxf(y, __shfl_xor_sync(~0u, y, 1));
            y = fmaxf(y, __shfl_xor_sync(~0u, y, 2));
            // A row that has seen no key yet has no weights: its masked products are far below zero.
            const float from = y == NONE ? 0.f : y * scale;
            factor[i] = power((largest[i] - y) * scale);
            largest[i] = y;
            float sum = 0;
#pragma unroll
            for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    float &p = s[n * 4 + i * 2 + e];
                    p = power(p * scale - from);
                    sum += p;
                }
            total[i] = total[i] * factor[i] + sum;
        }
        return make_float2(factor[0], factor[1]);
    }
};

DEV void mask(float (&s)[KEYS / 2], int first_key, const int (&position)[2], int window, int lane) {
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            const int key = first_key + n * 8 + (lane & 3) * 2 + (e & 1), row = position[e >> 1];
            if (key > row || key <= row - window) s[n * 4 + e] = NONE;
        }
}
DEV void operands(u32 (&p)[KEYS / 16][4], const float (&s)[KEYS / 2]) {
#pragma unroll
    for (int j = 0; j < KEYS / 16; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) p[j][e] = pack(s[j * 8 + e * 2], s[j * 8 + e * 2 + 1]);
}

DEV void run_products(Shared &sh, const Arguments &x, const Work &w, int t, int group) {
    const int warp = t >> 5, lane = t & 31;
    const int row = w.sequence.z + w.first + group * 64 + warp * 16 + (lane >> 2), position[2] = {row, row + 8};
    const int oldest = w.sequence.z + w.first + group * 64, newest = oldest + 63;  // rows of this group
    load_queries(sh.q, x, w, t, group);
    proxy_fence();
    bar_sync(GROUP + group, 128);
    const u64 dq = descriptor(sh.q + group * 8192, 16, 1024, 1);
    float s[KEYS / 2], o[D / 2];
    u32 p[KEYS / 16][4];
#pragma unroll
    for (int i = 0; i < D / 2; ++i) o[i] = 0;
    Softmax softmax{{NONE, NONE}, {0, 0}, x.scale};

    const auto multiply_keys = [&](int stage) {
        const u64 dk = descriptor(sh.k[stage], 16, 1024, 1);
#pragma unroll
        for (int ks = 0; ks < STEPS; ++ks)
            with_keys(s, dq + (ks >> 2) * (TILE * 128 >> 4) + (ks & 3) * 2, dk + (ks >> 2) * (BLOCK_BYTES >> 4) + (ks & 3) * 2, ks > 0);
        wg_commit();
    };
    const auto multiply_values = [&](int stage) {
        constexpr int COLUMNS = D < 128 ? 64 : 128;
        const u64 dv = descriptor(sh.v[stage], BLOCK_BYTES, 1024, 1);
#pragma unroll
        for (int j = 0; j < KEYS / 16; ++j)
#pragma unroll
            for (int c = 0; c < D / COLUMNS; ++c)
                with_values<COLUMNS>(o + c * COLUMNS / 2, p[j], dv + c * (COLUMNS / 64) * (BLOCK_BYTES >> 4) + j * (2048 >> 4));
        wg_commit();
    };
    const auto mask_tile = [&](int tile) {
        const int key = tile * KEYS;
        if (key + KEYS - 1 > oldest || key <= newest - x.window) mask(s, key, position, x.window, lane);
    };
    const auto wait_values = [&](int n, int tile) {
        mbar_wait(&sh.v_full[n % STAGES], n / STAGES & 1);
        if (w.end < (tile + 1) * KEYS) {
            clear_rest(sh.v[n % STAGES], w.end - tile * KEYS, t);
            proxy_fence();
            bar_sync(GROUP + group, 128);
        }
    };

    mbar_wait(&sh.k_full[0], 0);
    touch(s);
    wg_fence();
    multiply_keys(0);
    wg_wait<0>();
    touch(s);
    if (lane == 0) mbar_arrive(&sh.k_empty[0]);
    mask_tile(w.to - 1);
    softmax.update(s);
    operands(p, s);
    int n = 0;
    for (int tile = w.to - 2; tile >= w.from; --tile, ++n) {
        mbar_wait(&sh.k_full[(n + 1) % STAGES], (n + 1) / STAGES & 1);
        wait_values(n, tile + 1);
        touch(s), touch(o);
        wg_fence();
        multiply_keys((n + 1) % STAGES);
        multiply_values(n % STAGES);
        wg_wait<1>();
        touch(s);
        if (lane == 0) mbar_arrive(&sh.k_empty[(n + 1) % STAGES]);
        mask_tile(tile);
        const float2 factor = softmax.update(s);
        wg_wait<0>();
        touch(o);
        if (lane == 0) mbar_arrive(&sh.v_empty[n % STAGES]);
#pragma unroll
        for (int i = 0; i < D / 2; ++i) o[i] *= i & 2 ? factor.y : factor.x;
        operands(p, s);
    }
    wait_values(n, w.from);
    touch(o);
    wg_fence();
    multiply_values(n % STAGES);
    wg_wait<0>();
    touch(o);
    float factor[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        float total = softmax.total[i];
        total += __shfl_xor_sync(~0u, total, 1);
        total += __shfl_xor_sync(~0u, total, 2);
        factor[i] = 1.f / total;
    }
    store_outputs(sh.q, o, factor, x, w, t, group);
}

extern "C" __global__ void __launch_bounds__(RUST_THREADS, 1)
attend_prefill(const __grid_constant__ TensorMap keys, const __grid_constant__ TensorMap values, const __grid_constant__ Arguments x) {
    extern __shared__ u8 memory[];
    Shared &sh = *(Shared *)(memory + (1024 - (shared(memory) & 1023) & 1023));
    const int t = threadIdx.x;
    if (t == 0) {
        for (int i = 0; i < STAGES; ++i) {
            mbar_init(&sh.k_full[i], 1), mbar_init(&sh.v_full[i], 1);
            mbar_init(&sh.k_empty[i], GROUPS * 4), mbar_init(&sh.v_empty[i], GROUPS * 4);
        }
        for (int i = 0; i < RAW; ++i) mbar_init(&sh.raw_full[i], 1);
        proxy_fence();
    }
    release_next();
    wait_for_last();
    __syncthreads();
    const Work w = work_of(x);
    if (t >= 256) {
        if constexpr (FP8) {
            asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
            run_conversions(sh, x, w, t - 256);
        } else {
            asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
            if (t == 256) run_loads(sh, x, w, &keys, &values);
        }
    } else {
        if constexpr (FP8) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
        else asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
        run_products(sh, x, w, t & 127, t >> 7);
    }
}
