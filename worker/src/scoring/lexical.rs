//! BM25 over windows of units. Only the question's terms are counted, so a document costs one scan.

use super::question::{Question, Terms};
use super::windows::Window;
use crate::document::Document;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// How often each unit of a document holds each term of a question.
pub struct Lexical {
    terms: usize,
    weights: Vec<f32>,
    /// Terms found, unit by unit; a unit's are `hits[offsets[i]..offsets[i + 1]]`.
    hits: Vec<u32>,
    offsets: Vec<u32>,
    /// Words of each unit, as terms are counted.
    lengths: Vec<u32>,
}

impl Lexical {
    /// Counts.
    pub fn count(document: &Document<'_>, question: &Question) -> Self {
        let mut hits = Vec::new();
        let mut offsets = Vec::with_capacity(document.units.len() + 1);
        let mut lengths = Vec::with_capacity(document.units.len());
        offsets.push(0);
        for unit in &document.units {
            let mut length = 0;
            Terms::new(unit.text(document.text)).for_each(|_, word| {
                length += 1;
                hits.extend(question.term(word));
            });
            lengths.push(length);
            offsets.push(hits.len() as u32);
        }
        let weights = (0..question.len()).map(|term| question.weight(term)).collect();
        Self {
            terms: question.len(),
            weights,
            hits,
            offsets,
            lengths,
        }
    }

    fn unit_hits(&self, unit: usize) -> &[u32] {
        &self.hits[self.offsets[unit] as usize..self.offsets[unit + 1] as usize]
    }

    /// BM25 of each window. `lead_weight` is how much a hit in the lead of a window's first unit counts.
    pub fn bm25(&self, document: &Document<'_>, windows: &[Window], lead_weight: f32) -> Vec<f32> {
        let mut frequency = vec![0.0_f32; windows.len() * self.terms];
        let mut lengths = vec![0.0_f32; windows.len()];
        for (w, window) in windows.iter().enumerate() {
            let row = &mut frequency[w * self.terms..(w + 1) * self.terms];
            for unit in window.start..window.end {
                lengths[w] += self.lengths[unit] as f32;
                for &term in self.unit_hits(unit) {
                    row[term as usize] += 1.0;
                }
            }
            if lead_weight > 0.0
                && let Some(lead) = document.units[window.start].lead
            {
                for &term in self.unit_hits(lead as usize) {
                    row[term as usize] += lead_weight;
                }
            }
        }
        let mean = (lengths.iter().sum::<f32>() / windows.len().max(1) as f32).max(1e-6);
        let mut scores = vec![0.0_f32; windows.len()];
        for term in 0..self.terms {
            let holds = frequency
                .iter()
                .skip(term)
                .step_by(self.terms)
                .filter(|&&f| f > 0.0)
                .count() as f32;
            let n = windows.len() as f32;
            let weight = self.weights[term] * (1.0 + (n - holds + 0.5) / (holds + 0.5)).ln();
            for (w, score) in scores.iter_mut().enumerate() {
                let f = frequency[w * self.terms + term];
                if f > 0.0 {
                    *score += weight * f * (K1 + 1.0) / (f + K1 * (1.0 - B + B * lengths[w] / mean));
                }
            }
        }
        scores
    }
}
