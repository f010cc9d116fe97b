// What all kernels share: types, Hopper's tensor-core and copy instructions. Compiled by NVRTC at run time (target
// sm_90a) in front of each kernel file; no header of CUDA is needed. bf16 values travel as 16-bit integers. Sizes that
// Rust lays out too come from there as SIZEOF_X or RUST_X, and are asserted.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEV __device__ __forceinline__

/// A tensor map of the driver (`cuTensorMapEncodeTiled`).
struct alignas(64) TensorMap {
    u64 words[16];
};

static_assert(sizeof(TensorMap) == SIZEOF_TENSOR_MAP);

DEV u32 pack(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}
DEV float low(u32 x) { return __uint_as_float(x << 16); }
DEV float high(u32 x) { return __uint_as_float(x & 0xffff0000u); }
DEV float bf16(u16 x) { return __uint_as_float((u32)x << 16); }
/// Eight numbers of bf16, which are 16 bytes.
DEV void unpack(float (&x)[8], const uint4 y) {
    const u32 ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) x[2 * i] = low(ys[i]), x[2 * i + 1] = high(ys[i]);
}
DEV uint4 packed(const float (&x)[8]) { return make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7])); }
DEV float silu(float x) { return x / (1.f + __expf(-x)); }
DEV u32 shared(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// ---- barriers ------------------------------------------------------------------------------------------------
DEV void bar_sync(int id, int threads) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void bar_arrive(int id, int threads) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory"); }
DEV void mbar_init(u64 *b, int count) { asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared(b)), "r"(count) : "memory"); }
DEV void mbar_expect(u64 *b, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared(b)), "r"(bytes) : "memory");
}
DEV void mbar_arrive(u64 *b) { asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared(b)) : "memory"); }
DEV void mbar_wait(u64 *b, int parity) {
    asm volatile("{\n.reg .pred done;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra again;\n}" ::"r"(shared(b)), "r"(parity) : "memory");
}
/// The address in another block of the cluster of what lies at `address` in this one.
DEV u32 in_block(u32 address, int rank) {
    u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    return there;
}
/// Stores in another block; the barrier there counts the bytes when they have arrived.
DEV void store_there(u32 to, float2 x, u32 bar) {
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
                 ::"r"(to), "f"(x.x), "f"(x.y), "r"(bar) : "memory");
}
DEV void cluster_sync() { asm volatile("barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;" ::: "memory"); }
/// Orders ordinary accesses to shared memory before those of the copy engine and the tensor cores.
DEV void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// ---- kernels behind each other (no effect unless launched for it) ---------------------------------------------
/// The next kernel of the stream may be placed as soon as all blocks of this one have said so.
DEV void release_next() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
/// Until everything that the kernel before wrote is there.
DEV void wait_for_last() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// ---- bulk copies ---------------------------------------------------------------------------------------------
DEV void load_flat(void *to, const void *from, int bytes, u64 *bar) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
                 ::"r"(shared(to)), "l"(from), "r"(bytes), "r"(shared(bar)) : "memory");
}
DEV void store_flat(void *to, const void *from, int bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\ncp.async.bulk.commit_group;"
                 ::"l"(to), "r"(shared(from)), "r"(bytes) : "memory");
}

// ---- small matrices ------------------------------------------------------------------------------------------
DEV void ldmatrix_t(u32 (&r)[4], u32 address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}
DEV void stmatrix_t(u32 address, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1,%2,%3,%4};"
                 ::"r"(address), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
}
/// c (16 x 8) += a (16 x 8) * b (8 x 8), tf32 operands.
DEV void mma_tf32(float *c, const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---- wgmma ---------------------------------------------------------------------------------------------------
// D (64 x N) += A (64 x 16) B (16 x N) of four warps; each warp holds 16 rows. Descriptors: PTX ISA, "Matrix
// descriptor"; swizzle 1 is 128 bytes, 3 is 32 bytes.
DEV u64 descriptor(const void *p, int leading, int stride, u64 swizzle) {
    return (u64)((shared(p) & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32 | swizzle << 62;
}
DEV void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEV void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> DEV void wg_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
/// Tells the compiler that asynchronous products may have changed the registers.
template <int N> DEV void touch(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
#define F8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define R8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define R16 R8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define R32 R16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define WG_RS(N, REGS, A, B, C, TRANS, ...)                                                                       \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" C ", 0;\nwgmma.mma_async.sync.aligned.m64n" N               \
                 "k16.f32.bf16.bf16 {" REGS "}, {" A "}, %" B ", p, 1, 1, " TRANS ";\n}"                           \
                 : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(add) : "memory")
/// A in registers, B row by row along k.
template <int N> DEV void wg(float *d, const u32 (&a)[4], u64 b, int add) {
    if constexpr (N == 64) WG_RS("64", R32, "%32,%33,%34,%35", "36", "37", "0", F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24));
    if constexpr (N == 32) WG_RS("32", R16, "%16,%17,%18,%19", "20", "21", "0", F8(d, 0), F8(d, 8));
}
/// A in registers, B (16 x 64) row by row along n.
DEV void wg_turned(float (&d)[32], const u32 (&a)[4], u64 b) {
    constexpr int add = 1;
    WG_RS("64", R32, "%32,%33,%34,%35", "36", "37", "1", F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24));
}
/// Both operands in shared memory, row by row along k.
DEV void wg_shared(float (&d)[32], u64 a, u64 b, int add) {
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\nwgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" R32
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : F8(d, 0), F8(d, 8), F8(d, 16), F8(d, 24) : "l"(a), "l"(b), "r"(add) : "memory");
}

// ---- a row of a block ----------------------------------------------------------------------------------------
/// The sum of all threads' numbers, in a fixed order; every thread has it. Called once a kernel.
template <int THREADS> DEV float block_sum(float x) {
    __shared__ float sums[THREADS / 32];
#pragma unroll
    for (int i = 16; i; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
    if ((threadIdx.x & 31) == 0) sums[threadIdx.x >> 5] = x;
    __syncthreads();
    x = 0;
#pragma unroll
    for (int i = 0; i < THREADS / 32; ++i) x += sums[i];
    return x;
}
/// The largest of all threads' numbers, none below zero; every thread has it. Called once a kernel.
template <int THREADS> DEV float block_max(float x) {
    __shared__ float largest[THREADS / 32];
#pragma unroll
    for (int i = 16; i; i >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    if ((threadIdx.x & 31) == 0) largest[threadIdx.x >> 5] = x;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < THREADS / 32; ++i) x = fmaxf(x, largest[i]);
    return x;
}
/// The least power of two by which numbers up to `largest` fit into FP8: numbers times a power of two stay what they are in
/// every type that has its exponent. At most 2^7, so that 2^120 times it is a number; what is larger becomes 448 of them.
DEV float fp8_power(float largest) {
    const float scale = fminf(fmaxf(largest * (1.f / 448.f), 7.8886090522e-31f), 128.f);  // 2^-100
    return __uint_as_float((__float_as_uint(scale) + 0x7fffffu) & 0x7f800000u);
}
/// The scale of a row of FP8 (E4M3, whose largest number is 448).
DEV float fp8_scale(float largest) { return fmaxf(largest, 1e-20f) * (1.f / 448.f); }
/// Eight numbers times a factor as FP8 (E4M3), rounded to the nearest.
DEV uint2 fp8(const float (&x)[8], float factor) {
    unsigned short y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i)
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(y[i]) : "f"(x[2 * i + 1] * factor), "f"(x[2 * i] * factor));
    return make_uint2(y[0] | (u32)y[1] << 16, y[2] | (u32)y[3] << 16);
}
