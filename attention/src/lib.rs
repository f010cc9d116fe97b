//! Attention in linear time and constant memory for [burn](https://burn.dev), in the place of
//! `burn::nn::attention::MultiHeadAttention`.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use liquid_attention::{LiquidAttentionConfig, LiquidInput};
//!
//! # fn main() -> Result<(), liquid_attention::AttentionError> {
//! let device = Device::flex();
//! let layer = LiquidAttentionConfig::new(64, 4).init(&device)?;
//! let x = Tensor::<3>::random([1, 100, 64], Distribution::Default, &device);
//!
//! // Whole sequences.
//! let whole = layer.forward(LiquidInput::self_attn(x.clone()).is_causal(true))?.context;
//! assert_eq!(whole.dims(), [1, 100, 64]);
//!
//! // Or a prompt, then token by token, at the same cost for each.
//! let mut state = layer.fresh_state(1);
//! layer.prefill(x.clone().narrow(1, 0, 99), &mut state)?;
//! let last = layer.step(x.narrow(1, 99, 1), &mut state)?;
//! assert_eq!(last.dims(), [1, 1, 64]);
//! # Ok(())
//! # }
//! ```
//!
//! # What is computed
//!
//! For an input `x_t` of `d_model` numbers, in every head (row vectors; `q, k` have `dk` numbers, `v` has `dv`):
//!
//! ```text
//! q_t, k_t, v_t = x_t W_q, x_t W_k, x_t W_v       with a short convolution and SiLU if configured; q, k of unit length
//! g_t = -exp(a_log) softplus(x_t W_a + dt_bias)   log-gate, at most 0: how much is forgotten
//! b_t = sigmoid(x_t W_b)                          strength, 0 to 1: how much is written
//! S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))
//! o_t = q_t S_t / sqrt(dk)
//! y_t = [rms_norm(o_t) * gamma * silu(x_t W_z)]_heads W_o      the last factor if an output gate is configured
//! ```
//!
//! `S` is `dk x dv` f32 numbers a head and all that is remembered: 2 MiB a layer for 32 heads of 128, after ten
//! tokens and after ten million. With `erase` off the term `- k_t exp(g_t) S_(t-1)` is missing, which is gated
//! linear attention (Mamba-2's SSD, Lightning, RetNet with a fixed gate).
//!
//! Because `k` has unit length, `b` is in `[0, 1]` and `g` is not above 0, the map from `S_(t-1)` to `S_t` never
//! enlarges what is there: nothing has to be normalised, and with the erase on rounding does not add up along the
//! sequence. With it off and gates near 0 it does, slowly; that is what [`Precision`] is for.
//!
//! Without a causal mask there is no order: `S` is the sum over all keys with `g = 0` and no erase, and every query
//! reads it, in self- and cross-attention. A `bidirectional` layer scans both ways and adds.
//!
//! # What it is not
//!
//! It is not an approximation of softmax attention. A state of fixed size forgets: a needle among more keys than
//! `dk` can hold is lost, which softmax would find. Weights trained with softmax give garbage here until the layer
//! is trained again; [`patch_self_attention`] says so and refuses to serve. For use, take models that were trained
//! with such layers ([`hf`] loads those of Qwen3.5 and Qwen3-Next), or keep every fourth layer softmax.
//!
//! # Shapes and units
//!
//! Inputs and outputs are `[batch, tokens, d_model]` in the weights' type. Masks are `[batch, tokens]`, true where
//! there is padding, as in burn and PyTorch. Lengths are tokens, memory is bytes. [`core`] has the rule's own
//! shapes.
//!
//! # How it is computed
//!
//! In chunks of 64 tokens: dense products within a chunk, and only the state from one to the next, so a sequence of
//! `N` takes `O(N)` time. [`portable`] does this in burn's tensor operations on any device; `cuda` (feature `cuda`)
//! does it in kernels. The device of the tensors chooses ([`core::LiquidBackend`]). State, gates, their sums and the
//! triangular factor are f32 everywhere; from 65,536 tokens the operands that meet the state are f32 too
//! ([`Precision`]). Gradients recompute the states of the chunks, so training takes memory for inputs, not for
//! states.
//!
//! # Sources
//!
//! Gated DeltaNet (arXiv 2412.06464); DeltaNet in parallel form (2406.06484); gated linear attention (2312.06635);
//! Mamba-2 (2405.21060). Names and arithmetic of the loader: `transformers`, `modeling_qwen3_next.py` and
//! `modeling_qwen3_5.py`.

mod attention;
mod config;
mod conv;
pub mod core;
#[cfg(feature = "cuda")]
pub mod cuda;
mod error;
pub mod hf;
mod input;
#[cfg(test)]
mod oracle;
mod padding;
mod patch;
pub mod portable;
mod precision;
mod state;

pub use attention::{LiquidAttention, Settings};
pub use config::LiquidAttentionConfig;
pub use conv::ShortConvolution;
pub use error::AttentionError;
pub use input::{LiquidInput, LiquidOutput};
pub use patch::{Projections, patch_self_attention};
pub use precision::{PRECISE_FROM, Precision};
pub use state::{State, StateShape};
