//! The steps of the forward pass that burn-flex computes one number at a time, done here in the tensor's own
//! memory with the processor's widest registers: GELU and softmax. Together they would be half of the time at
//! MiniLM's sizes. Used on the CPU only; every other device runs burn's own.

use burn::tensor::{Device, Tensor};
use liquid_decoder::lanes;
use pulp::Arch;

/// Computes `gelu(x + bias)` of `[rows, columns]` with a bias for each column.
///
/// # Errors
/// What burn says when the tensor cannot be read as f32.
pub(super) fn bias_gelu(tensor: Tensor<2>, bias: &[f32], device: &Device) -> Result<Tensor<2>, String> {
    in_place(
        tensor,
        device,
        #[inline(always)]
        |values| {
            for row in values.chunks_exact_mut(bias.len()) {
                for (x, b) in row.iter_mut().zip(bias) {
                    *x = gelu(*x + *b);
                }
            }
        },
    )
}

/// Computes the softmax of `scale * x` over the last axis of `[windows, heads, length, length]`; in window
/// `w` only the first `lengths[w]` columns take part, the others become 0.
///
/// # Errors
/// What burn says when the tensor cannot be read as f32.
pub(super) fn softmax(
    tensor: Tensor<4>,
    scale: f32,
    lengths: &[usize],
    device: &Device,
) -> Result<Tensor<4>, String> {
    let [_, heads, length, _] = tensor.dims();
    in_place(
        tensor,
        device,
        #[inline(always)]
        |values| {
            for (window, valid) in values.chunks_exact_mut(heads * length * length).zip(lengths) {
                for row in window.chunks_exact_mut(length) {
                    let (row, padding) = row.split_at_mut(*valid);
                    lanes::softmax(row, scale);
                    padding.fill(0.0);
                }
            }
        },
    )
}

fn in_place<const D: usize>(
    tensor: Tensor<D>,
    device: &Device,
    sweep: impl FnOnce(&mut [f32]),
) -> Result<Tensor<D>, String> {
    let mut data = tensor.try_into_data().map_err(|e| e.to_string())?;
    let values = data.as_mut_slice::<f32>().map_err(|e| e.to_string())?;
    Arch::new().dispatch(
        #[inline(always)]
        || sweep(values),
    );
    Ok(Tensor::from_data(data, device))
}

/// Computes `x Phi(x)`: the exact GELU, not the one with tanh.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Computes the error function as a quotient of two polynomials on [-4, 4], beyond which f32 holds +-1;
/// within 4e-7 of the exact value. Coefficients: Eigen, `generic_fast_erf_float` in `MathFunctionsImpl.h`
/// (version 3.4).
#[inline(always)]
fn erf(x: f32) -> f32 {
    const P: [f32; 7] = [
        -1.609_603_3e-2,
        -2.954_6e-3,
        -7.349_906_3e-4,
        -5.692_506_4e-5,
        -2.101_024e-6,
        2.770_681_4e-8,
        -2.726_142_3e-10,
    ];
    const Q: [f32; 5] = [
        -1.426_473_9e-2,
        -7.373_329e-3,
        -1.682_827e-3,
        -2.133_740_6e-4,
        -1.456_607_2e-5,
    ];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let p = P.iter().rev().fold(0.0_f32, |sum, c| sum.mul_add(square, *c));
    let q = Q.iter().rev().fold(0.0_f32, |sum, c| sum.mul_add(square, *c));
    x * p / q
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use burn::tensor::{TensorData, Tolerance, activation};

    use super::*;

    /// Computes erf by its Maclaurin series in f64.
    fn exact_erf(x: f64) -> f64 {
        let mut term = x;
        let mut sum = x;
        for n in 1..200 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    }

    #[test]
    fn erf_is_within_4e_7_of_the_exact_one() {
        let worst = (-4500..=4500)
            .map(|i| f64::from(i) / 1000.0)
            .map(|x| (f64::from(erf(x as f32)) - exact_erf(x)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 4e-7, "worst error {worst:e}");
    }

    #[test]
    fn gelu_agrees_with_burns() {
        let device = Device::flex();
        let values: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) / 256.0).collect();
        let bias: Vec<f32> = (0..64).map(|i| (i as f32 - 32.0) / 64.0).collect();
        let tensor = Tensor::<2>::from_data(TensorData::new(values, [64, 64]), &device);
        let row = Tensor::<1>::from_floats(bias.as_slice(), &device).unsqueeze::<2>();
        let expected = activation::gelu(tensor.clone() + row).into_data();
        let ours = bias_gelu(tensor, &bias, &device).unwrap().into_data();
        ours.assert_approx_eq::<f32>(&expected, Tolerance::absolute(2e-6));
    }

    #[test]
    fn softmax_agrees_with_burns_and_leaves_padding_out() {
        let device = Device::flex();
        let (windows, heads, length) = (2, 3, 37);
        let count = windows * heads * length * length;
        let values: Vec<f32> = (0..count)
            .map(|i| ((i * 7919) % 1009) as f32 / 50.0 - 10.0)
            .collect();
        let tensor =
            Tensor::<4>::from_data(TensorData::new(values, [windows, heads, length, length]), &device);
        let ours = softmax(tensor.clone(), 0.5, &[length, 20], &device).unwrap();
        let whole = activation::softmax(tensor.clone().narrow(0, 0, 1) * 0.5, 3).into_data();
        let cut = activation::softmax(tensor.slice([1..2, 0..3, 0..37, 0..20]) * 0.5, 3).into_data();
        ours.clone()
            .narrow(0, 0, 1)
            .into_data()
            .assert_approx_eq::<f32>(&whole, Tolerance::absolute(1e-6));
        let kept = ours.clone().slice([1..2, 0..3, 0..37, 0..20]).into_data();
        kept.assert_approx_eq::<f32>(&cut, Tolerance::absolute(1e-6));
        assert_eq!(
            ours.slice([1..2, 0..3, 0..37, 20..37])
                .abs()
                .sum()
                .into_scalar::<f32>(),
            0.0
        );
    }
}
