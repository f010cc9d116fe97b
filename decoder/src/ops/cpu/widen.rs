//! Weights of 16 and 32 bits as f32, by operations that vectorise.

use half::{bf16, f16};

/// A type of weights.
pub(super) trait Weight: Copy + Send + Sync {
    /// Returns the same number as f32.
    fn widen(self) -> f32;
}

impl Weight for f32 {
    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }
}

impl Weight for bf16 {
    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Weight for f16 {
    /// Without a branch: the exponent is moved by a product, which is right for subnormal numbers too.
    #[inline(always)]
    fn widen(self) -> f32 {
        /// 2^112, the difference of the two exponents' zeros.
        const SHIFT: f32 = f32::from_bits(0x7780_0000);
        const EXPONENT: u32 = 0x7c00;
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * SHIFT;
        let special = if bits & EXPONENT == EXPONENT {
            0x7f80_0000
        } else {
            0
        };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_16_bits_is_widened_as_half_does() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16::from_bits(bits).widen(), f16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(),
                "f16 {bits:#x}"
            );
            let (ours, theirs) = (bf16::from_bits(bits).widen(), bf16::from_bits(bits).to_f32());
            assert!(
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan(),
                "bf16 {bits:#x}"
            );
        }
    }
}
