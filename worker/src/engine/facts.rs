//! What a language model says about a document, as it is in an answer.

use std::ops::Range;
use std::time::Duration;

/// How a fact was read from what the model wrote, strictest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactOrigin {
    /// The model could write nothing else.
    Constrained,
    /// It wrote JSON of the right form by itself.
    Strict,
    /// It wrote what became such JSON once it was repaired.
    Repaired,
    /// It wrote a text from which the fields were picked.
    Picked,
    /// Nothing of what it wrote could be used: the best evidence of the passage stands for it.
    Evidence,
}

impl FactOrigin {
    /// Every origin, strictest first.
    pub const ALL: [Self; 5] = [
        Self::Constrained,
        Self::Strict,
        Self::Repaired,
        Self::Picked,
        Self::Evidence,
    ];

    /// Returns the name in metrics and reports, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constrained => "constrained",
            Self::Strict => "strict",
            Self::Repaired => "repaired",
            Self::Picked => "picked",
            Self::Evidence => "evidence",
        }
    }
}

/// A fact, and where the document proves it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The fact, one line; the quote's own words where the model said nothing.
    pub text: String,
    /// Bytes of the document that are quoted: on character boundaries, never empty.
    pub quote: Range<usize>,
    /// 0 to 1, of the model; not calibrated. 0 for [`FactOrigin::Evidence`].
    pub confidence: f32,
    /// What was asked.
    pub ask: Box<str>,
    /// Bytes of the document that the model read.
    pub passage: Range<usize>,
    /// How it was read.
    pub origin: FactOrigin,
}

/// The facts of a document, and what they took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The facts in source order of their passages, of each in the order of the asks.
    pub facts: Vec<Fact>,
    /// Passages that the model read.
    pub passages: usize,
    /// Passages that it would have read with more time.
    pub wanted: usize,
    /// Facts that were left out because their quote is not in the passage.
    pub dropped: usize,
    /// Tokens that the model read and did not have in memory.
    pub read_tokens: usize,
    /// Tokens that it wrote.
    pub written_tokens: usize,
    /// Time that it took.
    pub time: Duration,
}

impl Facts {
    /// Returns about how many bytes they take in memory.
    pub fn memory(&self) -> usize {
        let of = |fact: &Fact| size_of::<Fact>() + fact.text.len() + fact.ask.len();
        self.facts.iter().map(of).sum()
    }
}
