// The next token of every row of logits, a cluster of blocks a row, whose logits stay in the blocks' shared memory.
//
// Tokens are ordered by key: the logit, and of equal ones the first. Which keys may be drawn is found by their digits of
// 8 bits, from the highest: how many tokens, or how much of the probability, lie in each of 256 bins of the digit, and in
// which bin the wanted number is reached. Counts and probabilities are integers, so their order does not matter and a
// row's token is the same in every run. Drawn is the token with the least exponentially distributed waiting time, its
// probability the rate (the Gumbel trick); random numbers are Philox4x32-10's (Salmon et al., 2011) of seed, draw, token.
constexpr int THREADS = 1024, CLUSTER = 8, CANDIDATES = 64, BINS = 256, WARPS = THREADS / 32;
static_assert(RUST_THREADS == THREADS && RUST_CLUSTER == CLUSTER && RUST_CANDIDATES == CANDIDATES && RUST_SLICE * 4 == SIZEOF_SHARED);

struct Draw {
    float temperature, top_p, min_p;
    u32 top_k, seed_low, seed_high, counter;
    int mask;
    u32 first_penalty, penalties;
};
struct Penalty {
    u32 token;
    float divide, subtract;
};
struct Sample {
    u32 token;
    float log_probability;
    u32 rank;
    float log_sum;
};
struct Candidate {
    u32 token;
    float log_probability;
};
struct Arguments {
    const float *logits;
    i64 stride;
    const Draw *draws;
    const u32 *masks;
    const Penalty *penalties;
    u32 *tokens;
    Sample *samples;
    Candidate *best;
    int vocabulary, candidates;
};
static_assert(sizeof(Draw) == SIZEOF_DRAW && sizeof(Penalty) == SIZEOF_PENALTY && sizeof(Sample) == SIZEOF_SAMPLE);
static_assert(sizeof(Candidate) == SIZEOF_CANDIDATE && sizeof(Arguments) == SIZEOF_ARGUMENTS);

struct Shared {
    u32 counts[BINS], masses[BINS];          // of this block
    u32 all_counts[BINS], all_masses[BINS];  // of the cluster
    u32 bin, above, inside;                  // what was found among them
    u64 warps[WARPS], mine;
    u64 found[CANDIDATES];
    u32 found_count;
};
#define NOTHING __uint_as_float(0xff800000u)  // minus infinity: a token that may not be drawn

DEV u32 word_there(const u32 *p, int rank) {
    u32 x;
    asm volatile("ld.shared::cluster.u32 %0, [%1];" : "=r"(x) : "r"(in_block(shared(p), rank)) : "memory");
    return x;
}
DEV u64 long_there(const u64 *p, int rank) {
    u64 x;
    asm volatile("ld.shared::cluster.u64 %0, [%1];" : "=l"(x) : "r"(in_block(shared(p), rank)) : "memory");
    return x;
}
DEV u64 key_of(float logit, u32 token) {
    const u32 b = __float_as_uint(logit);
    return (u64)(b & 0x80000000u ? ~b : b | 0x80000000u) << 32 | (u32)~token;
}
/// All threads' values together, in an order that is always the same.
template <class Join> DEV u64 over_cluster(Shared &sh, u64 x, Join join) {
    const int t = threadIdx.x;
#pragma unroll
    for (int i = 16; i; i >>= 1) x = join(x, __shfl_xor_sync(~0u, x, i));
    if ((t & 31) == 0) sh.warps[t >> 5] = x;
    __syncthreads();
    if (t < 32) {
        x = sh.warps[t];
#pragma unroll
        for (int i = 16; i; i >>= 1) x = join(x, __shfl_xor_sync(~0u, x, i));
        if (t == 0) sh.mine = x;
    }
    cluster_sync();
    x = long_there(&sh.mine, 0);
    for (int rank = 1; rank < CLUSTER; ++rank) x = join(x, long_there(&sh.mine, rank));
    cluster_sync();
    return x;
}
DEV float number(u64 x) { return __uint_as_float((u32)x); }
DEV float largest_of(Shared &sh, float x) {
    return number(over_cluster(sh, __float_as_uint(x), [](u64 a, u64 b) { return (u64)__float_as_uint(fmaxf(number(a), number(b))); }));
}
DEV float sum_of(Shared &sh, float x) {
    return number(over_cluster(sh, __float_as_uint(x), [](u64 a, u64 b) { return (u64)__float_as_uint(number(a) + number(b)); }));
}

