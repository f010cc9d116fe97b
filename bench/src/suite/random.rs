//! Random numbers for checks and measurements.

/// Random numbers that are the same in every run.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    /// The numbers of a seed, from the first on.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x0123_4567_89AB_CDEF)
    }

    /// The next number from 0 to 1.
    pub(super) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The next standard normal numbers, each exact in bf16.
    pub(super) fn normals(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            let (u, v) = (self.uniform().max(1e-300), self.uniform());
            let x = ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32;
            f32::from_bits((x.to_bits() + 0x7fff + ((x.to_bits() >> 16) & 1)) & 0xffff_0000)
        };
        (0..count).map(|_| next()).collect()
    }
}
