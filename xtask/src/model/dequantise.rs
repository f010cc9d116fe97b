//! Numbers of GGUF's types as f32. Blocks of 32 numbers share a scale; layouts: `ggml-quants.c` of llama.cpp.

use anyhow::{Context, Result, bail};
use half::f16;

/// Numbers in a block.
const BLOCK: usize = 32;

/// A type of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    /// Scale and minimum in f16, then 32 numbers of 4 bits: those of the lower halves first.
    Q4_1,
    /// Scale in f16, then 32 signed bytes.
    Q8_0,
}

impl Kind {
    fn from_number(number: u32) -> Result<Self> {
        match number {
            0 => Ok(Self::F32),
            3 => Ok(Self::Q4_1),
            8 => Ok(Self::Q8_0),
            other => bail!("tensors of type {other} are not read; F32, Q4_1 and Q8_0 are"),
        }
    }

    /// Numbers and bytes of the smallest part.
    fn part(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::Q4_1 => (BLOCK, 4 + BLOCK / 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
        }
    }
}

/// Returns the bytes of `count` numbers of a type.
pub(super) fn size(kind: u32, count: usize) -> Result<usize> {
    let (numbers, bytes) = Kind::from_number(kind)?.part();
    if !count.is_multiple_of(numbers) {
        bail!("{count} numbers are not whole blocks of {numbers}");
    }
    (count / numbers).checked_mul(bytes).context("a tensor too large")
}

/// Returns the numbers that bytes stand for.
pub(super) fn numbers(kind: u32, bytes: &[u8]) -> Result<Vec<f32>> {
    let kind = Kind::from_number(kind)?;
    let (count, size) = kind.part();
    let mut numbers = Vec::with_capacity(bytes.len() / size * count);
    for part in bytes.chunks_exact(size) {
        match kind {
            Kind::F32 => numbers.push(f32::from_le_bytes(part.try_into()?)),
            Kind::Q4_1 => q4_1(part, &mut numbers)?,
            Kind::Q8_0 => {
                let (scale, quants) = split_f16(part)?;
                numbers.extend(quants.iter().map(|q| f32::from(q.cast_signed()) * scale));
            }
        }
    }
    Ok(numbers)
}

fn q4_1(part: &[u8], numbers: &mut Vec<f32>) -> Result<()> {
    let (scale, rest) = split_f16(part)?;
    let (minimum, quants) = split_f16(rest)?;
    let number = |q: u8| f32::from(q) * scale + minimum;
    numbers.extend(quants.iter().map(|q| number(q & 15)));
    numbers.extend(quants.iter().map(|q| number(q >> 4)));
    Ok(())
}

fn split_f16(bytes: &[u8]) -> Result<(f32, &[u8])> {
    let (first, rest) = bytes
        .split_first_chunk::<2>()
        .context("a block without a scale")?;
    Ok((f16::from_le_bytes(*first).to_f32(), rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn blocks_of_4_bits_are_scale_times_number_plus_minimum() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend(f16::from_f32(-2.0).to_le_bytes());
        block.extend((0..16).map(|i| i | (15 - i) << 4));
        let numbers = numbers(3, &block).unwrap();
        let expected = (0..16).chain((0..16).rev()).map(|q| q as f32 * 0.5 - 2.0);
        assert_eq!(numbers, expected.collect::<Vec<f32>>());
        assert_eq!(size(3, 64).unwrap(), 40);
        assert!(size(3, 33).is_err());
    }

    #[test]
    fn blocks_of_8_bits_are_signed() {
        let mut block = f16::from_f32(0.25).to_le_bytes().to_vec();
        block.extend((0..32_u8).map(|i| i.wrapping_sub(16)));
        let numbers = numbers(8, &block).unwrap();
        let expected = (-16..16).map(|q| q as f32 * 0.25);
        assert_eq!(numbers, expected.collect::<Vec<f32>>());
    }

    #[test]
    fn other_types_are_refused_by_number() {
        let error = numbers(12, &[]).unwrap_err().to_string();
        assert!(error.contains("type 12") && error.contains("Q4_1"), "{error}");
    }
}
