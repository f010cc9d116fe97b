// The steps of BERT between the products, the comparison with a question, and a ranker's logits. Compiled by NVRTC at run time in front of
// the first use; no header of CUDA is needed. Row-major throughout; a batch is the tokens of all its windows one after
// the other, without padding.
//
// Operands of the products are f16 numbers whose sum is the f32 number, in three parts a row: what f16 holds of it, the
// rest, and the first part again. Against weights split [first, first, rest] one product of f16 numbers gives the f32
// product within about 2^-21 (Ootomo and Yokota 2022, "Recovering single precision accuracy from Tensor Cores").
//
// Options given at compile time: HIDDEN (a multiple of 128), HEADS; a head is 32 wide.
typedef unsigned short u16;
typedef unsigned int u32;

#define DEV __device__ __forceinline__

constexpr int WIDTH = 32;
constexpr int PARTS = HIDDEN / 128;  // float4s of a row that a lane holds
constexpr u32 ALL = 0xffffffffu;

static_assert(HEADS * WIDTH == HIDDEN, "heads are 32 wide");

DEV u16 half_of(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
DEV float of_half(u16 h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
DEV float sum_of_warp(float x) {
    for (int d = 16; d > 0; d >>= 1) x += __shfl_xor_sync(ALL, x, d);
    return x;
}
DEV float max_of_warp(float x) {
    for (int d = 16; d > 0; d >>= 1) x = fmaxf(x, __shfl_xor_sync(ALL, x, d));
    return x;
}
/// Stores four numbers of a row of `width` as an operand.
DEV void store_split(u16 *row, int width, int column, float4 x) {
    ushort4 first = {half_of(x.x), half_of(x.y), half_of(x.z), half_of(x.w)};
    ushort4 rest = {half_of(x.x - of_half(first.x)), half_of(x.y - of_half(first.y)),
                    half_of(x.z - of_half(first.z)), half_of(x.w - of_half(first.w))};
    *(ushort4 *)(row + column) = first;
    *(ushort4 *)(row + width + column) = rest;
    *(ushort4 *)(row + 2 * width + column) = first;
}
DEV float4 add(float4 a, float4 b) { return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w}; }
DEV float total(float4 a) { return (a.x + a.y) + (a.z + a.w); }

/// Normalises a row that a warp holds, and stores it as state and as operand.
DEV void norm_and_store(float4 (&x)[PARTS], float *state, u16 *split, const float *scale, const float *shift, float epsilon) {
    const int lane = threadIdx.x & 31;
    float sum = 0.f;
    for (int i = 0; i < PARTS; ++i) sum += total(x[i]);
    const float mean = sum_of_warp(sum) / HIDDEN;
    float squares = 0.f;
    for (int i = 0; i < PARTS; ++i) {
        x[i] = add(x[i], {-mean, -mean, -mean, -mean});
        squares += total({x[i].x * x[i].x, x[i].y * x[i].y, x[i].z * x[i].z, x[i].w * x[i].w});
    }
    const float by = 1.f / sqrtf(sum_of_warp(squares) / HIDDEN + epsilon);
    for (int i = 0; i < PARTS; ++i) {
        const int column = i * 128 + lane * 4;
        const float4 a = *(const float4 *)(scale + column), b = *(const float4 *)(shift + column);
        const float4 y = {x[i].x * by * a.x + b.x, x[i].y * by * a.y + b.y, x[i].z * by * a.z + b.z, x[i].w * by * a.w + b.w};
        *(float4 *)(state + column) = y;
        store_split(split, HIDDEN, column, y);
    }
}

/// State of each token: norm(words[id] + positions[place]). A warp a token.
extern "C" __global__ void __launch_bounds__(256) embed(
    float *state, u16 *split, const int *ids, const int *places, const float *words, const float *positions,
    const float *scale, const float *shift, int tokens, float epsilon) {
    const int row = blockIdx.x * 8 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (row >= tokens) return;
    const float *word = words + (long long)ids[row] * HIDDEN, *position = positions + places[row] * HIDDEN;
    float4 x[PARTS];
    for (int i = 0; i < PARTS; ++i) {
        const int column = i * 128 + lane * 4;
        x[i] = add(*(const float4 *)(word + column), *(const float4 *)(position + column));
    }
    const long long at = row;
    norm_and_store(x, state + at * HIDDEN, split + at * 3 * HIDDEN, scale, shift, epsilon);
}

/// state = norm(state + y + bias). A warp a token.
extern "C" __global__ void __launch_bounds__(256) add_norm(
    float *state, u16 *split, const float *y, const float *bias, const float *scale, const float *shift, int tokens, float epsilon) {
    const int row = blockIdx.x * 8 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (row >= tokens) return;
    const long long at = row;
    float4 x[PARTS];
    for (int i = 0; i < PARTS; ++i) {
        const int column = i * 128 + lane * 4;
        const float4 more = add(*(const float4 *)(y + at * HIDDEN + column), *(const float4 *)(bias + column));
        x[i] = add(*(const float4 *)(state + at * HIDDEN + column), more);
    }
    norm_and_store(x, state + at * HIDDEN, split + at * 3 * HIDDEN, scale, shift, epsilon);
}

DEV float gelu_of(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678118654752f)); }

