//! Arithmetic of vectors, for scoring and for encoders.

/// Returns the dot product of two vectors of one length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side let the compiler use vector registers.
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// Returns the Euclidean length of a vector, but at least 1e-9, so that it can be divided by.
pub(crate) fn norm(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt().max(1e-9)
}

/// Returns the vector scaled to length 1; a vector of zeros stays one.
pub(crate) fn unit(vector: &[f32]) -> Vec<f32> {
    let scale = 1.0 / norm(vector);
    vector.iter().map(|x| x * scale).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn dot_products_agree_with_the_plain_sum(
            pairs in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 0..40),
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
            let plain: f32 = pairs.iter().map(|(x, y)| x * y).sum();
            prop_assert!((dot(&a, &b) - plain).abs() < 1e-4);
        }
    }
}
