// Products of few rows with weights [columns, depth], row after row, bound by reading these once: y = x w^T.
//
// The tensor cores take 16 rows of the weights as their first operand and 8 rows of x as their second (TILES of these).
// The order in which a product adds up the depth is free as long as both operands have the same, so a thread reads 16
// bytes of its two rows at once and gives them to the tensor cores as they lie: nothing passes through shared memory. A
// block has 16 columns of y (with SwiGLU 16 of the gate and 16 of what it scales), its warps take turns along the depth
// and add up in a fixed order. FP8 weights become bf16 on the way: E4M3 bits in the places of bf16's, times 2^120.
constexpr int THREADS = RUST_THREADS, WARPS = THREADS / 32, COLUMNS = 16;
enum { BF16 = 0, F32 = 1, ADD = 2, SWIGLU = 3 };
constexpr int PARTS = EPILOGUE == SWIGLU ? 2 : 1;        // tiles of 16 columns of a block
constexpr int STEP = FP8 ? 128 : 64;                     // numbers of a row that a warp takes at once: 128 bytes
constexpr int LOADS = FP8 ? 4 : 2;                       // 16 bytes of x that a thread takes at once
constexpr int AT_ONCE = EPILOGUE == SWIGLU && TILES == 1 ? 3 : 2;                         // blocks of a multiprocessor
constexpr int UNDER_WAY = PARTS == 1 && !(FP8 && TILES == 2) ? 2 : 1;                     // steps of a warp
static_assert(RUST_THREADS % 32 == 0 && RUST_COLUMNS == COLUMNS);

DEV uint4 weights_at(const u8 *p) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}
DEV void multiply(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
/// The numbers in the upper bytes of both halves, as bf16: numbers too small for an exponent included.
DEV u32 wide(u32 x) {
    u32 y = (x & 0x80008000u) | (x >> 4 & 0x07f007f0u);
    asm("mul.rn.bf16x2 %0, %0, %1;" : "+r"(y) : "r"(0x7b807b80u));
    return y;
}
DEV u32 word(const uint4 &x, int i) { return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w; }

/// What a thread holds of a step.
struct Held {
    uint4 w[PARTS][2][2];  // rows lane / 4 and 8 behind; both halves of 128 bytes
    uint4 x[TILES][LOADS];
};

extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE)
skinny_gemm(const u16 *x, i64 x_stride, const u8 *__restrict__ weight, const float *__restrict__ scales, const u16 *__restrict__ bias,
            void *to, i64 to_stride, int rows, int depth, int columns) {
    __shared__ float sums[WARPS][PARTS][TILES * 8][COLUMNS];
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = lane >> 2, q = lane & 3;
    const int first = blockIdx.x * COLUMNS, steps = (depth + STEP - 1) / STEP;
    constexpr int BYTES = FP8 ? 1 : 2;
    const i64 pitch = (i64)depth * BYTES;
    const u8 *mine[PARTS];
#pragma unroll
    for (int p = 0; p < PARTS; ++p) mine[p] = weight + (first + g + p * (columns / 2)) * pitch + q * 16;
    Held held[UNDER_WAY];
    const auto load_weights = [&](Held &h, int step) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int byte = step * 128 + j * 64;
            const bool there = byte + q * 16 < pitch;
#pragma unroll
            for (int p = 0; p < PARTS; ++p)
#pragma unroll
                for (int r = 0; r < 2; ++r) h.w[p][r][j] = there ? weights_at(mine[p] + r * 8 * pitch + byte) : make_uint4(0, 0, 0, 0);
        }
    };
    const auto load_x = [&](Held &h, int step) {
#pragma unroll
        for (int n = 0; n < TILES; ++n)
#pragma unroll
            for (int j = 0; j < LOADS; ++j) {
                const int k = step * STEP + (FP8 ? (j >> 1) * 64 + q * 16 + (j & 1) * 8 : j * 32 + q * 8);
                h.x[n][j] = n * 8 + g < rows && k < depth ? *(const uint4 *)(x + (n * 8 + g) * x_stride + k) : make_uint4(0, 0, 0, 0);
            }
    };
#pragma unroll
    for (int u = 0; u < UNDER_WAY; ++u) load_weights(held[u], warp + u * WARPS);
    wait_for_last();
#pragma unroll
    for (int u = 0; u < UNDER_WAY; ++u) load_x(held[u], warp + u * WARPS);

    float c[PARTS][TILES][4] = {};
    for (int step = warp; step < steps; step += UNDER_WAY * WARPS) {
#pragma unroll
        for (int u = 0; u < UNDER_WAY; ++u) {
            Held &h = held[u];
#pragma unroll
            for (int j = 0; j < 2; ++j)
#pragma unroll
                for (int p = 0; p < PARTS; ++p) {
                    const uint4 &a = h.w[p][0][j], &b = h.w[p][1][j];
                    if (FP8) {
#pragma unroll
                        for (int i = 0; i < 4; ++i) {
                            const u32 a0 = wide(word(a, i) << 8), a1 = wide(word(b, i) << 8), a2 = wide(word(a, i)), a3 = wide(word(b, i));
#pragma unroll
                            for (int n = 0; n < TILES; ++n) {
                                const uint4 &y = h.x[n][j * (LOADS / 2) + i / 2];
                                const u32 y0 = word(y, i % 2 * 2), y1 = word(y, i % 2 * 2 + 1);
                                multiply(c[p][n], a0, a1, a2, a3, __byte_perm(y0, y1, 0x5410), __byte_perm(y0, y1, 0x7632));
                            }
                        }
                    } else {
#pragma unroll
                        for (int n = 0; n < TILES; ++n) {
                            const uint4 &y = h.x[n][j];
                            multiply(c[p][n], a.x, b.x, a.y, b.y, y.x, y.y);
                            multiply(c[p][n], a.z, b.z, a.w, b.w, y.z, y.w);
                        }
                    }
                }
            load_weights(h, step + (u + UNDER_WAY) * WARPS);
            load_x(h, step + (u + UNDER_WAY) * WARPS);
        }
    }
    release_next();  // sooner, and blocks of the next kernel would pile up where a place is free first
#pragma unroll
    for (int p = 0; p < PARTS; ++p)
#pragma unroll
        for (int n = 0; n < TILES; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) sums[warp][p][n * 8 + q * 2 + (e & 1)][g + (e >> 1) * 8] = c[p][n][e];
    __syncthreads();
    for (int i = threadIdx.x; i < TILES * 8 * COLUMNS; i += THREADS) {
        const int row = i / COLUMNS, column = first + i % COLUMNS;
        if (row >= rows) break;
        float s[PARTS] = {};
#pragma unroll
        for (int p = 0; p < PARTS; ++p) {
#pragma unroll
            for (int n = 0; n < WARPS; ++n) s[p] += sums[n][p][row][i % COLUMNS];
            const int there = column + p * (columns / 2);
            if (FP8) s[p] *= scales[there];
            if (bias) s[p] += bf16(bias[there]);
        }
        const i64 at = row * to_stride + column;
        if (EPILOGUE == F32) ((float *)to)[at] = s[0];
        else {
            float y = s[0];
            if (EPILOGUE == SWIGLU) y = silu(y) * s[PARTS - 1];
            if (EPILOGUE == ADD) y += bf16(((const u16 *)to)[at]);
            ((u16 *)to)[at] = (u16)pack(y, 0.f);
        }
    }
}
