//! Descriptions of tensors for the copy engine: `TensorMap` in common.cuh.

use super::options::BF16;
use super::span::{Sequences, Span};
use super::tensors::Rows;
use crate::device::TensorMap;
use crate::error::Error;

/// `BILLION` in common.cuh.
const BILLION: u64 = 1 << 30;
/// Rows of the two outer dimensions of a ragged map, which bound nothing.
const UNBOUNDED: u64 = 0x7fff_0000;

/// Sizes of a tensor's dimensions, columns first, and bytes between elements of all but the first.
#[derive(Debug, PartialEq, Eq)]
struct Extents {
    sizes: Vec<u64>,
    strides: Vec<u64>,
}

impl Extents {
    /// `[sequences, tokens, columns]`: tokens behind the end of a sequence arrive as zeros.
    fn equal(count: usize, tokens: usize, columns: usize, stride: u64) -> Self {
        Self {
            sizes: vec![columns as u64, tokens as u64, count as u64],
            strides: vec![stride, stride * tokens as u64],
        }
    }

    /// Rows of all sequences, so that the end of any may be the map's: `load_tile` in common.cuh says how.
    fn ragged(columns: usize, stride: u64) -> Self {
        Self {
            sizes: vec![columns as u64, BILLION, UNBOUNDED, UNBOUNDED],
            strides: vec![stride, stride, (1 << 34) - stride],
        }
    }
}

impl Span {
    /// Rows with the heads of the state: values, output, and what belongs to them.
    pub(super) fn map(&self, rows: Rows) -> Result<TensorMap, Error> {
        self.map_heads(rows, self.heads)
    }

    /// Queries or keys, of which there are fewer heads.
    pub(super) fn shared_map(&self, rows: Rows) -> Result<TensorMap, Error> {
        self.map_heads(rows, self.heads / self.group)
    }

    fn map_heads(&self, rows: Rows, heads: usize) -> Result<TensorMap, Error> {
        let (columns, stride) = (heads * self.width, (BF16 * rows.stride) as u64);
        let extents = match self.sequences {
            Sequences::Equal { count, tokens } => Extents::equal(count, tokens, columns, stride),
            Sequences::Ragged(_) => Extents::ragged(columns, stride),
        };
        TensorMap::new(rows.address, &extents.sizes, &extents.strides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes from the map's address to an element, as the copy engine counts: modulo 2^64.
    fn offset(extents: &Extents, coordinates: &[u64]) -> u64 {
        let outer = coordinates[1..]
            .iter()
            .zip(&extents.strides)
            .map(|(coordinate, stride)| coordinate.wrapping_mul(*stride));
        outer.fold(2 * coordinates[0], u64::wrapping_add)
    }

    #[test]
    fn a_row_of_a_ragged_sequence_lies_where_the_sequence_does() {
        let stride = 2 * 12_352;
        let extents = Extents::ragged(4_096, stride);
        for (first, tokens) in [(0, 1), (1, 63), (64, 300), (1_000_000, 65)] {
            // What `load_tile` passes for a token, and whether the engine finds it inside.
            let coordinates = |token: u64| [128, BILLION - tokens + token, first + tokens, BILLION];
            for token in [0, tokens - 1] {
                let given = coordinates(token);
                assert_eq!(offset(&extents, &given), 2 * 128 + (first + token) * stride);
                assert!(given.iter().zip(&extents.sizes).all(|(at, size)| at < size));
            }
            assert!(
                coordinates(tokens)[1] >= extents.sizes[1],
                "the next row is behind the end"
            );
        }
    }

    #[test]
    fn the_driver_takes_strides_of_sixteen_bytes_below_a_terabyte() {
        for extents in [
            Extents::ragged(4_096, 2 * 12_352),
            Extents::equal(3, 1 << 20, 8_192, 2 * 12_352),
        ] {
            assert_eq!(extents.strides.len() + 1, extents.sizes.len());
            assert!(
                extents
                    .strides
                    .iter()
                    .all(|stride| stride.is_multiple_of(16) && *stride < 1 << 40)
            );
            assert!(extents.sizes.iter().all(|size| *size > 0 && *size <= 1 << 32));
        }
    }
}
