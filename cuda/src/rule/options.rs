//! What applies to all launches of the rule.

/// Tokens of a chunk: within one the work is dense products, from one to the next only the state passes.
pub const CHUNK: usize = 64;

/// Added to the squared norm of a query or key, as in Gated DeltaNet.
pub(super) const KEY_EPSILON: f32 = 1e-6;

/// Bytes of a number of a state, a gate or a strength.
pub(super) const F32: usize = size_of::<f32>();

/// Bytes of a number of a row.
pub(super) const BF16: usize = size_of::<u16>();

/// How the rule is applied. Everything that is not a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleOptions {
    /// Read what a key already holds and write only the difference (the delta rule). Off: plain gated addition.
    pub erase: bool,
    /// Divide the rows of `q` and `k` by their norm.
    pub normalise: bool,
    /// Factor on the output; usually `1 / sqrt(D)`.
    pub scale: f32,
    /// Keep the operands that meet the state as sums of two bf16 numbers.
    pub precise: bool,
}

/// Whether there are kernels for so many heads, whose keys and values have so many numbers.
pub fn serves(heads: usize, key: usize, value: usize) -> bool {
    key == value && matches!(key, 64 | 128 | 256) && heads > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_three_sizes_are_served() {
        assert!([64, 128, 256].into_iter().all(|width| serves(1, width, width)));
        assert!(!serves(0, 64, 64) && !serves(4, 64, 128) && !serves(4, 96, 96) && !serves(4, 512, 512));
    }
}
