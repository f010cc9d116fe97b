//! How a layer cuts its input into pieces that pass through projections, kernels and projection one after the other.
//!
//! Only input and output exist for the whole sequence; everything between exists for two pieces. Pieces of several also
//! let the scan of one, which fills half of the chip, run beside the products of the next.

use crate::rule::CHUNK;

/// Tokens of a piece. Long enough that products run at full speed, short enough to cost little memory.
const PIECE: usize = 8_192;
/// Up to so many tokens, all sequences together, go as one piece: half of more would be short for the products.
const WHOLE: usize = 6_144;

/// Rows that pass together: whole sequences, or a span of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// First sequence.
    pub sequence: usize,
    /// Number of sequences.
    pub sequences: usize,
    /// First token.
    pub token: usize,
    /// Tokens of each sequence.
    pub tokens: usize,
}

impl Piece {
    /// Returns whether the state before the first token is the caller's, not that of the piece before.
    pub fn is_first(&self) -> bool {
        self.token == 0
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> usize {
        self.sequences * self.tokens
    }
}

/// Returns the pieces of a batch, in the order in which they run. A piece has at most 8,192 rows, and one of several whole
/// sequences at most 6,144.
pub fn pieces(batch: usize, tokens: usize) -> Vec<Piece> {
    if batch * tokens <= WHOLE {
        return vec![Piece {
            sequence: 0,
            sequences: batch,
            token: 0,
            tokens,
        }];
    }
    if tokens <= WHOLE {
        let together = WHOLE / tokens;
        let part = |sequence| Piece {
            sequence,
            sequences: together.min(batch - sequence),
            token: 0,
            tokens,
        };
        return (0..batch).step_by(together).map(part).collect();
    }
    let parts = tokens.div_ceil(PIECE).max(2);
    let length = tokens.div_ceil(parts).next_multiple_of(CHUNK);
    let spans = (0..tokens)
        .step_by(length)
        .map(move |token| (token, length.min(tokens - token)));
    (0..batch)
        .flat_map(|sequence| {
            let part = move |(token, tokens)| Piece {
                sequence,
                sequences: 1,
                token,
                tokens,
            };
            spans.clone().map(part)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_passes_once_and_in_order() {
        for batch in [1, 2, 3, 33] {
            for tokens in [1, 63, 64, 2_048, 8_191, 8_192, 8_193, 20_000, 131_072, 1 << 20] {
                let mut next = vec![0; batch];
                for piece in pieces(batch, tokens) {
                    assert!(piece.rows() > 0 && piece.rows() <= PIECE, "{piece:?}");
                    assert_eq!(piece.is_first(), piece.token == 0);
                    assert!(piece.token.is_multiple_of(CHUNK), "{piece:?}");
                    for sequence in &mut next[piece.sequence..piece.sequence + piece.sequences] {
                        assert_eq!(*sequence, piece.token, "{piece:?}");
                        *sequence += piece.tokens;
                    }
                }
                assert!(next.iter().all(|&end| end == tokens), "{batch} x {tokens}");
            }
        }
    }

    #[test]
    fn pieces_bound_the_memory_between_input_and_output() {
        for tokens in [2_048, 8_192, 32_768, 131_072, 1 << 20] {
            assert!(pieces(1, tokens).iter().all(|piece| piece.rows() <= PIECE));
        }
        assert!(pieces(64, 1_000).iter().all(|piece| piece.rows() <= WHOLE));
    }
}