/// split = gelu(y + bias) of rows of `inner`; a block a row.
extern "C" __global__ void __launch_bounds__(384) gelu(u16 *split, const float *y, const float *bias, int inner) {
    const long long row = blockIdx.x;
    for (int column = threadIdx.x * 4; column < inner; column += blockDim.x * 4) {
        const float4 x = add(*(const float4 *)(y + row * inner + column), *(const float4 *)(bias + column));
        store_split(split + row * 3 * inner, inner, column, {gelu_of(x.x), gelu_of(x.y), gelu_of(x.z), gelu_of(x.w)});
    }
}

constexpr int EACH = 8;               // queries of a warp
constexpr int WARPS = 10;
constexpr int QUERIES = EACH * WARPS; // of a block; mirrored by QUERIES in pass.rs
constexpr int KEYS = 96;              // in shared memory at a time
constexpr int KEY_STRIDE = WIDTH + 4; // so that eight lanes that read 16 bytes of eight rows meet no bank twice

/// Attention of some queries of one window and head, f32 throughout, softmax on the way (Milakov and Gimelshein 2018).
/// A lane holds a key in the first product and a column in the second. `tasks` has three numbers each: the window's
/// first row, its tokens, its first query of this block.
extern "C" __global__ void __launch_bounds__(QUERIES * 4) attend(u16 *split, const float *qkv, const float *bias, const int *tasks) {
    __shared__ alignas(16) float keys[KEYS * KEY_STRIDE], values[KEYS * WIDTH], queries[QUERIES * WIDTH], shares[WARPS][32 * EACH];
    const int *task = tasks + 3 * blockIdx.x;
    const int start = task[0], tokens = task[1], first = task[2];
    const int head = blockIdx.y * WIDTH, warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    const float *rows = qkv + (long long)start * 3 * HIDDEN + head;
    const float scale = 0.17677669529663688f * 1.4426950408889634f;  // 32^-1/2, and powers of 2 instead of e
    for (int i = threadIdx.x; i < QUERIES * 8; i += blockDim.x) {
        const int r = i >> 3, c = (i & 7) * 4;
        float4 x = {0.f, 0.f, 0.f, 0.f};
        if (first + r < tokens) x = add(*(const float4 *)(rows + (long long)(first + r) * 3 * HIDDEN + c), *(const float4 *)(bias + head + c));
        *(float4 *)(queries + r * WIDTH + c) = {x.x * scale, x.y * scale, x.z * scale, x.w * scale};
    }
    const int mine = warp * EACH;
    const bool idle = first + mine >= tokens;
    float highest[EACH], sums[EACH], out[EACH];
    for (int q = 0; q < EACH; ++q) highest[q] = -1e30f, sums[q] = 0.f, out[q] = 0.f;
    for (int from = 0; from < tokens; from += KEYS) {
        __syncthreads();
        for (int i = threadIdx.x; i < KEYS * 8; i += blockDim.x) {
            const int r = i >> 3, c = (i & 7) * 4;
            float4 k = {0.f, 0.f, 0.f, 0.f}, v = k;
            if (from + r < tokens) {
                const float *row = rows + (long long)(from + r) * 3 * HIDDEN + c;
                k = add(*(const float4 *)(row + HIDDEN), *(const float4 *)(bias + HIDDEN + head + c));
                v = add(*(const float4 *)(row + 2 * HIDDEN), *(const float4 *)(bias + 2 * HIDDEN + head + c));
            }
            *(float4 *)(keys + r * KEY_STRIDE + c) = k;
            *(float4 *)(values + r * WIDTH + c) = v;
        }
        __syncthreads();
        for (int chunk = 0; chunk < KEYS && from + chunk < tokens && !idle; chunk += 32) {
            float score[EACH] = {};
            const float *key = keys + (chunk + lane) * KEY_STRIDE;
            for (int d = 0; d < WIDTH; d += 4) {
                const float4 k = *(const float4 *)(key + d);
                for (int q = 0; q < EACH; ++q) {
                    const float4 x = *(const float4 *)(queries + (mine + q) * WIDTH + d);
                    score[q] = fmaf(x.x, k.x, fmaf(x.y, k.y, fmaf(x.z, k.z, fmaf(x.w, k.w, score[q]))));
                }
            }
            const bool there = from + chunk + lane < tokens;
            for (int q = 0; q < EACH; ++q) {
                const float x = there ? score[q] : -1e30f, top = fmaxf(highest[q], max_of_warp(x));
                const float fade = exp2f(highest[q] - top);
                highest[q] = top;
                score[q] = there ? exp2f(x - top) : 0.f;
                sums[q] = sums[q] * fade + score[q];
                out[q] *= fade;
            }
            float *share = shares[warp] + lane * EACH;
            *(float4 *)share = {score[0], score[1], score[2], score[3]};
            *(float4 *)(share + 4) = {score[4], score[5], score[6], score[7]};
            __syncwarp();
            const int end = min(32, tokens - from - chunk);
            for (int j = 0; j < end; ++j) {
                const float v = values[(chunk + j) * WIDTH + lane];
                const float4 a = *(const float4 *)(shares[warp] + j * EACH), b = *(const float4 *)(shares[warp] + j * EACH + 4);
                out[0] = fmaf(a.x, v, out[0]), out[1] = fmaf(a.y, v, out[1]), out[2] = fmaf(a.z, v, out[2]), out[3] = fmaf(a.w, v, out[3]);
                out[4] = fmaf(b.x, v, out[4]), out[5] = fmaf(b.y, v, out[5]), out[6] = fmaf(b.z, v, out[6]), out[7] = fmaf(b.w, v, out[7]);
            }
            __syncwarp();
        }
    }
    for (int q = 0; q < EACH; ++q) {
        const float sum = sum_of_warp(sums[q]);
        const int token = first + mine + q;
        if (token >= tokens) continue;
        const float x = out[q] / sum;
        const u16 a = half_of(x), b = half_of(x - of_half(a));
        u16 *row = split + (long long)(start + token) * 3 * HIDDEN + head + lane;
        row[0] = a, row[HIDDEN] = b, row[2 * HIDDEN] = a;
    }
}

