//! Late interaction (ColBERT, Khattab and Zaharia 2020): how well the best piece of a window matches each piece
//! of the question, weighted by how rare the question's pieces are in the document.
//!
//! Used with the encoder's input embeddings (static tier) and with its last hidden states (encoder tier).

use std::collections::HashMap;

use crate::model::EmbeddingTable;
use crate::vectors::{dot, norm, unit};

/// Most pieces of a question that are matched.
const MAX_QUESTION_PIECES: usize = 128;

/// Similarity of a window that holds no piece.
const NOTHING: f32 = -1.0;

/// Computes the inverse document frequency of each of the question's pieces, with windows as documents.
pub fn rarity(question: &[u32], windows: &[&[u32]]) -> Vec<f32> {
    let question = &question[..question.len().min(MAX_QUESTION_PIECES)];
    let mut seen: HashMap<u32, (usize, f32)> = question.iter().map(|&id| (id, (usize::MAX, 0.0))).collect();
    for (w, window) in windows.iter().enumerate() {
        for id in *window {
            if let Some((last, count)) = seen.get_mut(id)
                && *last != w
            {
                (*last, *count) = (w, *count + 1.0);
            }
        }
    }
    let n = windows.len() as f32;
    let idf = |id: &u32| {
        let holds = seen.get(id).map_or(0.0, |entry| entry.1);
        (1.0 + (n - holds + 0.5) / (holds + 0.5)).ln()
    };
    question.iter().map(idf).collect()
}

/// The best similarity of each window to each piece of the question.
#[derive(Clone, Debug)]
pub struct WindowMatches {
    /// Rarity of each of the question's pieces.
    weights: Vec<f32>,
    /// Cosine of the best match, `[windows, pieces of the question]` row-major.
    best: Vec<f32>,
}

impl WindowMatches {
    /// Makes the matches of `windows` windows of which none has been matched.
    pub fn new(weights: Vec<f32>, windows: usize) -> Self {
        let best = vec![NOTHING; windows * weights.len()];
        Self { weights, best }
    }

    /// WindowMatches windows by their input embeddings. Each distinct piece of the document is compared once.
    pub fn of_embeddings(
        table: &EmbeddingTable,
        question: &[u32],
        weights: Vec<f32>,
        windows: &[&[u32]],
    ) -> Self {
        let mut matches = Self::new(weights, windows.len());
        let pieces = matches.weights.len();
        if pieces == 0 {
            return matches;
        }
        let question: Vec<Vec<f32>> = question
            .iter()
            .take(pieces)
            .map(|&id| unit(table.row(id)))
            .collect();
        let mut slots = vec![u32::MAX; table.vocabulary()];
        let mut similarities: Vec<f32> = Vec::new();
        for (window, best) in windows.iter().zip(matches.best.chunks_exact_mut(pieces)) {
            for &id in *window {
                let Some(slot) = slots.get_mut(id as usize) else {
                    continue;
                };
                if *slot == u32::MAX {
                    *slot = (similarities.len() / pieces) as u32;
                    let row = unit(table.row(id));
                    similarities.extend(question.iter().map(|piece| dot(piece, &row)));
                }
                let start = *slot as usize * pieces;
                raise(best, &similarities[start..start + pieces]);
            }
        }
        matches
    }

    /// Sets one window's matches from hidden states, `[tokens, dim]` row-major. `question` holds unit vectors.
    pub fn set(&mut self, window: usize, question: &[Vec<f32>], states: &[f32], dim: usize) {
        let pieces = self.weights.len();
        let best = &mut self.best[window * pieces..(window + 1) * pieces];
        for state in states.chunks_exact(dim) {
            let scale = 1.0 / norm(state);
            for (best, piece) in best.iter_mut().zip(question) {
                *best = best.max(dot(piece, state) * scale);
            }
        }
    }

    /// Sets one window's matches: the best similarity to each piece of the question.
    pub fn set_best(&mut self, window: usize, best: &[f32]) {
        let pieces = self.weights.len();
        self.best[window * pieces..(window + 1) * pieces].copy_from_slice(best);
    }

    /// Scores the union of windows `start..end`: the weighted mean over the question's pieces.
    pub fn score(&self, start: usize, end: usize) -> f32 {
        let pieces = self.weights.len();
        let total: f32 = self.weights.iter().sum();
        if pieces == 0 || total <= 0.0 {
            return 0.0;
        }
        let mut best = vec![NOTHING; pieces];
        for row in self.best[start * pieces..end * pieces].chunks_exact(pieces) {
            raise(&mut best, row);
        }
        dot(&best, &self.weights) / total
    }
}

fn raise(best: &mut [f32], others: &[f32]) {
    for (best, &other) in best.iter_mut().zip(others) {
        *best = best.max(other);
    }
}
