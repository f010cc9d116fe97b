// Gradients by the state: the scan of the backward pass, from the last chunk to the first. A block owns 64 value
// columns of one head, a warp 16 of them, so that dS', dVn and dR pass from product to product in its registers; one
// more warp asks for the tiles of the chunks to come. Leaves dS' of every chunk in blocks, and dR, the gradient by v.
constexpr int STAGES = 3;

struct Shared {
    u16 k[STAGES][TILES * HALF], q[STAGES][TILES * HALF], d_o[STAGES][HALF], d_v[HALF];
    Record in[STAGES];
    u64 full[STAGES], empty[STAGES];
};
enum { ROWS = 1 };

struct Arguments {
    const Record *records;
    float *d_state;  // [batch, heads, D, D]: by the state after the span, afterwards by the state before it
    u16 *after;      // [batch, heads, chunks, ..] in blocks
    int chunks;
};
static_assert(sizeof(Arguments) == SIZEOF_ARGUMENTS && sizeof(Shared) == SIZEOF_SHARED);

DEV void run(Shared &sh, const Arguments &x, const TensorMap *d_v, int t, int h, int b) {
    const int warp = t >> 5, lane = t & 31, g8 = lane >> 2, t2 = (lane & 3) * 2, tile = blockIdx.x;
    const i64 head = b * gridDim.y + h;
    float *own = x.d_state + head * STATE + tile * 64 + warp * 16 + g8;
    float s[D / 8][4];
    load_state(s, own, t2);
    for (int turn = 0; turn < x.chunks; ++turn) {
        const int c = x.chunks - 1 - turn, stage = turn % STAGES;
        const Record &in = sh.in[stage];
        const u32 k = shared(sh.k[stage]), q = shared(sh.q[stage]), d_o = shared(sh.d_o[stage]);
        const u32 p = shared(in.output.p), factor = shared(in.state.t);
        u32 a[STEPS][4];
        keep_state(a, s, (u32 *)(x.after + (head * x.chunks + c) * STATE) + (tile * 8 + 2 * warp) * (D / 8) * 32 + lane);
        mbar_wait(&sh.full[stage], turn / STAGES & 1);
        float acc[8][4] = {};
        state_times_rows(acc, a, k, lane);
        u32 given[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            const Place at = tall(lane);
            ldmatrix_t(given[j], in_tiles(d_o, j * 16 + at.row, warp * 2 + at.piece));
        }
#pragma unroll
        for (int n = 0; n < 8; ++n) {
            const float2 write = *(const float2 *)(in.state.write + n * 8 + t2);
            acc[n][0] *= write.x, acc[n][1] *= write.y, acc[n][2] *= write.x, acc[n][3] *= write.y;
        }
        const Place at = wide(lane);
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int i = n; i < 4; ++i) {
                u32 y[4];
                ldmatrix_t(y, in_factor(p, i * 16 + at.row, n * 2 + at.piece));
                mma(acc[2 * n], given[i], y[0], y[1]), mma(acc[2 * n + 1], given[i], y[2], y[3]);
            }
        u32 r[4][4];
#pragma unroll
        for (int j = 0; j < 4; ++j) as_operand(r[j], acc[2 * j], acc[2 * j + 1]);
        float dr[8][4] = {};
#pragma unroll
        for (int n = 0; n < 4; ++n)
#pragma unroll
            for (int i = n; i < 4; ++i) {
                u32 y[4];
                ldmatrix_t(y, in_factor(factor, i * 16 + at.row, n * 2 + at.piece));
                mma(dr[2 * n], r[i], y[0], y[1]), mma(dr[2 * n + 1], r[i], y[2], y[3]);
            }
        // The rows of dR, turned back, leave by the copy engine.
        if (t == 0) stores_read();
        bar_sync(ROWS, 128);
        const u32 to = in_tiles(shared(sh.d_v), tall(lane).row, warp * 2 + tall(lane).piece);
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            as_operand(r[j], dr[2 * j], dr[2 * j + 1]);
            stmatrix_t(to + j * 2048, r[j][0], r[j][1], r[j][2], r[j][3]);
        }
        proxy_fence();
        bar_sync(ROWS, 128);
        if (t == 0) store_tile(d_v, sh.d_v, h * D + tile * 64, c * CHUNK, b);
#pragma unroll
        for (int j = 0; j < 4; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const float2 read = *(const float2 *)(in.state.read + j * 16 + i * 8 + t2);
                const float2 query = *(const float2 *)(in.output.query + j * 16 + i * 8 + t2);
                const float(&y)[4] = dr[2 * j + i];
                r[j][2 * i] = pack(-y[0] * read.x, -y[1] * read.y), r[j][2 * i + 1] = pack(-y[2] * read.x, -y[3] * read.y);
#pragma unroll
                for (int e = 2 * i; e < 2 * i + 2; ++e) given[j][e] = pack(low(given[j][e]) * query.x, high(given[j][e]) * query.y);
            }
        const float decay = in.state.decay[0];
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
#pragma unroll
            for (int e = 0; e < 4; ++e) s[n][e] *= decay;
        add_rows(s, given, q, lane);
        add_rows(s, r, k, lane);
        if (lane == 0) mbar_arrive(&sh.empty[stage]);
    }
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) own[(n * 8 + t2 + (e & 1)) * D + (e >> 1) * 8] = s[n][e];
    if (t == 0) stores_done();
}

extern "C" __global__ void __launch_bounds__(160, 1)
gradients(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k, const __grid_constant__ TensorMap d_o,
          const __grid_constant__ TensorMap d_v, const __grid_constant__ Arguments x) {
    extern __shared__ __align__(1024) char smem[];
    Shared &sh = *(Shared *)smem;
    const int t = threadIdx.x, tile = blockIdx.x, h = blockIdx.y, b = blockIdx.z;
    if (t == 0) {
        for (int i = 0; i < STAGES; ++i) mbar_init(&sh.full[i], 1), mbar_init(&sh.empty[i], 4);
        proxy_fence();
    }
    __syncthreads();
    if (t < 128) {
        run(sh, x, &d_v, t, h, b);
    } else if (t == 128) {
        const Record *records = x.records + (i64)(b * gridDim.y + h) * x.chunks;
        for (int turn = 0; turn < x.chunks; ++turn) {
            const int c = x.chunks - 1 - turn, stage = turn % STAGES;
            u64 *bar = &sh.full[stage];
            if (turn >= STAGES) mbar_wait(&sh.empty[stage], turn / STAGES - 1 & 1);
            mbar_expect(bar, (2 * TILES + 1) * HALF * 2 + sizeof(Record));
            for (int i = 0; i < TILES; ++i) {
                load_tile(sh.k[stage] + i * HALF, &k, bar, h * D + i * 64, c * CHUNK, b);
                load_tile(sh.q[stage] + i * HALF, &q, bar, h * D + i * 64, c * CHUNK, b);
            }
            load_tile(sh.d_o[stage], &d_o, bar, h * D + tile * 64, c * CHUNK, b);
            load_flat(&sh.in[stage], &records[c], sizeof(Record), bar);
        }
    }
}
