//! The operation under every layer of this crate, and the switch between its implementations.
//!
//! # The gated delta rule
//!
//! For every sequence of the batch and every head, with row vectors `q_t, k_t` of `dk` numbers, `v_t` of `dv`,
//! a log-gate `g_t <= 0`, a writing strength `b_t` in `[0, 1]` and a state `S` of `dk x dv`:
//!
//! ```text
//! S_t = exp(g_t) S_(t-1) + b_t k_t^T (v_t - k_t exp(g_t) S_(t-1))        erase on:  gated delta rule
//! S_t = exp(g_t) S_(t-1) + b_t k_t^T  v_t                                erase off: gated linear attention
//! o_t = scale * q_t S_t
//! ```
//!
//! A token with `g = 0` and `b = 0` leaves the state as it is, bit for bit.
//!
//! # Shapes
//!
//! | tensor | shape | type |
//! |---|---|---|
//! | `q`, `k` | `[B, N, H, dk]` | f32, f16 or bf16, the same for the three |
//! | `v` | `[B, N, H, dv]` | as `q` |
//! | `g`, `beta` | `[B, N, H]` | f32 |
//! | `state` | `[B, H, dk, dv]` | f32 |
//! | `output` | `[B, N, H, dv]` | as `v` |
//!
//! Log-gates are finite. `N >= 1`; `N = 1` is a decoding step. With [`DeltaRule::normalise`] the implementation
//! divides every row of `q` and `k` by its Euclidean norm first, `x / sqrt(sum x^2 + 1e-6)`, in f32; gradients
//! are with respect to the rows given. State, gates, their sums and the triangular factor are f32 in every
//! implementation.
//!
//! # The switch
//!
//! [`LiquidBackend`] is implemented for each of burn's backends, so the device of the tensors chooses. What a
//! backend does not override runs in [`crate::portable`]. Gradients come from the `Autodiff` implementation in
//! `training`, which calls the backend's own [`LiquidBackend::gated_delta_backward`].
//!
//! Sources: Gated DeltaNet (arXiv 2412.06464), DeltaNet (2406.06484), GLA (2312.06635), Mamba-2 (2405.21060).

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, backend_extension};

use crate::portable;

#[cfg(feature = "cuda")]
mod metadata;
mod tensors;
#[cfg(feature = "training")]
mod training;

pub use tensors::{DeltaTensors, gated_delta, head_norm, project};

/// Tokens in a chunk: within one the work is dense products, from one to the next only the state passes.
pub const CHUNK: usize = 64;

/// How the rule is applied: everything that is not a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaRule {
    /// Whether only the difference to what a key already holds is written (the delta rule). Off: plain gated addition.
    pub erase: bool,
    /// Whether the rows of `q` and `k` are divided by their norm.
    pub normalise: bool,
    /// Factor on the output; usually `1 / sqrt(dk)`.
    pub scale: f32,
    /// Whether the operands that meet the state stay in f32 too, where a kernel would round them to bf16.
    pub precise: bool,
}

/// The tensors of the rule; the module's documentation has their shapes and types.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cuda"))]
pub struct DeltaInputs<B: Backend> {
    /// Queries.
    pub q: FloatTensor<B>,
    /// Keys.
    pub k: FloatTensor<B>,
    /// Values.
    pub v: FloatTensor<B>,
    /// Log-gates, not above 0.
    pub g: FloatTensor<B>,
    /// Writing strengths.
    pub beta: FloatTensor<B>,
    /// The state before the first token.
    pub state: FloatTensor<B>,
}

/// Results of [`LiquidBackend::gated_delta`].
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cuda"))]
pub struct DeltaOutput<B: Backend> {
    /// Output of every token, `[B, N, H, dv]`, in the type of `v`.
    pub output: FloatTensor<B>,
    /// State after the last token, `[B, H, dk, dv]`, f32.
    pub state: FloatTensor<B>,
}

/// Results of [`LiquidBackend::gated_delta_training`].
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cuda"))]
pub struct DeltaTraining<B: Backend> {
    /// Output of every token, `[B, N, H, dv]`, in the type of `v`.
    pub output: FloatTensor<B>,
    /// State after the last token, `[B, H, dk, dv]`, f32.
    pub state: FloatTensor<B>,
    /// Tensor that the backward pass of the same backend reads again; opaque to all others. The portable one is the
    /// state before every segment, `[segments, B, H, dk, dv]`.
    pub saved: FloatTensor<B>,
}

