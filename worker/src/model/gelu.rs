//! GELU on the CPU, in the tensor's own memory and with the processor's widest registers.
//!
//! burn-flex computes the error function one number at a time; at MiniLM's sizes that is a third of the
//! forward pass. This one also adds the layer's bias in the same sweep.

use burn::tensor::{Device, Tensor};
use pulp::Arch;

/// `gelu(x + bias)` of `[rows, columns]` with a bias for each column.
///
/// # Errors
/// What burn says when the tensor cannot be read as f32.
pub(super) fn bias_gelu(tensor: Tensor<2>, bias: &[f32], device: &Device) -> Result<Tensor<2>, String> {
    let mut data = tensor.try_into_data().map_err(|e| e.to_string())?;
    let values = data.as_mut_slice::<f32>().map_err(|e| e.to_string())?;
    Arch::new().dispatch(|| {
        for row in values.chunks_exact_mut(bias.len()) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x = gelu(*x + *b);
            }
        }
    });
    Ok(Tensor::from_data(data, device))
}

/// `x Phi(x)`, the exact form, not the one with tanh.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function as a quotient of two polynomials on [-4, 4], beyond which f32 holds +-1; within 3e-7 of
/// the exact value. Coefficients: Eigen, `generic_fast_erf_float` in `MathFunctionsImpl.h` (version 3.4).
#[inline(always)]
fn erf(x: f32) -> f32 {
    const P: [f32; 7] = [
        -1.609_603_3e-2,
        -2.954_599_8e-3,
        -7.349_906_3e-4,
        -5.692_506_4e-5,
        -2.101_024e-6,
        2.770_681_4e-8,
        -2.726_142_3e-10,
    ];
    const Q: [f32; 5] =
        [-1.426_473_9e-2, -7.373_329e-3, -1.682_827e-3, -2.133_740_6e-4, -1.456_607_2e-5];
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let p = P.iter().rev().fold(0.0_f32, |sum, c| sum.mul_add(square, *c));
    let q = Q.iter().rev().fold(0.0_f32, |sum, c| sum.mul_add(square, *c));
    x * p / q
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    /// erf by its Maclaurin series in f64.
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
    fn erf_is_within_3e_7_of_the_exact_one() {
        let worst = (-4500..=4500)
            .map(|i| f64::from(i) / 1000.0)
            .map(|x| (f64::from(erf(x as f32)) - exact_erf(x)).abs())
            .fold(0.0, f64::max);
        assert!(worst < 3e-7, "worst error {worst:e}");
    }

    #[test]
    fn agrees_with_burns_own() {
        let device = Device::flex();
        let values: Vec<f32> = (0..4096).map(|i| (i as f32 - 2048.0) / 256.0).collect();
        let bias: Vec<f32> = (0..64).map(|i| (i as f32 - 32.0) / 64.0).collect();
        let data = burn::tensor::TensorData::new(values, [64, 64]);
        let tensor = Tensor::<2>::from_data(data, &device);
        let row = Tensor::<1>::from_floats(bias.as_slice(), &device).unsqueeze::<2>();
        let expected = burn::tensor::activation::gelu(tensor.clone() + row).into_data();
        let ours = bias_gelu(tensor, &bias, &device).unwrap().into_data();
        ours.assert_approx_eq::<f32>(&expected, burn::tensor::Tolerance::absolute(2e-6));
    }
}
