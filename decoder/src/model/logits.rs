//! Scores of the next token.

/// Rows of a segment whose logits are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None: the segment is followed by more of its prompt.
    Nothing,
    /// The last one: what comes next.
    Last,
    /// Every one.
    All,
}

impl Wanted {
    /// Returns the number of rows, counted from the last one.
    pub(super) fn rows(self, tokens: usize) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Last => 1,
            Self::All => tokens,
        }
    }
}

/// Logits of a segment: for each wanted row a score of every token of the vocabulary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    values: Vec<f32>,
    vocab_size: usize,
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
                }
            })
            .collect()
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
