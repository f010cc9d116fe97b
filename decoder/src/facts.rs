//! Facts with proof: a model reads a passage and what is asked about it, and writes facts, each with the quote that shows it.
//!
//! [`write_facts`] holds the model to JSON of the form `{"facts":[{"quote":"...","fact":"..."}]}`. The quote is copied: the
//! model chooses where it begins, which takes two to four tokens, and at the end of each unit whether it goes on; what lies
//! between is read in one pass. So a quote is always a range of bytes of the passage, and costs a few steps however long it
//! is. Each step is a request to the engine that continues the one before, whose prefix it finds in memory.
//!
//! Where answers cannot be held to a form, [`parse`](parse::parse) reads what the model says, and a quote that is not in the
//! passage is left out and counted.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::constraint::ConstraintError;
use crate::engine::{Engine, Refusal};
use crate::generate::GenerateError;
use crate::tokenizer::{Tokenizer, TokenizerError};

pub mod parse;
#[cfg(test)]
mod tests;
mod writer;

pub use crate::passage::Passage;
use writer::Writer;

/// Most facts that may be asked for about a passage.
pub const MOST_FACTS: usize = 16;

/// What facts are to be written.
#[derive(Clone, Debug)]
pub struct FactsRequest {
    /// Tokens of the task, the passage's [`text`](Passage::text) and the question, up to where the answer begins.
    pub prompt: Vec<u32>,
    /// The passage that the prompt holds.
    pub passage: Arc<Passage>,
    /// Most facts, 1 to [`MOST_FACTS`].
    pub facts: usize,
    /// Whether the answer is held to its form, as long as the tokenizer allows that.
    pub constrained: bool,
    /// When the answer ends with the facts that it has.
    pub deadline: Option<Instant>,
}

/// A fact, and where it is proved.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// What the model says: one line, at most [`Fact::MOST_BYTES`]. What is quoted, if it says nothing.
    pub text: String,
    /// Bytes of the passage's source that are quoted; on borders of characters, never empty.
    pub quote: Range<usize>,
    /// How likely the model by itself was to write what fixes the quote's place: the geometric mean of the probabilities of
    /// those tokens, 0 to 1; of all tokens of an answer that was not held to a form. Not calibrated: it orders facts of one
    /// model.
    pub confidence: f32,
    /// How it was read.
    pub origin: FactOrigin,
}

impl Fact {
    /// Most bytes of a fact's text.
    pub const MOST_BYTES: usize = 480;
}

/// How a fact was read from what the model wrote, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FactOrigin {
    /// The model could write nothing else: its quote is a copy.
    Constrained,
    /// The answer is JSON of the right form.
    Strict,
    /// The answer is such JSON once it is repaired.
    Repaired,
    /// The fields were picked out of the answer.
    Picked,
}

/// What was written about a passage.
#[derive(Debug)]
pub struct FactsAnswer {
    /// The facts, in the order in which they were written. No two have one place.
    pub facts: Vec<Fact>,
    /// Facts that were left out because their quote is not in the passage.
    pub dropped: usize,
    /// Tokens of prompts that were read and not found in memory; the copied ones are among them.
    pub read_tokens: usize,
    /// Tokens that were chosen one by one.
    pub written_tokens: usize,
    /// How it ended.
    pub end: FactsEnd,
}

/// How the writing of facts ended.
#[derive(Debug)]
pub enum FactsEnd {
    /// The model has said all it had to say, which may be nothing.
    Whole,
    /// There are as many facts as were asked for, or the model would have gone on.
    Cut,
    /// The time was over.
    Deadline,
    /// The answer was not held to a form, and holds no fact.
    Unread,
    /// The engine refused or failed. Facts before that stand.
    Failed(FactsError),
}

/// Why facts were not written to their end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// The engine did not take a request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It failed at one.
    #[error(transparent)]
    Failed(#[from] GenerateError),
    /// A text was not encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

impl FactsError {
    /// Returns true if answers cannot be held to a form with this tokenizer.
    fn is_unconstrained(&self) -> bool {
        let constraint = match self {
            Self::Refused(Refusal::Invalid(GenerateError::Constraint(error))) => error,
            Self::Failed(GenerateError::Constraint(error)) => error,
            _ => return false,
        };
        matches!(
            constraint,
            ConstraintError::NoEnd | ConstraintError::Malformed { .. }
        )
    }
}

/// Writes facts about a passage. Takes memory in proportion to the passage and the number of facts, whatever the model says.
/// Dropping the future ends it.
pub async fn write_facts(engine: &Engine, tokenizer: &Tokenizer, request: &FactsRequest) -> FactsAnswer {
    let mut writer = Writer::new(engine, tokenizer, request);
    let end = match request.constrained {
        true => match writer.write_constrained().await {
            Err(error) if error.is_unconstrained() => writer.write_freely().await,
            end => end,
        },
        false => writer.write_freely().await,
    };
    writer.finish(end)
}