/// Finds in which bin, counted from the last, `wanted` is reached, and what lies in the bins behind it.
DEV void find_bin(Shared &sh, const u32 *amounts, u32 wanted) {
    const int lane = threadIdx.x;
    u32 mine = 0;
    for (int j = 0; j < 8; ++j) mine += amounts[BINS - 1 - 8 * lane - j];
    u32 up_to = mine;
#pragma unroll
    for (int i = 1; i < 32; i <<= 1) {
        const u32 y = __shfl_up_sync(~0u, up_to, i);
        if (lane >= i) up_to += y;
    }
    const u32 all = __shfl_sync(~0u, up_to, 31);
    wanted = min(wanted, all);  // masses are rounded down
    u32 above = up_to - mine;
    if (above < wanted && up_to >= wanted)
        for (int j = 0; j < 8; ++j) {
            const int bin = BINS - 1 - 8 * lane - j;
            if (above + amounts[bin] >= wanted) {
                sh.bin = bin, sh.above = above, sh.inside = sh.all_counts[bin];
                break;
            }
            above += amounts[bin];
        }
}

/// The least key of the largest ones whose amounts (of 1 each, or `mass_of` a logit and key) reach `wanted`.
template <bool MASS, class MassOf> DEV u64 select(Shared &sh, const float *slice, u32 first, int count, u32 wanted, MassOf mass_of) {
    const int t = threadIdx.x;
    u64 prefix = 0;
    for (int shift = 56;; shift -= 8) {
        if (t < BINS) sh.counts[t] = sh.masses[t] = 0;
        __syncthreads();
        for (int i = t; i < count; i += THREADS) {
            if (slice[i] == NOTHING) continue;
            const u64 key = key_of(slice[i], first + i);
            if (shift < 56 && key >> (shift + 8) != prefix) continue;
            atomicAdd(&sh.counts[key >> shift & BINS - 1], 1);
            if (MASS) atomicAdd(&sh.masses[key >> shift & BINS - 1], mass_of(slice[i], key));
        }
        cluster_sync();
        if (t < BINS) {
            u32 c = 0, m = 0;
            for (int rank = 0; rank < CLUSTER; ++rank) {
                c += word_there(&sh.counts[t], rank);
                if (MASS) m += word_there(&sh.masses[t], rank);
            }
            sh.all_counts[t] = c, sh.all_masses[t] = m;
        }
        cluster_sync();
        if (t < 32) find_bin(sh, MASS ? sh.all_masses : sh.all_counts, wanted);
        __syncthreads();
        prefix = prefix << 8 | sh.bin;
        wanted = max(wanted, sh.above) - sh.above;
        if (shift == 0 || sh.inside == (MASS ? 1 : wanted)) return prefix << shift;
    }
}

DEV float exponential(u32 low, u32 high, u32 counter, u32 token) {
    u32 c[4] = {token, counter, 0, 0};
#pragma unroll
    for (int i = 0; i < 10; ++i) {
        const u64 a = (u64)0xD2511F53u * c[0], b = (u64)0xCD9E8D57u * c[2];
        const u32 next[4] = {(u32)(b >> 32) ^ c[1] ^ low, (u32)b, (u32)(a >> 32) ^ c[3] ^ high, (u32)a};
        c[0] = next[0], c[1] = next[1], c[2] = next[2], c[3] = next[3];
        low += 0x9E3779B9u, high += 0xBB67AE85u;
    }
    return -log1pf(-(c[0] + 0.5f) * 2.3283064e-10f);  // of a number between 0 and 1
}

/// The candidates of a row, the largest logits first.
DEV void write_best(Shared &sh, const Arguments &x, const float *slice, u32 first, int count, float log_sum) {
    const int t = threadIdx.x;
    Candidate *best = x.best + (i64)blockIdx.y * x.candidates;
    if (t == 0) sh.found_count = 0;
    const u64 least = select<false>(sh, slice, first, count, min(x.candidates, x.vocabulary), [](float, u64) { return 0u; });
    const u32 places = in_block(shared(&sh.found_count), 0), found = in_block(shared(sh.found), 0);
    for (int i = t; i < count; i += THREADS) {
        const u64 key = key_of(slice[i], first + i);
        if (slice[i] == NOTHING || key < least) continue;
        u32 place;
        asm volatile("atom.shared::cluster.add.u32 %0, [%1], 1;" : "=r"(place) : "r"(places) : "memory");
        if (place < CANDIDATES) asm volatile("st.shared::cluster.u64 [%0], %1;" ::"r"(found + place * 8), "l"(key) : "memory");
    }
    cluster_sync();
    if (blockIdx.x == 0 && t < x.candidates) {
        const int have = min(sh.found_count, (u32)x.candidates);
        if (t >= have) best[t] = {~0u, NOTHING};
        else {
            int rank = 0;
            for (int i = 0; i < have; ++i) rank += sh.found[i] > sh.found[t];
            const u32 b = sh.found[t] >> 32, token = ~(u32)sh.found[t];
            best[rank] = {token, __uint_as_float(b & 0x80000000u ? b & 0x7fffffffu : ~b) - log_sum};
        }
    }
    __syncthreads();
}

