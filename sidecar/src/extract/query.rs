//! The query to a worker: a document of one text or more, what is asked, how much to keep. Two queries with the
//! same key are one.

use bytestring::ByteString;
use liquid_proto::worker::v1 as wire;
use sha2::{Digest, Sha256};

use crate::api::Tier;
use crate::policy;

/// How much of the document may be kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// At most one word in so many.
    Ratio(f64),
    /// At most so many tokens.
    MaxTokens(u64),
    /// The smallest pack that is estimated to hold a share of the evidence.
    Auto {
        /// The share.
        floor: f64,
        /// Never more than one word in so many.
        min_ratio: f64,
        /// Never less than one word in so many.
        max_ratio: f64,
    },
}

impl From<&policy::Budget> for Budget {
    fn from(budget: &policy::Budget) -> Self {
        match budget.max_tokens {
            Some(tokens) => Self::MaxTokens(tokens),
            None if budget.auto => Self::Auto {
                floor: budget.floor,
                min_ratio: budget.min_ratio,
                max_ratio: budget.max_ratio,
            },
            None => Self::Ratio(budget.ratio),
        }
    }
}

/// One text of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextLength {
    /// Its bytes, what stands between it and the next one included.
    pub bytes: u64,
    /// It is kept whole or left out whole.
    pub whole: bool,
}

/// One of the things that are asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What is asked.
    pub text: String,
    /// How much it counts beside the others: above 0, at most 1.
    pub weight: f32,
}

/// What is asked about one document.
#[derive(Debug, Clone)]
pub struct Query {
    /// The document; shares its memory with the body where it is one text and nothing was escaped.
    pub document: ByteString,
    /// SHA-256 of the document.
    pub document_sha256: [u8; 32],
    /// The texts that the document is made of; none if it is a single one.
    pub texts: Vec<TextLength>,
    /// All that is asked; nothing in coverage.
    pub asks: Vec<Asked>,
    /// How much to keep.
    pub budget: Budget,
    /// The engine, or the worker's choice.
    pub tier: Option<Tier>,
    /// Names the request in the worker's log.
    pub request_id: String,
}

/// Words of a document for each word that is kept where no model of the workers reads what is asked: names, numbers and
/// related words still find most of the evidence, in half of the document.
const BLIND_RATIO: f64 = 2.0;

/// The longest question that a worker is asked, in bytes.
const LONGEST_QUESTION: usize = 4 << 10;

/// A query's identity: queries with the same key have the same answer.
pub type QueryKey = [u8; 32];

impl Query {
    /// Returns the query for a worker whose models do not read what is asked: with a budget of half of the words. `None`
    /// where it keeps as much already, or a number of tokens.
    pub fn widened(&self) -> Option<Self> {
        let narrow = match self.budget {
            Budget::Ratio(ratio) => ratio > BLIND_RATIO,
            Budget::Auto { .. } => true,
            Budget::MaxTokens(_) => false,
        };
        narrow.then(|| Self {
            budget: Budget::Ratio(BLIND_RATIO),
            ..self.clone()
        })
    }

    /// Hashes the document, its texts, what is asked, budget and tier, but not the request's name.
    pub fn key(&self) -> QueryKey {
        let mut hash = Sha256::new();
        hash.update(self.document_sha256);
        hash.update((self.texts.len() as u64).to_le_bytes());
        for text in &self.texts {
            hash.update(text.bytes.to_le_bytes());
            hash.update([u8::from(text.whole)]);
        }
        hash.update((self.asks.len() as u64).to_le_bytes());
        for ask in &self.asks {
            hash.update((ask.text.len() as u64).to_le_bytes());
            hash.update(&ask.text);
            hash.update(ask.weight.to_le_bytes());
        }
        match self.budget {
            Budget::Ratio(ratio) => {
                hash.update([1]);
                hash.update(ratio.to_le_bytes());
            }
            Budget::MaxTokens(tokens) => {
                hash.update([2]);
                hash.update(tokens.to_le_bytes());
            }
            Budget::Auto {
                floor,
                min_ratio,
                max_ratio,
            } => {
                hash.update([3]);
                [floor, min_ratio, max_ratio]
                    .iter()
                    .for_each(|value| hash.update(value.to_le_bytes()));
            }
        }
        hash.update([self.tier.map_or(0, |tier| tier as u8 + 1)]);
        hash.finalize().into()
    }

    /// Writes the first message of the stream. The worker gets `deadline_ms` from its arrival.
    pub(super) fn header(&self, deadline_ms: u32) -> wire::ExtractHeader {
        let limit = match self.budget {
            Budget::Ratio(ratio) => wire::budget::Limit::Ratio(ratio),
            Budget::MaxTokens(tokens) => wire::budget::Limit::MaxTokens(tokens),
            Budget::Auto {
                floor,
                min_ratio,
                max_ratio,
            } => wire::budget::Limit::Auto(wire::AutoBudget {
                floor,
                min_ratio,
                max_ratio,
            }),
        };
        let several = self.asks.len() > 1;
        let asks = self.asks.iter().filter(|_| several);
        wire::ExtractHeader {
            question: self.question(),
            budget: Some(wire::Budget { limit: Some(limit) }),
            tier: tier(self.tier).into(),
            deadline_ms,
            document_sha256: self.document_sha256.to_vec(),
            document_bytes: self.document.len() as u64,
            request_id: self
                .request_id
                .chars()
                .filter(char::is_ascii_graphic)
                .take(128)
                .collect(),
            asks: asks
                .map(|ask| wire::Ask {
                    text: ask.text.clone(),
                    weight: ask.weight,
                })
                .collect(),
            texts: self
                .texts
                .iter()
                .map(|text| wire::Text {
                    bytes: text.bytes,
                    whole: text.whole,
                })
                .collect(),
        }
    }

    /// Returns the asks, a line each, the most important first: what a worker answers that knows one question.
    pub fn question(&self) -> String {
        let mut asks: Vec<_> = self.asks.iter().collect();
        asks.sort_by(|one, two| two.weight.total_cmp(&one.weight));
        let lines: Vec<_> = asks.iter().map(|ask| ask.text.as_str()).collect();
        let lines = lines.join("\n");
        lines[..lines.floor_char_boundary(LONGEST_QUESTION)]
            .trim()
            .to_owned()
    }
}

fn tier(tier: Option<Tier>) -> wire::Tier {
    match tier {
        None => wire::Tier::Unspecified,
        Some(Tier::Lexical) => wire::Tier::Lexical,
        Some(Tier::Static) => wire::Tier::Static,
        Some(Tier::Encoder) => wire::Tier::Encoder,
        Some(Tier::Ranker) => wire::Tier::Ranker,
        Some(Tier::Decoder) => wire::Tier::Decoder,
    }
}