/// Gradients with respect to the inputs of the same names, in their shapes and types.
pub type DeltaGradients<B> = DeltaInputs<B>;

/// Gradients of [`LiquidBackend::head_norm`] with respect to its inputs, in their shapes and types.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cuda"))]
pub struct NormGradients<B: Backend> {
    /// Gradient with respect to the heads' output.
    pub output: FloatTensor<B>,
    /// Gradient with respect to the weights.
    pub gamma: FloatTensor<B>,
}

/// Gradients of [`LiquidBackend::gated_head_norm`] with respect to its inputs, in their shapes and types.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cuda"))]
pub struct GatedNormGradients<B: Backend> {
    /// Gradient with respect to the heads' output.
    pub output: FloatTensor<B>,
    /// Gradient with respect to the weights.
    pub gamma: FloatTensor<B>,
    /// Gradient with respect to the gate.
    pub gate: FloatTensor<B>,
}

/// The operations that a backend may implement in its own way. The default bodies are the portable ones.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "cuda"),
    Fusion: cfg(feature = "cuda"),
    Autodiff: cfg(feature = "training")
)]
pub trait LiquidBackend: Backend {
    /// Runs the rule over `N` tokens, from `inputs.state`.
    #[fusion(meta = metadata::forward)]
    fn gated_delta(#[extension_type] inputs: DeltaInputs<Self>, rule: DeltaRule) -> DeltaOutput<Self> {
        portable::forward::<Self>(inputs, rule)
    }

    /// Runs the rule as [`Self::gated_delta`] does, and keeps what [`Self::gated_delta_backward`] needs.
    #[fusion(meta = metadata::training)]
    fn gated_delta_training(
        #[extension_type] inputs: DeltaInputs<Self>,
        rule: DeltaRule,
    ) -> DeltaTraining<Self> {
        portable::forward_saving::<Self>(inputs, rule)
    }

    /// Computes the gradients with respect to every input, given `saved` of the forward pass and the gradients
    /// with respect to its output (`d_output`, shaped and typed as it) and to the state after the last token
    /// (`d_state`, f32).
    #[fusion(meta = metadata::backward)]
    fn gated_delta_backward(
        #[extension_type] inputs: DeltaInputs<Self>,
        saved: FloatTensor<Self>,
        d_output: FloatTensor<Self>,
        d_state: FloatTensor<Self>,
        rule: DeltaRule,
    ) -> DeltaGradients<Self> {
        portable::backward::<Self>(inputs, saved, d_output, d_state, rule)
    }

    /// Multiplies `x [R, K]` by `weight [K, M]`: the projections, which are most of a layer's work.
    #[fusion(meta = metadata::product)]
    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(x, weight)
    }

    /// Computes the root mean square norm of every head's output `[B, N, H, dv]`, times `gamma [dv]`, in f32.
    #[fusion(meta = metadata::head_norm)]
    fn head_norm(output: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        portable::head_norm::<Self>(output, gamma, None, epsilon)
    }

    /// Computes [`Self::head_norm`] times `silu(gate)`; `gate` is shaped as `output`.
    #[fusion(meta = metadata::gated_head_norm)]
    fn gated_head_norm(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        portable::head_norm::<Self>(output, gamma, Some(gate), epsilon)
    }

    /// Computes the gradients of [`Self::head_norm`], given the gradient with respect to its result.
    #[fusion(meta = metadata::head_norm_backward)]
    fn head_norm_backward(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> NormGradients<Self> {
        portable::head_norm_backward::<Self>(output, gamma, gradient, epsilon)
    }

    /// Computes the gradients of [`Self::gated_head_norm`], given the gradient with respect to its result.
    #[fusion(meta = metadata::gated_head_norm_backward)]
    fn gated_head_norm_backward(
        output: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> GatedNormGradients<Self> {
        portable::gated_head_norm_backward::<Self>(output, gamma, gate, gradient, epsilon)
    }
}

impl LiquidBackend for burn::backend::Flex {}
