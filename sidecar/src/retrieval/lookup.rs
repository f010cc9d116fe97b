//! Answers one call of the tool from the documents of the call that it belongs to. What is wrong with a question is said
//! to the model, never to the application.

use std::ops::Range;

use bytestring::ByteString;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Question;
use crate::api::Tier;
use crate::compress::{Compressor, PackedDocument};
use crate::extract::{Asked, Budget, Query};
use crate::pack::{self, KeptSpan, SpanKind};
use crate::policy::tokens;

/// What became of a call of the tool. The names are stable: they stand in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupResult {
    /// The passages that a worker found for a question.
    Passages,
    /// No passage answers the question.
    Nothing,
    /// A range of the document.
    Range,
    /// The arguments are not what the tool takes.
    BadArguments,
    /// The call has no document of this name.
    UnknownDocument,
    /// The document is no longer remembered.
    Forgotten,
    /// The range is not one of the document.
    BadRange,
    /// No worker gave an answer.
    NoWorker,
    /// The model has asked as often as it may.
    Exhausted,
    /// The call stood beside one of the application's, or came after the last round: the answer leaves without it.
    Dropped,
}

impl LookupResult {
    /// Returns the name used in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passages => "passages",
            Self::Nothing => "nothing",
            Self::Range => "range",
            Self::BadArguments => "bad_arguments",
            Self::UnknownDocument => "unknown_document",
            Self::Forgotten => "forgotten",
            Self::BadRange => "bad_range",
            Self::NoWorker => "no_worker",
            Self::Exhausted => "exhausted",
            Self::Dropped => "dropped",
        }
    }
}

/// The text for the model, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) text: String,
    pub(super) result: LookupResult,
}

/// The arguments of the tool.
#[derive(Debug, Deserialize)]
struct Arguments {
    document: String,
    #[serde(default)]
    question: Option<String>,
    #[serde(default)]
    start: Option<u64>,
    #[serde(default)]
    end: Option<u64>,
}

/// What a call may ask about, and how much of it is given.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) compressor: Compressor,
    /// The documents of this call; no others are answered.
    pub(super) documents: Vec<PackedDocument>,
    pub(super) max_tokens: u64,
    pub(super) tier: Option<Tier>,
    pub(super) request_id: String,
}

/// A document, and the part of it that is asked about.
struct Passage<'a> {
    name: &'a str,
    text: ByteString,
    range: Range<usize>,
}

impl Reply {
    pub(super) fn new(result: LookupResult, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            result,
        }
    }

    /// Returns whether it tells the model that its call was wrong or could not be answered.
    pub(super) fn is_error(&self) -> bool {
        !matches!(
            self.result,
            LookupResult::Passages | LookupResult::Nothing | LookupResult::Range
        )
    }
}

impl Library {
    /// Answers a question.
    pub(super) async fn answer(&self, question: &Question) -> Reply {
        let arguments = match serde_json::from_str::<Arguments>(&question.arguments) {
            Ok(arguments) => arguments,
            Err(error) => {
                let text = format!("Error: the arguments are not those of this tool ({error}).");
                return Reply::new(LookupResult::BadArguments, text);
            }
        };
        let passage = match self.passage(&arguments) {
            Ok(passage) => passage,
            Err(reply) => return reply,
        };
        let asked = arguments.question.as_deref().map(str::trim).unwrap_or_default();
        match (asked, arguments.start, arguments.end) {
            ("", None, None) => {
                let text = "Error: give a question, or start and end.";
                Reply::new(LookupResult::BadArguments, text)
            }
            ("", ..) => self.read(&passage),
            (question, ..) => self.search(&passage, question).await,
        }
    }

