//! Scores of the next token.

use crate::sample::Draw;

/// Rows of a segment whose logits are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wanted {
    /// None: the segment is followed by more of its prompt.
    Nothing,
    /// The last one: what comes next.
    Last,
    /// Every one.
    All,
    /// The token that follows the last one, chosen on the device; only of models that choose
    /// ([`Runner::chooses`](crate::engine::Runner::chooses)). Others return the scores as for [`Last`](Self::Last).
    Token(Draw),
}

impl Wanted {
    /// Returns the number of rows, counted from the last one.
    pub(crate) fn rows(self, tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last | Self::Token(_) => 1,
            Self::All => tokens,
        }
    }
}

/// Logits of a segment: for each wanted row a score of every token of the vocabulary; or the token alone that the device
/// chose from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
    token: Option<u32>,
}

impl Logits {
    /// Cuts rows of `vocab_size` scores into those of each segment.
    pub(super) fn split(
        values: Vec<f32>,
        counts: impl Iterator<Item = usize>,
        vocab_size: usize,
    ) -> Vec<Self> {
        let mut rest = values.as_slice();
        counts
            .map(|count| {
                let (own, others) = rest.split_at(count * vocab_size);
                rest = others;
                Self {
                    values: own.to_vec(),
                    vocab_size,
                    token: None,
                }
            })
            .collect()
    }

    /// Makes the rows of a segment, `vocab_size` scores each.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_rows(values: Vec<f32>, vocab_size: usize) -> Self {
        Self {
            values,
            vocab_size,
            token: None,
        }
    }

    /// Makes what a device returns that has chosen the token.
    #[cfg(feature = "cuda")]
    pub(crate) fn of_token(token: u32, vocab_size: usize) -> Self {
        Self {
            values: Vec::new(),
            vocab_size,
            token: Some(token),
        }
    }

    /// Returns the token that was chosen on the device, if [`Wanted::Token`] asked for it; it is no token of the vocabulary
    /// if no score was a number.
    pub fn token(&self) -> Option<u32> {
        self.token
    }

    /// Returns the rows, first to last, `vocab_size` scores each.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &[f32]> + ExactSizeIterator {
        self.values.chunks_exact(self.vocab_size.max(1))
    }

    /// Returns the scores after the last row; none if no row was wanted.
    pub fn last(&self) -> Option<&[f32]> {
        self.rows().next_back()
    }

    /// Returns all rows in one piece.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}
