//! The engines: a document, what is asked about it and a budget go in, verified spans come out.
//!
//! This is the crate's core and its only entry for the server and the command line. It knows neither files nor
//! sockets nor tasks; from outside a request it takes the clock and what is remembered. A request flows through
//! [`Document`](crate::document::Document) (units), `scoring` (a number for each unit and each ask) and `select`
//! (the units that fit the budget). The document is cut, and what the encoder reads of it is read, once for all
//! asks. The tiers differ in the scores alone:
//!
//! | tier | reads | cost |
//! |---|---|---|
//! | [`Tier::Lexical`] | words | about a millisecond for 10K tokens |
//! | [`Tier::Static`] | and the encoder's input embeddings | a few |
//! | [`Tier::Encoder`] | and the last hidden states of the units that the static tier ranks high | a second |
//! | the same on a GPU | and the last hidden states of all units | a few more |
//! | [`Tier::Ranker`] | each window together with what is asked, of those that the static tier ranks high | a second |
//! | the same on a GPU | each window together with what is asked, and the last hidden states of all units | twice as much as the encoder |
//!
//! [`Tier::Decoder`] is not one of them: the best of these finds the evidence, and [`Extraction::facts`] is written after it.
//!
//! Everything is deterministic: the same request gives the same spans, but for a deadline that cuts the
//! encoder's work short.

use std::time::{Duration, Instant};

use crate::document::SpanKind;

mod asks;
mod budget;
mod encode;
mod extractor;
mod facts;
mod input;
mod languages;
mod memory;
mod rank;
mod reading;
mod speed;
mod states;
#[cfg(test)]
mod tests;
mod tiers;
mod training;

pub use crate::document::{Text, Texts};
pub use crate::tier::{Tier, TierChoice, TierReason};
pub use asks::{Ask, Asks};
pub use budget::{AutoBudget, Budget, Ratio};
pub use extractor::Extractor;
pub use facts::{Fact, FactOrigin, Facts};
pub use memory::Memory;

/// Most tokens that the encoder reads for one request on a processor, unless [`Settings`] say otherwise.
pub const CPU_ENCODE_TOKENS: usize = 8000;

/// Most tokens that the ranker reads for one document on a processor, unless [`Settings`] say otherwise.
pub const CPU_RANKER_TOKENS: usize = 8000;

/// Settings of an [`Extractor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most tokens that the encoder reads for one request; more keep a little more evidence and take longer.
    /// `None`: what suits the device, [`CPU_ENCODE_TOKENS`] on a processor and the whole document on a GPU.
    pub encode_tokens: Option<usize>,
    /// Most tokens that the ranker tier reads for one request, those of what is asked counted with each window. If the
    /// ranker and the encoder can both read the whole document within it, both do. `None`: what suits the device,
    /// [`CPU_RANKER_TOKENS`] on a processor, up to twice as many for several documents, and no limit on a GPU.
    pub ranker_tokens: Option<usize>,
    /// Most bytes of hidden states, and of what the ranker said, that are remembered between requests.
    pub memory_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            encode_tokens: None,
            ranker_tokens: None,
            memory_bytes: 64 << 20,
        }
    }
}

/// What is asked about a document.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The whole document.
    pub document: &'a str,
    /// The texts that the document is made of; made with this document.
    pub texts: &'a Texts,
    /// All that is asked. Nothing means coverage: what represents the document best.
    pub asks: &'a Asks,
    /// Budget for what is kept.
    pub budget: Budget,
    /// The tier to run, and why that one.
    pub tier: TierChoice,
    /// Latest time for the answer. The expensive tiers spend less rather than miss it.
    pub deadline: Option<Instant>,
    /// Polled during the work; `true` ends it with [`ExtractError::Cancelled`].
    pub cancelled: &'a dyn Fn() -> bool,
}

/// Share of the time left after which the encoder or ranker stops, so that the rest of the work ends before the
/// deadline.
const READING_SHARE: f64 = 0.8;

