//! Functions of rows and numbers that compilers turn into vector instructions where they are inlined, within a function that has
//! the registers.

/// Lanes of the widest registers (AVX-512).
pub(crate) const LANES: usize = 16;

/// Adds up the lanes of registers, pair by pair.
#[inline(always)]
pub(crate) fn sum<const N: usize>(mut lanes: [f32; N]) -> f32 {
    let mut width = N / 2;
    while width > 0 {
        let (left, right) = lanes.split_at_mut(width);
        for (left, right) in left.iter_mut().zip(right) {
            *left += *right;
        }
        width /= 2;
    }
    lanes[0]
}

/// Folds as many numbers at a time as a register holds; `operation` must not care about the order.
#[inline(always)]
pub(crate) fn fold(row: &[f32], start: f32, operation: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [start; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum = operation(*sum, *x);
        }
    }
    let sum = sums.into_iter().fold(start, &operation);
    rest.iter().fold(sum, |sum, x| operation(sum, *x))
}

/// Computes the scalar product of two rows of one length.
#[inline(always)]
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<LANES>(), right.as_chunks::<LANES>());
    for (left, right) in left.iter().zip(right) {
        for ((sum, x), y) in sums.iter_mut().zip(left).zip(right) {
            *sum = x.mul_add(*y, *sum);
        }
    }
    let rest: f32 = left_rest.iter().zip(right_rest).map(|(x, y)| x * y).sum();
    sum(sums) + rest
}

/// Computes the root mean square norm of a row, times `weight`.
#[inline(always)]
pub(crate) fn norm(input: &[f32], weight: &[f32], epsilon: f32, output: &mut [f32]) {
    let scale = norm_scale(input, epsilon);
    for ((output, x), weight) in output.iter_mut().zip(input).zip(weight) {
        *output = weight * (x * scale);
    }
}

/// Computes the factor that gives a row a mean square of 1.
#[inline(always)]
pub(crate) fn norm_scale(input: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(input, input) / input.len() as f32 + epsilon).sqrt()
}

/// Turns scores into shares: the softmax of `scale * x`.
#[inline(always)]
pub fn softmax(row: &mut [f32], scale: f32) {
    let highest = fold(row, f32::NEG_INFINITY, |a, b| if a > b { a } else { b });
    for x in row.iter_mut() {
        *x = exp(scale * (*x - highest));
    }
    let share = 1.0 / fold(row, 0.0, |a, b| a + b);
    for x in row {
        *x *= share;
    }
}

/// Computes `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    let e = exp(-x.abs());
    let numerator = if x >= 0.0 { x } else { x * e };
    numerator / (1.0 + e)
}

/// Computes `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let numerator = if x >= 0.0 { 1.0 } else { e };
    numerator / (1.0 + e)
}

/// Computes `e^x` for x at most 0, within 2 units in the last place; less than 2e-38 below -87. Method: Cephes `expf`
/// (<https://www.netlib.org/cephes/>): a power of two by the exponent's bits, the rest by a polynomial.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const P: [f32; 6] = [
        0.5,
        1.666_666_5e-1,
        4.166_579_6e-2,
        8.333_452e-3,
        1.398_2e-3,
        1.987_569_1e-4,
    ];
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let power = shifted - ROUND;
    let rest = power.mul_add(-LN2_LOW, power.mul_add(-LN2_HIGH, x));
    let polynomial = P.iter().rev().fold(0.0_f32, |sum, c| sum.mul_add(rest, *c));
    let fraction = (rest * rest).mul_add(polynomial, rest) + 1.0;
    fraction * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_2_units_of_the_exact_one() {
        let worst = (0..=86_000)
            .map(|i| -f64::from(i) / 1000.0)
            .map(|x| (f64::from(exp(x as f32)) / f64::from(x as f32).exp() - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(worst < 2.4e-7, "worst relative error {worst:e}");
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn silu_is_within_5_units_of_the_exact_one() {
        for i in -40_000..=40_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x) / (1.0 + (-f64::from(x)).exp());
            let error = (f64::from(silu(x)) - exact).abs();
            assert!(error <= 6e-7 * exact.abs(), "{x}: {error:e}");
        }
    }
}
