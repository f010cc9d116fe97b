//! Weighs a pack against the provider's cached prefix, and counts the questions on a document that decide it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use liquid_process::{Lru, lock};

use super::settings::{Budget, CachedPrefix};

/// SHA-256 of a text.
pub type Sha256 = [u8; 32];

/// Distinct questions that are told apart for one document; beyond this they only count as "many".
const QUESTIONS: usize = 64;

/// True if `questions` question-dependent packs of `ratio` cost less input than one prefix that is written to the
/// provider's cache once and read `questions - 1` times.
///
/// With the document's tokens as unit: packs cost `q / ratio`, the prefix `write + read (q - 1)`.
pub fn pays(ratio: f64, questions: u64, prefix: &CachedPrefix) -> bool {
    let q = questions.max(1) as f64;
    q / ratio < prefix.write + prefix.read * (q - 1.0)
}

/// The ratio that a budget can be expected to reach on a document of `tokens`.
pub fn expected_ratio(budget: &Budget, tokens: u64) -> f64 {
    match budget.max_tokens {
        Some(most) => tokens as f64 / most.max(1) as f64,
        None if budget.auto => (budget.min_ratio * budget.max_ratio).sqrt(),
        None => budget.ratio,
    }
}

/// How many different questions each document was asked lately. Bounded, shared, holds hashes only.
#[derive(Debug)]
pub struct History {
    documents: Mutex<Lru<Sha256, Vec<u64>>>,
}

impl History {
    /// Remembers as many documents, for as long, as the settings say.
    pub fn new(settings: &CachedPrefix) -> Self {
        let ttl = Duration::from_secs(settings.ttl_s);
        Self {
            documents: Mutex::new(Lru::new(settings.documents as u64, ttl)),
        }
    }

    /// Notes a question on a document; answers how many different ones there were, this one included. The same
    /// question again is a client's retry, or gets the same pack, which the provider caches in turn.
    pub fn note(&self, document: &Sha256, question: &Sha256, now: Instant) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *question;
        let question = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let mut documents = lock(&self.documents);
        let Some(asked) = documents.get(document, now) else {
            documents.insert(*document, vec![question], 1, now);
            return 1;
        };
        if !asked.contains(&question) && asked.len() < QUESTIONS {
            asked.push(question);
        }
        asked.len() as u64
    }
}