/// Masks and penalties of a row, on the block's slice.
DEV void change(const Arguments &x, const Draw &draw, float *slice, u32 first, int count) {
    for (u32 i = threadIdx.x; i < draw.penalties; i += THREADS) {
        const Penalty p = x.penalties[draw.first_penalty + i];
        if (p.token < first || p.token >= first + count) continue;
        float &y = slice[p.token - first];
        if (y != NOTHING) y = (y > 0 ? y / p.divide : y * p.divide) - p.subtract;
    }
    __syncthreads();
    if (draw.mask < 0) return;
    const u32 *mask = x.masks + (i64)draw.mask * ((x.vocabulary + 31) / 32);
    for (int i = threadIdx.x; i < count; i += THREADS)
        if (!(mask[(first + i) / 32] >> (first + i) % 32 & 1)) slice[i] = NOTHING;
    __syncthreads();
}

/// The token that is drawn from the slices of a cluster, whose largest logit is `largest`.
DEV u32 drawn(Shared &sh, const Draw &draw, const float *slice, u32 first, int count, float largest) {
    const int t = threadIdx.x;
    const float per = draw.temperature > 0 ? 1.f / draw.temperature : 0.f;
    u64 least = 0;
    if (per > 0) {
        const auto none = [](float, u64) { return 0u; };
        if (draw.top_k > 0) least = select<false>(sh, slice, first, count, draw.top_k, none);
        if (draw.min_p > 0) least = max(least, key_of(largest + draw.temperature * logf(draw.min_p), ~0u));
        if (draw.top_p < 1) {
            float all = 0;
            for (int i = t; i < count; i += THREADS)
                if (slice[i] != NOTHING && key_of(slice[i], first + i) >= least) all += expf((slice[i] - largest) * per);
            const float factor = 2147483648.f / sum_of(sh, all);
            const auto mass = [&](float logit, u64 key) { return key < least ? 0u : (u32)(expf((logit - largest) * per) * factor); };
            const u32 wanted = max(1u, (u32)(fmaxf(draw.top_p, 0.f) * 2147483648.f));
            least = max(least, select<true>(sh, slice, first, count, wanted, mass));
        }
    }
    u64 best = 0;
    for (int i = t; i < count; i += THREADS) {
        const u64 key = key_of(slice[i], first + i);
        if (slice[i] == NOTHING || key < least) continue;
        const float wait = per > 0 ? logf(exponential(draw.seed_low, draw.seed_high, draw.counter, first + i)) : 0.f;
        best = max(best, per > 0 ? key_of((slice[i] - largest) * per - wait, first + i) : key);
    }
    return ~(u32)over_cluster(sh, best, [](u64 a, u64 b) { return a > b ? a : b; });
}

extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(THREADS, 1)
sample(const __grid_constant__ Arguments x) {
    extern __shared__ float slice[];
    __shared__ Shared sh;
    const int t = threadIdx.x, row = blockIdx.y;
    const int each = (x.vocabulary + CLUSTER - 1) / CLUSTER;
    const u32 first = blockIdx.x * each;
    const int count = max(0, min(each, x.vocabulary - (int)first));
    release_next();
    wait_for_last();
    const float *logits = x.logits + row * x.stride;
    const Draw draw = x.draws[row];
    float largest = NOTHING;
    for (int i = t; i < count; i += THREADS) {
        const float y = logits[first + i];
        slice[i] = y == y ? fminf(y, 3e38f) : NOTHING;  // what is no number is not drawn
        largest = fmaxf(largest, slice[i]);
    }
    largest = largest_of(sh, largest);
    float sum = 0;
    for (int i = t; i < count; i += THREADS) sum += expf(slice[i] - largest);
    const float log_sum = largest + logf(sum_of(sh, sum));
    if (x.candidates > 0) write_best(sh, x, slice, first, count, log_sum);
    if (draw.penalties > 0 || draw.mask >= 0) {
        change(x, draw, slice, first, count);
        largest = NOTHING;
        for (int i = t; i < count; i += THREADS) largest = fmaxf(largest, slice[i]);
        largest = largest_of(sh, largest);
    }
    const u32 token = largest == NOTHING ? ~0u : drawn(sh, draw, slice, first, count, largest);
    const float logit = token < x.vocabulary ? logits[token] : NOTHING;
    u32 larger = 0;
    for (int i = t; i < count; i += THREADS) larger += logits[first + i] > logit;
    const u32 rank = over_cluster(sh, larger, [](u64 a, u64 b) { return a + b; });
    if (blockIdx.x == 0 && t == 0) {
        x.tokens[row] = token;
        x.samples[row] = {token, logit - log_sum, rank, log_sum};
    }
}
