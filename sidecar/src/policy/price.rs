//! What compressing saves: a plan weighed against the provider's cached prefix, by the number of questions on
//! its document, and a pack weighed against its document.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use liquid_process::{Lru, lock};

use super::cost::{Calls, Growth, Sizes, cheaper};
use super::settings::{Budget, CachedPrefix, Settings};
use crate::api::Mode;

/// SHA-256 of a text.
pub type Sha256 = [u8; 32];

/// The most questions that are distinguished for one document; beyond this they only count as "many".
const QUESTIONS: usize = 64;

/// Estimates the ratio that a budget can be expected to reach on a document of `tokens`.
pub fn expected_ratio(budget: &Budget, tokens: u64) -> f64 {
    match budget.max_tokens {
        Some(most) => tokens as f64 / most.max(1) as f64,
        None if budget.auto => (budget.min_ratio * budget.max_ratio).sqrt(),
        None => budget.ratio,
    }
}

/// Returns whether packs of a document of `tokens` cost less than the provider's cached prefix, now that it is known
/// how many `questions` it was asked in calls of their own.
pub fn packs_pay(tokens: u64, budget: &Budget, questions: u64, settings: &Settings) -> bool {
    let prefix = &settings.cached_prefix;
    let sizes = Sizes {
        document: tokens,
        pack: (tokens as f64 / expected_ratio(budget, tokens)).ceil() as u64,
    };
    !prefix.enabled
        || settings.mode == Mode::Force
        || cheaper(sizes, Calls::Apart { questions }, &prefix.into())
}

/// A text's size: what it costs, and how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextSize {
    /// Estimated tokens.
    pub tokens: u64,
    /// Bytes.
    pub bytes: usize,
}

impl std::ops::AddAssign for TextSize {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.bytes += other.bytes;
    }
}

/// Returns true if packs save enough over their documents, and are cheaper at every length of the conversation that may
/// follow, further excerpts included.
pub fn accept(document: TextSize, pack: TextSize, settings: &Settings) -> bool {
    let saved = document.tokens.saturating_sub(pack.tokens);
    let enough = || {
        saved >= settings.min_saved_tokens
            && saved as f64 >= settings.min_saving * document.tokens as f64
            && stays_cheaper(document.tokens, pack.tokens, settings)
    };
    pack.bytes < document.bytes && saved > 0 && (settings.mode == Mode::Force || enough())
}

/// What a conversation holds of its documents at its first later question: so many times the budget of a pack, and
/// for each later question so many times one word in `further_ratio`.
const AT_FIRST: f64 = 1.2;
const WIDER: f64 = 2.0;

/// Documents of a conversation and what it holds of them, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSize {
    /// Tokens of the documents that are packed.
    pub documents: u64,
    /// Tokens of their packs and of all that turns were given further.
    pub held: u64,
}

/// Returns how many tokens a turn may be given of documents that were packed before it. Packs and further excerpts
/// share one limit, which each of the `later` questions widens, this one included; one word in `further_ratio` is
/// always allowed.
pub fn further_tokens(size: HeldSize, later: u32, budget: &Budget) -> f64 {
    let documents = size.documents as f64;
    let share =
        AT_FIRST / expected_ratio(budget, size.documents) + f64::from(later) * WIDER / budget.further_ratio;
    (documents * share - size.held as f64).max(documents / budget.further_ratio)
}

/// The share of its budget that a later turn is given on average, from the second to the twentieth: most ask about what
/// is there already (`bench conversation`).
const USED: f64 = 0.5;

/// Computes whether a pack is cheaper than its document in every turn from the one that brings it.
fn stays_cheaper(document: u64, pack: u64, settings: &Settings) -> bool {
    let growth = Growth {
        turns: 1,
        rest: 0,
        turn: Growth::USUAL_TURN,
        further: (document as f64 / settings.budget.further_ratio * USED).ceil() as u64,
    };
    cheaper(
        Sizes { document, pack },
        Calls::Conversation(growth),
        &(&settings.cached_prefix).into(),
    )
}

/// The questions that each document was asked lately. Bounded, shared, holds hashes only.
#[derive(Debug)]
pub struct History {
    documents: Mutex<Lru<Sha256, Vec<u64>>>,
}

impl History {
    /// Makes an empty history that holds as many documents, for as long, as the settings say.
    pub fn new(settings: &CachedPrefix) -> Self {
        let ttl = Duration::from_secs(settings.ttl_s);
        Self {
            documents: Mutex::new(Lru::new(settings.documents as u64, ttl)),
        }
    }

    /// Notes a question on a document; returns which of its different questions it is, counted from 1. The same
    /// question again is a client's retry or the same conversation, and keeps its number.
    pub fn note(&self, document: &Sha256, question: &Sha256, now: Instant) -> u64 {
        let question = short(question);
        let mut documents = lock(&self.documents);
        let Some(asked) = documents.get(document, now) else {
            documents.insert(*document, vec![question], 1, now);
            return 1;
        };
        if let Some(at) = asked.iter().position(|known| *known == question) {
            return at as u64 + 1;
        }
        if asked.len() < QUESTIONS {
            asked.push(question);
        }
        asked.len() as u64
    }

    /// Returns the number of a question that was noted, if it is still known.
    pub fn number(&self, document: &Sha256, question: &Sha256, now: Instant) -> Option<u64> {
        let question = short(question);
        let mut documents = lock(&self.documents);
        let asked = documents.get(document, now)?;
        let at = asked.iter().position(|known| *known == question)?;
        Some(at as u64 + 1)
    }
}

/// The first eight bytes of a hash: enough to tell the questions on one document apart.
fn short(hash: &Sha256) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
