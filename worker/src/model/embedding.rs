//! The encoder's input embeddings, read without a forward pass by the static tier.

use std::sync::Arc;

/// A row of numbers for each vocabulary entry: BERT's `word_embeddings`. Clones share the rows.
#[derive(Clone, Debug)]
pub struct EmbeddingTable {
    dim: usize,
    rows: Arc<[f32]>,
}

impl EmbeddingTable {
    /// Makes a table of `rows.len() / dim` rows, row-major. `dim` is not 0.
    pub fn new(dim: usize, rows: Vec<f32>) -> Self {
        debug_assert!(dim > 0 && rows.len().is_multiple_of(dim));
        Self {
            dim,
            rows: rows.into(),
        }
    }

    /// Returns the width of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns the number of rows.
    pub fn vocabulary(&self) -> usize {
        self.rows.len() / self.dim
    }

    /// Returns the row of a vocabulary entry; for an id outside the vocabulary that of entry 0, the padding.
    pub fn row(&self, id: u32) -> &[f32] {
        let start = id as usize * self.dim;
        self.rows
            .get(start..start + self.dim)
            .unwrap_or(&self.rows[..self.dim])
    }

    /// Returns all rows, row-major.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }
}