/// The same share where facts are to be written after it.
const READING_SHARE_BEFORE_FACTS: f64 = 0.4;

/// Returns the share of its time in which a request reads with a model for evidence.
pub(crate) fn reading_share(tier: Tier) -> f64 {
    match tier {
        Tier::Decoder => READING_SHARE_BEFORE_FACTS,
        _ => READING_SHARE,
    }
}

/// Returns the moment at which a request with this deadline, begun now, has spent a share of its time.
pub(crate) fn end_of_reading(deadline: Instant, share: f64) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now).mul_f64(share)
}

/// A part of the document that is kept: `document[start..end]`, on character boundaries, never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// Score of the best unit of the span for the ask that it answers best, in standard deviations above the
    /// document's mean unit.
    pub score: f32,
    /// Kind of the span's units; where they differ, as in a text that is kept whole, of the best one.
    pub kind: SpanKind,
}

/// Sizes of the document and of what is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Units that the document was cut into.
    pub document_units: u64,
    /// Units kept.
    pub kept_units: u64,
    /// Words of the document.
    pub document_words: u64,
    /// Words of the spans.
    pub kept_words: u64,
    /// Tokens of the document.
    pub document_tokens: u64,
    /// Tokens of the spans.
    pub kept_tokens: u64,
}

/// Durations of the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Time for cutting into units and tokenizing.
    pub prepare: Duration,
    /// Time for scoring, the forward pass included.
    pub score: Duration,
    /// Part of the scoring spent waiting for the encoder or ranker: the forward pass and, where the device compares,
    /// the comparison.
    pub encode: Duration,
    /// Time for choosing the spans.
    pub select: Duration,
}

/// The evidence found in a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Extraction {
    /// Parts of the document to keep, in source order, disjoint.
    pub spans: Vec<Span>,
    /// Sizes of the document and of what is kept.
    pub counts: Counts,
    /// The engine that ran.
    pub tier: Tier,
    /// Why this engine ran.
    pub tier_reason: TierReason,
    /// True if the deadline or a failing encoder made it do less than the tier can.
    pub limited: bool,
    /// Estimated share of the evidence that is kept, 0 to 1: the mean over the asks by their weights. `None` in
    /// coverage mode.
    pub estimated_recall: Option<f64>,
    /// True if the budget was automatic and even its largest pack, which the spans are, is estimated to hold less than
    /// the floor: the document is better read whole.
    pub below_floor: bool,
    /// Durations of the steps.
    pub timing: Timing,
    /// Tokens that the forward pass read for this answer.
    pub encoded_tokens: u64,
    /// What a language model says about it; none where no facts were written.
    pub facts: Option<Facts>,
}

/// Conditions that end a request before its work is done.
struct RequestLimits<'a> {
    deadline: Option<Instant>,
    /// Moment at which the model of the tier stops.
    read_until: Option<Instant>,
    cancelled: &'a dyn Fn() -> bool,
}

impl RequestLimits<'_> {
    fn check_cancelled(&self) -> Result<(), ExtractError> {
        if (self.cancelled)() {
            Err(ExtractError::Cancelled)
        } else {
            Ok(())
        }
    }

    fn late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn reading_is_over(&self) -> bool {
        self.read_until.is_some_and(|end| Instant::now() >= end)
    }

    fn check(&self) -> Result<(), ExtractError> {
        self.check_cancelled()?;
        if self.late() {
            Err(ExtractError::DeadlineExceeded)
        } else {
            Ok(())
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The caller gave up.
    #[error("the request was cancelled")]
    Cancelled,
    /// The deadline passed.
    #[error("the deadline passed before the document was read")]
    DeadlineExceeded,
    /// A span would not have been a part of the document: a bug.
    #[error("span {start}..{end} does not lie on character boundaries of a document of {length} bytes")]
    BadSpan {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
        /// Bytes of the document.
        length: usize,
    },
}
