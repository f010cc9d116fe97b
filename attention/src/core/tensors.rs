//! The operations of [`super`] on burn's tensors.

use burn::backend::Dispatch;
use burn::nn::Linear;
use burn::tensor::Tensor;

use super::{DeltaInputs, DeltaOutput, DeltaRule, LiquidBackend};

/// Inputs of [`gated_delta`]; the documentation of [`crate::core`] has the shapes and types.
#[derive(Clone, Debug)]
pub struct DeltaTensors {
    /// Queries, `[B, N, H, dk]`.
    pub q: Tensor<4>,
    /// Keys, `[B, N, H, dk]`.
    pub k: Tensor<4>,
    /// Values, `[B, N, H, dv]`.
    pub v: Tensor<4>,
    /// Log-gates, `[B, N, H]`, f32, finite and not above 0.
    pub g: Tensor<3>,
    /// Writing strengths, `[B, N, H]`, f32, from 0 to 1.
    pub beta: Tensor<3>,
    /// The state before the first token, `[B, H, dk, dv]`, f32.
    pub state: Tensor<4>,
}

/// Runs the rule; returns the output `[B, N, H, dv]` in the type of `v` and the state after the last token.
pub fn gated_delta(tensors: DeltaTensors, rule: DeltaRule) -> (Tensor<4>, Tensor<4>) {
    let inputs = DeltaInputs {
        q: tensors.q.into_dispatch(),
        k: tensors.k.into_dispatch(),
        v: tensors.v.into_dispatch(),
        g: tensors.g.into_dispatch(),
        beta: tensors.beta.into_dispatch(),
        state: tensors.state.into_dispatch(),
    };
    let DeltaOutput { output, state } = <Dispatch as LiquidBackend>::gated_delta(inputs, rule);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(state))
}

/// Applies a linear layer to `[B, N, K]`, by [`LiquidBackend::product`].
pub fn project(linear: &Linear, x: Tensor<3>) -> Tensor<3> {
    let [batch, tokens, width] = x.dims();
    let weight = linear.weight.val();
    let [_, out] = weight.dims();
    let rows = x.reshape([batch * tokens, width]);
    let product = <Dispatch as LiquidBackend>::product(rows.into_dispatch(), weight.into_dispatch());
    let product = Tensor::<2>::from_dispatch(product).reshape([batch, tokens, out]);
    match &linear.bias {
        Some(bias) => product + bias.val().reshape([1, 1, out]),
        None => product,
    }
}

/// Computes the root mean square norm of every head's output `[B, N, H, dv]`, times `gamma [dv]`, times `silu(gate)` if
/// there is a gate; in f32, returned in the type of `output`.
pub fn head_norm(output: Tensor<4>, gamma: Tensor<1>, gate: Option<Tensor<4>>, epsilon: f64) -> Tensor<4> {
    let (output, gamma) = (output.into_dispatch(), gamma.into_dispatch());
    Tensor::from_dispatch(match gate {
        Some(gate) => {
            <Dispatch as LiquidBackend>::gated_head_norm(output, gamma, gate.into_dispatch(), epsilon)
        }
        None => <Dispatch as LiquidBackend>::head_norm(output, gamma, epsilon),
    })
}
