//! The extractive answer itself, independent of the API that carries it.

use serde_json::json;

use crate::api::Reason;
use crate::compress::{Action, Decision, Evidence, Excerpt};
use crate::pack::SpanKind;
use crate::policy::tokens::estimate;

/// Most passages in an answer.
const MAX_PASSAGES: usize = 5;
/// A passage this many deviations below the best one is left out.
const MAX_GAP: f32 = 3.0;

/// The answer in pieces, which a stream sends one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExtractiveAnswer {
    /// The pieces, at least one; joined they are the answer.
    pub(super) pieces: Vec<String>,
}

impl ExtractiveAnswer {
    /// Quotes the best passages, or says why there are none.
    pub(super) fn new(decision: &Decision, evidence: Option<&Evidence>, as_json: bool) -> Self {
        let passages = evidence
            .map(|evidence| best(evidence.packs.iter().flat_map(|pack| &pack.excerpts)))
            .unwrap_or_default();
        if as_json {
            return Self {
                pieces: vec![json(decision, &passages)],
            };
        }
        if passages.is_empty() {
            return Self {
                pieces: vec![nothing(decision)],
            };
        }
        let head = "Extractive answer: no language model was used. These passages of the document match the question \
                    best, quoted word for word, with their byte offsets in it.\n";
        let mut pieces = vec![head.to_owned()];
        for (number, passage) in passages.iter().enumerate() {
            let Excerpt { start, end, text, .. } = passage;
            pieces.push(format!("\n{}. [{start}-{end}] \"{}\"\n", number + 1, text.trim()));
        }
        Self { pieces }
    }

    /// Returns the whole text.
    pub(super) fn text(&self) -> String {
        self.pieces.concat()
    }

    /// Estimates the answer's tokens.
    pub(super) fn tokens(&self) -> u64 {
        estimate(&self.text())
    }
}

/// Returns the best passages first. Headings and table headers give context to others and answer nothing alone.
fn best<'e>(excerpts: impl Iterator<Item = &'e Excerpt>) -> Vec<&'e Excerpt> {
    let mut passages: Vec<&Excerpt> = excerpts
        .filter(|excerpt| !matches!(excerpt.kind, SpanKind::Heading | SpanKind::Header))
        .filter(|excerpt| !excerpt.text.trim().is_empty())
        .collect();
    passages.sort_by(|one, two| two.score.total_cmp(&one.score).then(one.start.cmp(&two.start)));
    let floor = passages.first().map_or(f32::MIN, |best| best.score - MAX_GAP);
    passages.retain(|passage| passage.score >= floor);
    passages.truncate(MAX_PASSAGES);
    passages
}

fn json(decision: &Decision, passages: &[&Excerpt]) -> String {
    let quotes: Vec<_> = passages
        .iter()
        .map(|passage| json!({"start": passage.start, "end": passage.end, "text": passage.text.trim()}))
        .collect();
    json!({"extractive": true, "reason": decision.reason, "passages": quotes}).to_string()
}

fn nothing(decision: &Decision) -> String {
    let why = match decision.reason {
        Reason::WorkerUnavailable | Reason::WorkerTimeout | Reason::WorkerRefused | Reason::WorkerInvalid => {
            "the document could not be searched, because no worker gave an answer"
        }
        Reason::NotSmaller | Reason::TooShort => "the text is too short to select passages from",
        Reason::BelowFloor => "the evidence is spread over more of it than may be quoted",
        Reason::NoQuestion => "no question was found that passages could answer",
        Reason::NeedsEverything | Reason::NeedsOverview => {
            "the request needs the whole document, which quoted passages cannot stand for"
        }
        Reason::ModeOff => "extraction is switched off for this request",
        _ if decision.action == Action::Compressed => "nothing in the document matches the question",
        _ => "this request holds no document that passages could be quoted from",
    };
    format!(
        "Extractive answer: no language model was used, and {why} (reason: {}). For an answer in words, set \
         upstream.model to a language model.",
        decision.reason
    )
}