constexpr int MOST_PIECES = 128;  // of a question

/// Compares a window with the question; a block of 8 warps a window. `dots [rows, columns]` are the products of the
/// states with the question's unit vectors. `windows` has four numbers each: first row, tokens, first unit, units;
/// `units` two: the rows of the unit, from the first row of the batch. Out: `best [windows, pieces]`, the cosine of the
/// best token with each piece; `cosines [windows]` and `unit_cosines [units]`, those of the mean state with the
/// question's mean. The first and last token stand for the window alone.
extern "C" __global__ void __launch_bounds__(256) compare(
    float *best, float *cosines, float *unit_cosines, const float *state, const float *dots, const float *question,
    const int *windows, const int *units, int pieces, int columns) {
    __shared__ float highest[8][MOST_PIECES];
    __shared__ alignas(16) float sums[8][HIDDEN];
    const int *window = windows + 4 * blockIdx.x;
    const int start = window[0], tokens = window[1], first_unit = window[2], count = window[3];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    float4 sum[PARTS] = {}, asked[PARTS];
    for (int i = 0; i < PARTS; ++i) asked[i] = *(const float4 *)(question + i * 128 + lane * 4);
    float top[MOST_PIECES / 32];
    for (int i = 0; i < MOST_PIECES / 32; ++i) top[i] = -1.f;
    for (int r = warp; r < tokens; r += 8) {
        const float *row = state + (long long)(start + r) * HIDDEN;
        float squares = 0.f;
        for (int i = 0; i < PARTS; ++i) {
            const float4 x = *(const float4 *)(row + i * 128 + lane * 4);
            sum[i] = add(sum[i], x);
            squares += total({x.x * x.x, x.y * x.y, x.z * x.z, x.w * x.w});
        }
        const float scale = 1.f / fmaxf(sqrtf(sum_of_warp(squares)), 1e-9f);
        if (r == 0 || r == tokens - 1) continue;
        const float *dot = dots + (long long)(start + r) * columns;
        for (int i = 0; i < MOST_PIECES / 32; ++i)
            if (i * 32 + lane < pieces) top[i] = fmaxf(top[i], dot[i * 32 + lane] * scale);
    }
    for (int i = 0; i < MOST_PIECES / 32; ++i) highest[warp][i * 32 + lane] = top[i];
    for (int i = 0; i < PARTS; ++i) *(float4 *)(sums[warp] + i * 128 + lane * 4) = sum[i];
    __syncthreads();
    for (int p = threadIdx.x; p < pieces; p += blockDim.x) {
        float x = -1.f;
        for (int w = 0; w < 8; ++w) x = fmaxf(x, highest[w][p]);
        best[(long long)blockIdx.x * pieces + p] = x;
    }
    for (int u = warp - 1; u < count; u += 8) {
        float4 mean[PARTS] = {};
        if (u < 0) {  // the window itself, by the first warp
            for (int w = 0; w < 8; ++w)
                for (int i = 0; i < PARTS; ++i) mean[i] = add(mean[i], *(const float4 *)(sums[w] + i * 128 + lane * 4));
        } else {
            const int *unit = units + 2 * (first_unit + u);
            for (int r = unit[0]; r < unit[1]; ++r)
                for (int i = 0; i < PARTS; ++i)
                    mean[i] = add(mean[i], *(const float4 *)(state + (long long)r * HIDDEN + i * 128 + lane * 4));
        }
        float dot = 0.f, squares = 0.f;
        for (int i = 0; i < PARTS; ++i) {
            const float4 m = mean[i], a = asked[i];
            dot += total({m.x * a.x, m.y * a.y, m.z * a.z, m.w * a.w});
            squares += total({m.x * m.x, m.y * m.y, m.z * m.z, m.w * m.w});
        }
        const float cosine = sum_of_warp(dot) / fmaxf(sqrtf(sum_of_warp(squares)), 1e-9f);
        if (lane == 0) *(u < 0 ? cosines + blockIdx.x : unit_cosines + first_unit + u) = cosine;
    }
}

/// A ranker's logits; a warp a token. `heads` are two rows, that of a token and that of a window, which is read from the
/// first token of each window: the only one at place 0.
extern "C" __global__ void __launch_bounds__(256) rank(
    float *logits, const float *state, const int *places, const float *heads, float token_bias, float window_bias, int tokens) {
    const int row = blockIdx.x * 8 + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (row >= tokens) return;
    const bool first = places[row] == 0;
    const float *head = heads + (first ? HIDDEN : 0), *x = state + (long long)row * HIDDEN;
    float dot = 0.f;
    for (int i = 0; i < PARTS; ++i) {
        const int column = i * 128 + lane * 4;
        const float4 a = *(const float4 *)(x + column), b = *(const float4 *)(head + column);
        dot += total({a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w});
    }
    dot = sum_of_warp(dot);
    if (lane == 0) logits[row] = dot + (first ? window_bias : token_bias);
}
