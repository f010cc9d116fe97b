//! The choice when kernels keep more digits.
//!
//! State, gates, their sums and the triangular factor are f32 whatever this says. What differs is the operands
//! that meet the state in a product: bf16 or f32. With the erase on, an error of bf16 operands does not grow along
//! the sequence; with it off and gates near 1 it adds up, so long sequences switch to f32 by themselves.
//! The portable path computes all products in f32 either way.

use serde::{Deserialize, Serialize};

/// Number of tokens from which [`Precision::Auto`] is precise.
pub const PRECISE_FROM: u64 = 65_536;

/// When a layer's kernels keep more digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precision {
    /// Switches to [`Precision::Precise`] once a sequence, with what its state has seen, has [`PRECISE_FROM`] tokens.
    #[default]
    Auto,
    /// Operands in the type of the input.
    Standard,
    /// Operands in f32.
    Precise,
}

impl Precision {
    /// Whether a call after which the state has seen `tokens` is precise.
    pub fn is_precise(self, tokens: u64) -> bool {
        match self {
            Self::Auto => tokens >= PRECISE_FROM,
            Self::Standard => false,
            Self::Precise => true,
        }
    }
}
