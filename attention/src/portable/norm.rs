//! The norm of a head's output, with or without an output gate.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;

use super::T;

/// Computes `x / sqrt(mean(x^2) + epsilon) * gamma * silu(gate)` along the last dimension of `[B, N, H, dv]`, in f32.
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

/// Computes the gradients of [`head_norm`] with respect to output, weights and gate, given that with respect to its
/// result. With `n = x / rms(x)` and `u` the gradient with respect to `n`: `dx = (u - n mean(u n)) / rms(x)`.
pub(crate) fn head_norm_backward<B: Backend>(
    output: FloatTensor<B>,
    gamma: FloatTensor<B>,
    gate: Option<FloatTensor<B>>,
    gradient: FloatTensor<B>,
    epsilon: f64,
) -> (FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>) {
    let (output, gamma, gradient) = (T::<B>(output), T::<B>(gamma), T::<B>::wide(gradient));
    let (dtype, kind) = (output.dtype(), gamma.dtype());
    let [batch, tokens, heads, width] = output.dims();
    let x = output.cast(DType::F32);
    let mean = |t: T<B>| t.sum(3).scale(1.0 / width as f32);
    let factor = mean(x.clone() * x.clone())
        .add_scalar(epsilon as f32)
        .sqrt()
        .recip();
    let normed = x * factor.clone();
    let weight = gamma.cast(DType::F32).reshape([1, 1, 1, width]);
    let (by_weighted, by_gate) = match gate {
        Some(gate) => {
            let (gate, kind) = (T::<B>::wide(gate.clone()), T::<B>(gate).dtype());
            let sigmoid = gate.clone().sigmoid();
            // silu'(z) = s + z s (1 - s)
            let slope = sigmoid.clone()
                + gate.clone() * sigmoid.clone() * sigmoid.clone().scale(-1.0).add_scalar(1.0);
            let by_gate = gradient.clone() * normed.clone() * weight.clone() * slope;
            (gradient * gate * sigmoid, Some(by_gate.cast(kind).0))
        }
        None => (gradient, None),
    };
    let by_gamma = (by_weighted.clone() * normed.clone())
        .reshape([batch * tokens * heads, width])
        .sum(0)
        .reshape([width]);
    let by_normed = by_weighted * weight;
    let along = mean(by_normed.clone() * normed.clone());
    let by_output = factor * (by_normed - normed * along);
    (by_output.cast(dtype).0, by_gamma.cast(kind).0, by_gate)
}
