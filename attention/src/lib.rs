//! Linear-time attention for [burn](https://burn.dev).
//!
//! [`core`] is the one operation that everything stands on, with a switch for each backend; [`portable`] is its
//! implementation in burn's own tensor operations, `cuda` the one in kernels for NVIDIA GPUs.

mod attention;
mod config;
mod conv;
pub mod core;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
mod input;
#[cfg(test)]
mod oracle;
mod padding;
pub mod portable;
mod precision;
mod state;

pub use attention::{LiquidAttention, Settings};
pub use config::LiquidAttentionConfig;
pub use conv::ShortConvolution;
pub use error::AttentionError;
pub use input::{LiquidInput, LiquidOutput};
pub use precision::{PRECISE_FROM, Precision};
pub use state::State;