    /// Finds the document that is named, and the range.
    fn passage(&self, arguments: &Arguments) -> Result<Passage<'_>, Reply> {
        let name = arguments.document.trim();
        let Some(document) = self.documents.iter().find(|document| document.name == name) else {
            let known: Vec<&str> = self.documents.iter().map(|one| one.name.as_str()).collect();
            let text = format!(
                "Error: there is no excerpt of a document of this name here; there are: {}.",
                known.join(", ")
            );
            return Err(Reply::new(LookupResult::UnknownDocument, text));
        };
        let Some(text) = self.compressor.document(&document.sha256) else {
            let text = format!(
                "Error: the document {name} is no longer available. Answer from its excerpt, and say so."
            );
            return Err(Reply::new(LookupResult::Forgotten, text));
        };
        let length = text.len() as u64;
        let (start, end) = (arguments.start.unwrap_or(0), arguments.end.unwrap_or(length));
        if start >= end || end > length {
            let text = format!(
                "Error: the document {name} has the bytes 0 to {length}; {start} to {end} is no range of it."
            );
            return Err(Reply::new(LookupResult::BadRange, text));
        }
        // Both fit: they are within a text that is in memory.
        let range = text.floor_char_boundary(start as usize)..text.ceil_char_boundary(end as usize);
        Ok(Passage {
            name: &document.name,
            text,
            range,
        })
    }

    /// Reads a range, as much of it as an answer may hold.
    fn read(&self, passage: &Passage<'_>) -> Reply {
        let Passage { name, text, range } = passage;
        let end = range.start + fitting(&text[range.clone()], self.max_tokens);
        let span = KeptSpan {
            start: range.start as u64,
            end: end as u64,
            score: 0.0,
            kind: SpanKind::Text,
        };
        let mut reply = pack::write_passages(text, name, &[span]);
        if end < range.end {
            reply.push_str(&format!(
                "\n[cut at byte {end}, as one answer is at most so long; the range goes on to byte {}]",
                range.end
            ));
        }
        Reply::new(LookupResult::Range, reply)
    }

    /// Asks a worker.
    async fn search(&self, passage: &Passage<'_>, question: &str) -> Reply {
        let Passage { name, text, range } = passage;
        let document = text.slice_ref(&text[range.clone()]);
        let query = Query {
            document_sha256: Sha256::digest(&*document).into(),
            document,
            texts: Vec::new(),
            asks: vec![Asked {
                text: question.to_owned(),
                weight: 1.0,
            }],
            budget: Budget::MaxTokens(self.max_tokens),
            tier: self.tier,
            request_id: self.request_id.clone(),
        };
        let found = match self.compressor.ask(query).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "a model's question about a document was not answered");
                let text = "Error: the document cannot be searched now. Read a range of it by start and end, or answer \
                            from its excerpt, and say so.";
                return Reply::new(LookupResult::NoWorker, text);
            }
        };
        if found.spans.is_empty() {
            let text = format!("Nothing in the document {name} answers this question.");
            return Reply::new(LookupResult::Nothing, text);
        }
        let from = range.start as u64;
        let spans: Vec<KeptSpan> = found
            .spans
            .iter()
            .map(|span| KeptSpan {
                start: span.start + from,
                end: span.end + from,
                ..*span
            })
            .collect();
        Reply::new(LookupResult::Passages, pack::write_passages(text, name, &spans))
    }
}

/// Returns how many bytes of `text` are at most `max_tokens`, at least one character.
fn fitting(text: &str, max_tokens: u64) -> usize {
    // No tokenizer makes longer tokens of prose; what is beyond it need not be counted.
    const LONGEST_TOKEN: u64 = 16;
    let most = usize::try_from(max_tokens.saturating_mul(LONGEST_TOKEN)).unwrap_or(usize::MAX);
    let (mut fits, mut beyond) = (0, text.floor_char_boundary(most));
    if tokens::estimate(&text[..beyond]) <= max_tokens {
        return beyond;
    }
    while beyond - fits > 1 {
        let middle = text.floor_char_boundary(fits + (beyond - fits) / 2);
        if middle == fits {
            break;
        }
        if tokens::estimate(&text[..middle]) <= max_tokens {
            fits = middle;
        } else {
            beyond = middle;
        }
    }
    fits.max(text.ceil_char_boundary(1))
}
