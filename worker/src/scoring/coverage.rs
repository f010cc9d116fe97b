//! Coverage: scores without a question, for a pack that stands for the whole document.
//!
//! A unit scores high if its words are those the document uses often, and a little higher if it opens its block
//! or is a heading. Scores are standardised stretch by stretch rather than over the document, so that every
//! part of it gets its share. No stretch crosses the end of a text.

use std::collections::HashMap;

use super::smooth::standardise;
use super::terms::{Terms, is_stop_word};
use crate::document::{Document, SpanKind};

/// Number of stretches of a document that each get their share.
const STRETCHES: usize = 20;

/// Gain of a unit by opening a block, and by being a heading, in standard deviations.
const OPENS_BLOCK: f32 = 0.5;
const HEADING: f32 = 1.0;

/// Units of fewer words than this say too little to be representative.
const FEW_WORDS: f32 = 6.0;

/// Scores each unit by how well it represents the document.
pub fn score_coverage(document: &Document<'_>) -> Vec<f32> {
    let mut frequency: HashMap<String, u32> = HashMap::new();
    for unit in document.units.iter().filter(|unit| !unit.filler) {
        Terms::new(unit.text(document.text)).for_each(|word| {
            if !is_stop_word(word) {
                match frequency.get_mut(word) {
                    Some(count) => *count += 1,
                    None => {
                        frequency.insert(word.to_owned(), 1);
                    }
                }
            }
        });
    }
    let mut scores: Vec<f32> = document
        .units
        .iter()
        .map(|unit| {
            let (mut sum, mut count) = (0.0_f32, 0.0_f32);
            Terms::new(unit.text(document.text)).for_each(|word| {
                count += 1.0;
                sum += frequency.get(word).map_or(0.0, |&n| (n as f32).ln());
            });
            sum / count.max(FEW_WORDS)
        })
        .collect();
    let stretch = scores.len().div_ceil(STRETCHES).max(1);
    for text in &document.texts {
        scores[text.units.clone()]
            .chunks_mut(stretch)
            .for_each(standardise);
    }
    let mut block = None;
    for (score, unit) in scores.iter_mut().zip(&document.units) {
        if block.replace(unit.block) != Some(unit.block) {
            *score += OPENS_BLOCK;
        }
        if unit.kind == SpanKind::Heading {
            *score += HEADING;
        }
    }
    scores
}
