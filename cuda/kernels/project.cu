// Project: y = x W + bias for D rows of x (here D counts rows, not a head's columns), bound by reading W once. Several
// matrices side by side in one launch: the projections of a decoding step.
//
// A block sums 128 columns over a part of the depth: 16 lanes take 8 columns each, 16 bytes a lane, 16 rows of W at
// once. The blocks of a cluster, one a part, add up their sums in a fixed order, so the result is the same in every
// run. All sums are fp32. Weights do not depend on the kernel before, so the first ones are asked for before it ends,
// and `ahead` rows of every part are brought to L2; more than it holds would be read twice.
constexpr int LANES = 16, COLUMNS = 8 * LANES, WARPS = 8, THREADS = 32 * WARPS, AT_ONCE = THREADS / LANES;
constexpr int PIECE = D < 4 ? 1024 : D < 8 ? 512 : 256;  // depth held of x
constexpr int UNROLL = 8;                                // rows of W under way for a thread

struct Matrix {
    const u16 *weight;
    u16 *y;
    const u16 *bias;     // [columns] or null
    i64 pitch, stride;   // elements between rows of W and of y
    int columns, first;  // columns of W; first block of the grid that works on it
};
struct Matrices {
    Matrix matrix[6];
    int count;
};
static_assert(sizeof(Matrix) == SIZEOF_MATRIX && sizeof(Matrices) == SIZEOF_MATRICES && RUST_COLUMNS == COLUMNS && RUST_THREADS == THREADS);

DEV uint4 stream(const u16 *p) {
    uint4 x;
    asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w) : "l"(p));
    return x;
}
/// Eight columns of a row of W; behind the last column zeros. `whole` where 16 bytes may be read at once.
DEV uint4 row_of(const u16 *p, int left, bool whole) {
    if (whole) return stream(p);
    u32 x[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) x[i] = i < left ? p[i] : 0;
    return make_uint4(x[0] | x[1] << 16, x[2] | x[3] << 16, x[4] | x[5] << 16, x[6] | x[7] << 16);
}
DEV float there(const float *p, int rank) {
    float x;
    asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(x) : "r"(in_block(shared(p), rank)) : "memory");
    return x;
}

extern "C" __global__ void __launch_bounds__(THREADS, D <= 2 ? 3 : 2)
project(const u16 *__restrict__ x, i64 ldx, int depth, int ahead, const __grid_constant__ Matrices all) {
    __shared__ float sx[D][PIECE], partial[WARPS][D][COLUMNS], total[D][COLUMNS];
    const int t = threadIdx.x, warp = t >> 5, lane = t & 31;
    int which = 0;
    while (which + 1 < all.count && blockIdx.x >= all.matrix[which + 1].first) ++which;
    const Matrix &m = all.matrix[which];
    const int first = (blockIdx.x - m.first) * COLUMNS, column = first + (lane & LANES - 1) * 8, left = m.columns - column;
    const bool whole = left >= 8 && m.pitch % 8 == 0 && (u64)m.weight % 16 == 0;
    const int parts = gridDim.y, part = (depth + parts - 1) / parts, from = blockIdx.y * part, to = min(from + part, depth);
    const int row = t / LANES;  // this thread's first row of W
    const i64 pitch = m.pitch;
    const u16 *weight = m.weight + from * pitch + column;

    release_next();
    uint4 w[UNROLL];
    const auto load = [&](int r) {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const int at = r + u * AT_ONCE;
            w[u] = from + at < to && left > 0 ? row_of(weight + at * pitch, left, whole) : make_uint4(0, 0, 0, 0);
        }
    };
    load(row);
    if ((lane & 7) == 0 && left > 0)  // one lane for 128 bytes of a row
        for (int r = row + UNROLL * AT_ONCE; r < min(to - from, ahead); r += AT_ONCE)
            asm volatile("prefetch.global.L2 [%0];" ::"l"(weight + r * pitch));
    wait_for_last();

    float sum[D][8] = {};
    for (int base = 0; base < to - from; base += PIECE) {
        const int end = min(base + PIECE, to - from);
        __syncthreads();
#pragma unroll
        for (int b = 0; b < D; ++b)
#pragma unroll
            for (int i = 0; i < PIECE / THREADS; ++i) {
                const int k = base + i * THREADS + t;
                sx[b][k - base] = k < end ? bf16(x[b * ldx + from + k]) : 0.f;
            }
        __syncthreads();
        for (int r = base + row; r < base + PIECE && r - row < end; r += AT_ONCE * UNROLL) {
#pragma unroll
            for (int u = 0; u < UNROLL; ++u) {
                const u32 words[4] = {w[u].x, w[u].y, w[u].z, w[u].w};
#pragma unroll
                for (int b = 0; b < D; ++b) {
                    const float xb = sx[b][r + u * AT_ONCE - base];
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        sum[b][2 * i] += xb * low(words[i]);
                        sum[b][2 * i + 1] += xb * high(words[i]);
                    }
                }
            }
            load(r + AT_ONCE * UNROLL);
        }
    }
    // Over the two rows of a warp, the warps of a block, the blocks of the cluster.
#pragma unroll
    for (int b = 0; b < D; ++b)
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            const float s = sum[b][i] + __shfl_xor_sync(~0u, sum[b][i], LANES);
            if (lane < LANES) partial[warp][b][lane * 8 + i] = s;
        }
    __syncthreads();
    for (int i = t; i < D * COLUMNS; i += THREADS) {
        float s = 0;
#pragma unroll
        for (int n = 0; n < WARPS; ++n) s += partial[n][i / COLUMNS][i % COLUMNS];
        total[i / COLUMNS][i % COLUMNS] = s;
    }
    cluster_sync();
    const int mine = COLUMNS / parts;  // columns that this block finishes
    for (int i = t; i < D * mine; i += THREADS) {
        const int b = i / mine, c = blockIdx.y * mine + i % mine;
        float s = 0;
        for (int rank = 0; rank < parts; ++rank) s += there(&total[b][c], rank);
        if (first + c < m.columns) {
            if (m.bias) s += bf16(m.bias[first + c]);
            m.y[b * m.stride + first + c] = (u16)pack(s, 0.f);
        }
    }
    cluster_sync();  // a block may not leave while another reads its sums
}
