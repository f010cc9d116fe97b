//! BM25 over windows of units. Only the terms of the questions are counted, so a document costs one scan.

use std::collections::HashMap;
use std::sync::Arc;

use super::question::Question;
use super::terms::{Terms, stem};
use super::windows::Window;
use crate::document::Document;

const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The terms of a question in the units of a document.
pub struct TermCounts {
    /// Weight of each term.
    weights: Vec<f32>,
    /// The terms found, unit by unit; those of unit `i` are `hits[offsets[i]..offsets[i + 1]]`.
    hits: Vec<u32>,
    offsets: Vec<u32>,
    /// Words of each unit, as terms are counted.
    lengths: Arc<[u32]>,
}

impl TermCounts {
    /// Counts the terms of each question in each unit of a document, in one scan.
    pub fn count(document: &Document<'_>, questions: &[Question]) -> Vec<Self> {
        let mut lengths = Vec::with_capacity(document.units.len());
        let places = find_places(questions);
        let mut hits: Vec<UnitHits> = questions.iter().map(|_| UnitHits::default()).collect();
        for unit in &document.units {
            let mut length = 0;
            let text = if unit.filler { "" } else { unit.text(document.text) };
            Terms::new(text).for_each(|word| {
                length += 1;
                for place in places.get(stem(word)).into_iter().flatten() {
                    hits[place.question].terms.push(place.term);
                }
            });
            lengths.push(length);
            hits.iter_mut().for_each(UnitHits::end_unit);
        }
        let lengths: Arc<[u32]> = lengths.into();
        let counted = questions.iter().zip(hits).map(|(question, hits)| Self {
            weights: question.weights().to_vec(),
            hits: hits.terms,
            offsets: hits.offsets,
            lengths: Arc::clone(&lengths),
        });
        counted.collect()
    }

    fn unit_hits(&self, unit: usize) -> &[u32] {
        &self.hits[self.offsets[unit] as usize..self.offsets[unit + 1] as usize]
    }

    /// Computes BM25 of each window. `lead_weight` is how much a hit in the lead of a window's first unit
    /// counts. A window's counts are made twice, for how many windows hold a term and for the scores, rather
    /// than kept: a long document in short lines has millions of windows.
    pub fn bm25(&self, document: &Document<'_>, windows: &[Window], lead_weight: f32) -> Vec<f32> {
        let mut counts = WindowCounts::new(self.weights.len());
        let mut holds = vec![0.0_f32; self.weights.len()];
        let mut total_length = 0.0_f64;
        for window in windows {
            total_length += f64::from(self.fill(&mut counts, document, *window, lead_weight));
            counts
                .present
                .iter()
                .for_each(|&term| holds[term as usize] += 1.0);
        }
        let n = windows.len() as f32;
        let mean = ((total_length / windows.len().max(1) as f64) as f32).max(1e-6);
        let rarity = |holds: f32| (1.0 + (n - holds + 0.5) / (holds + 0.5)).ln();
        let weights: Vec<f32> = self
            .weights
            .iter()
            .zip(&holds)
            .map(|(weight, &holds)| weight * rarity(holds))
            .collect();
        let mut score = |window: &Window| {
            let length = self.fill(&mut counts, document, *window, lead_weight);
            let norm = K1 * (1.0 - B + B * length / mean);
            // In the order of the terms, so that equal counts give equal sums.
            counts.present.sort_unstable();
            let of_term = |&term: &u32| {
                let count = counts.by_term[term as usize];
                weights[term as usize] * count * (K1 + 1.0) / (count + norm)
            };
            counts.present.iter().map(of_term).sum()
        };
        windows.iter().map(&mut score).collect()
    }

    /// Counts a window's terms, and returns its length in words.
    fn fill(
        &self,
        counts: &mut WindowCounts,
        document: &Document<'_>,
        window: Window,
        lead_weight: f32,
    ) -> f32 {
        counts.clear();
        let mut length = 0.0;
        for unit in window.start..window.end {
            length += self.lengths[unit] as f32;
            self.unit_hits(unit)
                .iter()
                .for_each(|&term| counts.add(term, 1.0));
        }
        if lead_weight > 0.0
            && let Some(lead) = document.units[window.start].lead
        {
            let hits = self.unit_hits(lead as usize);
            hits.iter().for_each(|&term| counts.add(term, lead_weight));
        }
        length
    }
}

/// The place of a stem in a question.
struct TermPlace {
    question: usize,
    term: u32,
}

/// Finds the places of each stem in the questions.
fn find_places(questions: &[Question]) -> HashMap<&str, Vec<TermPlace>> {
    let mut places: HashMap<&str, Vec<TermPlace>> = HashMap::new();
    for (question, parsed) in questions.iter().enumerate() {
        for (stem, term) in parsed.terms() {
            places.entry(stem).or_default().push(TermPlace { question, term });
        }
    }
    places
}

/// The terms of a question that are found, unit by unit.
struct UnitHits {
    terms: Vec<u32>,
    offsets: Vec<u32>,
}

impl Default for UnitHits {
    fn default() -> Self {
        Self {
            terms: Vec::new(),
            offsets: vec![0],
        }
    }
}

impl UnitHits {
    fn end_unit(&mut self) {
        self.offsets.push(self.terms.len() as u32);
    }
}

/// Counts of each term in a window.
struct WindowCounts {
    by_term: Vec<f32>,
    /// The terms whose count is not 0.
    present: Vec<u32>,
}

impl WindowCounts {
    fn new(terms: usize) -> Self {
        Self {
            by_term: vec![0.0; terms],
            present: Vec::with_capacity(terms),
        }
    }

    fn clear(&mut self) {
        self.present
            .iter()
            .for_each(|&term| self.by_term[term as usize] = 0.0);
        self.present.clear();
    }

    fn add(&mut self, term: u32, count: f32) {
        let slot = &mut self.by_term[term as usize];
        if *slot == 0.0 {
            self.present.push(term);
        }
        *slot += count;
    }
}
