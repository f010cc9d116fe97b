//! The norm of a head's output, with or without an output gate.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::DType;

use super::T;
use crate::core::{GatedNormGradients, NormGradients};

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

/// Computes the gradients of [`head_norm`] without a gate, given that with respect to its result.
pub(crate) fn head_norm_backward<B: Backend>(
    output: FloatTensor<B>,
    gamma: FloatTensor<B>,
    gradient: FloatTensor<B>,
    epsilon: f64,
) -> NormGradients<B> {
    NormedRows::<B>::new(output, gamma, epsilon).gradients(T::wide(gradient))
}

/// Computes the gradients of [`head_norm`] with a gate, given that with respect to its result.
pub(crate) fn gated_head_norm_backward<B: Backend>(
    output: FloatTensor<B>,
    gamma: FloatTensor<B>,
    gate: FloatTensor<B>,
    gradient: FloatTensor<B>,
    epsilon: f64,
) -> GatedNormGradients<B> {
    let rows = NormedRows::<B>::new(output, gamma, epsilon);
    let gradient = T::<B>::wide(gradient);
    let (gate, kind) = (T::<B>::wide(gate.clone()), T::<B>(gate).dtype());
    let sigmoid = gate.clone().sigmoid();
    // silu'(z) = s + z s (1 - s)
    let slope =
        sigmoid.clone() + gate.clone() * sigmoid.clone() * sigmoid.clone().scale(-1.0).add_scalar(1.0);
    let by_gate = gradient.clone() * rows.normed.clone() * rows.weight.clone() * slope;
    let NormGradients { output, gamma } = rows.gradients(gradient * gate * sigmoid);
    GatedNormGradients {
        output,
        gamma,
        gate: by_gate.cast(kind).0,
    }
}

/// Rows divided by their root mean square, in f32, and what their gradients need besides.
struct NormedRows<B: Backend> {
    /// Rows `[B, N, H, dv]`, `n = x / rms(x)`.
    normed: T<B>,
    /// `1 / rms(x)`, `[B, N, H, 1]`.
    factor: T<B>,
    /// Weights `[1, 1, 1, dv]`.
    weight: T<B>,
    /// Type of the rows as they were given.
    rows_type: DType,
    /// Type of the weights as they were given.
    weight_type: DType,
}

impl<B: Backend> NormedRows<B> {
    fn new(output: FloatTensor<B>, gamma: FloatTensor<B>, epsilon: f64) -> Self {
        let (output, gamma) = (T::<B>(output), T::<B>(gamma));
        let (rows_type, weight_type) = (output.dtype(), gamma.dtype());
        let [_, _, _, width] = output.dims();
        let x = output.cast(DType::F32);
        let factor = mean(x.clone() * x.clone())
            .add_scalar(epsilon as f32)
            .sqrt()
            .recip();
        Self {
            normed: x * factor.clone(),
            factor,
            weight: gamma.cast(DType::F32).reshape([1, 1, 1, width]),
            rows_type,
            weight_type,
        }
    }

    /// Gradients with respect to rows and weights, given that with respect to the weighted rows. With `u` the gradient with
    /// respect to `n`: `dx = (u - n mean(u n)) / rms(x)`.
    fn gradients(self, by_weighted: T<B>) -> NormGradients<B> {
        let [batch, tokens, heads, width] = self.normed.dims();
        let by_gamma = (by_weighted.clone() * self.normed.clone())
            .reshape([batch * tokens * heads, width])
            .sum(0)
            .reshape([width]);
        let by_normed = by_weighted * self.weight;
        let along = mean(by_normed.clone() * self.normed.clone());
        let by_output = self.factor * (by_normed - self.normed * along);
        NormGradients {
            output: by_output.cast(self.rows_type).0,
            gamma: by_gamma.cast(self.weight_type).0,
        }
    }
}

/// Mean along the last dimension of `[B, N, H, dv]`.
fn mean<B: Backend>(t: T<B>) -> T<B> {
    let [_, _, _, width] = t.dims();
    t.sum(3).scale(1.0 / width as f32)
}
