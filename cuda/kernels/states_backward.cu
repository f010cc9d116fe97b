// States: S before every chunk and Vn of every chunk again, from the state that was kept before each segment. One
// block a segment and head; a warp owns 16 value columns, so that S, R and Vn pass from product to product in its
// registers; one more warp asks for the tiles of later chunks.
constexpr int WARPS = D / 16, STAGES = 3;

struct Shared {
    u16 k[STAGES][TILES * HALF], v[STAGES][TILES * HALF];
    ForState in[STAGES];
    u64 full[STAGES], empty[STAGES];
};

struct Arguments {
    const Record *records;
    const float *saved;  // [segments, .., heads, D, D], from the first segment of this span on
    u16 *states, *news;  // [batch, heads, chunks, ..] in blocks
    i64 segment_stride;  // elements from a segment's states to the next one's
    int chunks, segment;  // of the span, and of a segment
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS && sizeof(Shared) == SIZEOF_SHARED);

DEV void run(Shared &sh, const Arguments &x, int first, int last, i64 head, const float *initial, int t) {
    const int warp = t >> 5, lane = t & 31, g8 = lane >> 2, t2 = (lane & 3) * 2;
    float s[D / 8][4];
    load_state(s, initial + warp * 16 + g8, t2);
    for (int c = first; c < last; ++c) {
        const int stage = (c - first) % STAGES;
        const ForState &in = sh.in[stage];
        const u32 k = shared(sh.k[stage]), v = shared(sh.v[stage]), factor = shared(in.t);
        const i64 place = head * x.chunks + c;
        u32 a[STEPS][4];
        keep_state(a, s, (u32 *)(x.states + place * STATE) + 2 * warp * (D / 8) * 32 + lane);
        mbar_wait(&sh.full[stage], (c - first) / STAGES & 1);
        float acc[8][4] = {};
        state_times_rows(acc, a, k, lane);
        u32 r[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const Place at = tall(lane);
            u32 given[4];
            ldmatrix_t(given, in_tiles(v, j * 16 + at.row, warp * 2 + at.piece));
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float2 read = *(const float2 *)(in.read + j * 16 + i * 8 + t2);
                float(&y)[4] = acc[2 * j + i];
                y[0] = low(given[2 * i]) - read.x * y[0], y[1] = high(given[2 * i]) - read.y * y[1];
                y[2] = low(given[2 * i + 1]) - read.x * y[2], y[3] = high(given[2 * i + 1]) - read.y * y[3];
            }
            as_operand(r[j], acc[2 * j], acc[2 * j + 1]);
        }
        float vn[8][4] = {};
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int j = 0; j <= n; ++j) {
                const Place at = tall(lane);
                u32 b[4];
                ldmatrix(b, in_factor(factor, n * 16 + at.row, j * 2 + at.piece));
                mma(vn[2 * n], r[j], b[0], b[1]), mma(vn[2 * n + 1], r[j], b[2], b[3]);
            }
        u32 *to = (u32 *)(x.news + place * NEWS) + 2 * warp * 8 * 32 + lane;
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            as_operand(r[j], vn[2 * j], vn[2 * j + 1]);
            to[2 * j * 32] = r[j][0], to[(2 * j + 1) * 32] = r[j][2];
            to[(8 + 2 * j) * 32] = r[j][1], to[(8 + 2 * j + 1) * 32] = r[j][3];
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float2 write = *(const float2 *)(in.write + j * 16 + i * 8 + t2);
                float(&y)[4] = vn[2 * j + i];
                y[0] *= write.x, y[1] *= write.y, y[2] *= write.x, y[3] *= write.y;
            }
            as_operand(r[j], vn[2 * j], vn[2 * j + 1]);
        }
        const float decay = in.decay[0];
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) s[n][e] *= decay;
        add_rows(s, r, k, lane);
        if (lane == 0) mbar_arrive(&sh.empty[stage]);
    }
}

extern "C" __global__ void __launch_bounds__(WARPS * 32 + 32, 1)
states(const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap v, const __grid_constant__ Arguments x) {
    extern __shared__ __align__(1024) char smem[];
    Shared &sh = *(Shared *)smem;
    const int t = threadIdx.x, h = blockIdx.y, b = blockIdx.z;
    const i64 head = b * gridDim.y + h;
    const int first = blockIdx.x * x.segment, last = min(first + x.segment, x.chunks);
    if (t == 0) {
        for (int i = 0; i < STAGES; ++i) mbar_init(&sh.full[i], 1), mbar_init(&sh.empty[i], WARPS);
        proxy_fence();
    }
    __syncthreads();
    if (t < WARPS * 32) {
        run(sh, x, first, last, head, x.saved + blockIdx.x * x.segment_stride + head * STATE, t);
    } else if (t == WARPS * 32) {
        for (int c = first; c < last; ++c) {
            const int turn = c - first, stage = turn % STAGES;
            if (turn >= STAGES) mbar_wait(&sh.empty[stage], turn / STAGES - 1 & 1);
            mbar_expect(&sh.full[stage], 2 * TILES * HALF * 2 + sizeof(ForState));
            for (int i = 0; i < TILES; ++i) {
                load_tile(sh.k[stage] + i * HALF, &k, &sh.full[stage], h * D + i * 64, c * CHUNK, b);
                load_tile(sh.v[stage] + i * HALF, &v, &sh.full[stage], h * D + i * 64, c * CHUNK, b);
            }
            load_flat(&sh.in[stage], &x.records[head * x.chunks + c].state, sizeof(ForState), &sh.full[stage]);
        }
    }
}
