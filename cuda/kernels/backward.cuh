// What the kernels of the backward pass share, behind common.cuh: warp-level products (mma.sync) on operands that
// ldmatrix reads, and the layouts in which intermediate results lie between the kernels.
//
// The pass, in the names of scan.cu, with dO given and dS' the gradient by the state after a chunk:
//
//   dVn = P^T dO + diag(write) K dS'
//   dR  = T^T dVn                                  the gradient by v
//   dS  = decay dS' + Q^T diag(query) dO - K^T diag(read) dR
//
// `states` (forwards, all segments at once) makes S and Vn of every chunk again, `gradients` (backwards, one chunk
// after the other) dS' and dR, `rows` (all chunks at once) the rest.
//
// Rows of q, k, v and of the gradients arrive by the copy engine as in common.cuh. S, dS' and Vn lie in global memory
// as bf16 in blocks of 8 x 8, 128 bytes each, which ldmatrix reads without bank conflicts: S and dS' transposed as
// [D / 8 values][D / 8 keys], Vn transposed as [D / 8 values][8 groups of tokens].
constexpr int TILES = D / 64, STEPS = D / 16;
constexpr int STATE = D * D, NEWS = D * CHUNK;  // elements of a state and of a chunk's Vn

/// D (16 x 8) += A (16 x 16) B (16 x 8), bf16 operands.
DEV void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
DEV void ldmatrix(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
// Which 16 bytes a lane names for ldmatrix, in a square of 16 x 16. `wide`: an A operand, or, transposed, a B operand
// whose rows run along k. `tall`: a B operand whose rows run along n, or, transposed, an A operand.
struct Place {
    int row, piece;
};
DEV Place wide(int lane) { return {lane & 15, lane >> 4}; }
DEV Place tall(int lane) { return {(lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1}; }
/// Where columns 8 piece to 8 piece + 7 of a row lie in tiles of 64 x 64 as the copy engine leaves them.
DEV u32 in_tiles(u32 base, int row, int piece) { return base + (piece >> 3) * (HALF * 2) + row * 128 + (((piece ^ row) & 7) << 4); }
/// The same in blocks of 8 x 8, `blocks` of them to a row of blocks.
DEV u32 in_blocks(u32 base, int blocks, int row, int piece) { return base + ((row >> 3) * blocks + piece) * 128 + (row & 7) * 16; }
DEV u32 in_factor(u32 base, int row, int piece) { return base + factor_at(row, piece * 8); }

/// The accumulators of 16 rows and 16 columns as an A operand.
DEV void as_operand(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = pack(left[0], left[1]), a[1] = pack(left[2], left[3]), a[2] = pack(right[0], right[1]), a[3] = pack(right[2], right[3]);
}
/// A transposed state, 16 value rows of this warp, from and to fp32 `[D keys, D values]` at `row` (the lane's first).
DEV void load_state(float (&s)[D / 8][4], const float *from, int t2) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[n][e] = from ? from[(n * 8 + t2 + (e & 1)) * D + (e >> 1) * 8] : 0.f;
}
/// acc (16 values x 64 tokens) = S^T (operands `a`) * K^T.
DEV void state_times_rows(float (&acc)[8][4], const u32 (&a)[STEPS][4], u32 rows, int lane) {
    const Place at = tall(lane);
#pragma unroll
    for (int ks = 0; ks < STEPS; ++ks)
#pragma unroll
        for (int n = 0; n < 4; ++n) {
            u32 b[4];
            ldmatrix(b, in_tiles(rows, n * 16 + at.row, ks * 2 + at.piece));
            mma(acc[2 * n], a[ks], b[0], b[1]), mma(acc[2 * n + 1], a[ks], b[2], b[3]);
        }
}
/// s (16 values x D keys) += x (16 values x 64 tokens, operands) * K.
DEV void add_rows(float (&s)[D / 8][4], const u32 (&x)[4][4], u32 rows, int lane) {
    const Place at = wide(lane);
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int n = 0; n < STEPS; ++n) {
            u32 b[4];
            ldmatrix_t(b, in_tiles(rows, j * 16 + at.row, n * 2 + at.piece));
            mma(s[2 * n], x[j], b[0], b[1]), mma(s[2 * n + 1], x[j], b[2], b[3]);
        }
}
/// Packs a state to operands and leaves it in global memory in blocks; `to` is the lane's place in the warp's first.
DEV void keep_state(u32 (&a)[STEPS][4], const float (&s)[D / 8][4], u32 *to) {
#pragma unroll
    for (int ks = 0; ks < STEPS; ++ks) {
        as_operand(a[ks], s[2 * ks], s[2 * ks + 1]);
        to[(2 * ks) * 32] = a[ks][0], to[(2 * ks + 1) * 32] = a[ks][2];
        to[(D / 8 + 2 * ks) * 32] = a[ks][1], to[(D / 8 + 2 * ks + 1) * 32] = a[ks][3];
    }
}
DEV void store_tile(const TensorMap *map, const void *from, int column, int token, int batch) {
    asm volatile("cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4}], [%1];\ncp.async.bulk.commit_group;"
                 ::"l"(map), "r"(shared(from)), "r"(column), "r"(token), "r"(batch) : "memory");
}
DEV void stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
DEV void stores_done() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }
