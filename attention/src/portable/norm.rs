//! The norm of a head's output, with or without an output gate.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;

use super::T;

/// `x / sqrt(mean(x^2) + epsilon) * gamma * silu(gate)` along the last dimension of `[B, N, H, dv]`, in f32.
pub(crate) fn head_norm<B: Backend>(
    output: FloatTensor<B>,
    gamma: FloatTensor<B>,
    gate: Option<FloatTensor<B>>,
    epsilon: f64,
) -> FloatTensor<B> {
    let output = T::<B>(output);
    let dtype = output.dtype();
    let [_, _, _, width] = output.dims();
    let x = output.cast(DType::F32);
    let mean = (x.clone() * x.clone())
        .sum(3)
        .scale(1.0 / width as f32)
        .add_scalar(epsilon as f32);
    let gamma = T::wide(gamma).reshape([1, 1, 1, width]);
    let normed = x * mean.sqrt().recip() * gamma;
    let normed = match gate {
        Some(gate) => {
            let gate = T::<B>::wide(gate);
            normed * gate.clone() * gate.sigmoid()
        }
        None => normed,
    };
    normed.cast(dtype).0
}
