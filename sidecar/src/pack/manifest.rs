//! The account of a call's packs: what of each source was kept, what was dropped, and why. Holds no document text.

use serde::{Deserialize, Serialize};

/// The account of a call's packs. Offsets and lengths are bytes of a document's UTF-8 text.
///
/// A document is the text that the application sent, all of it: the JSON string, unescaped. Where a
/// prompt's instructions stand around it in the same string, it is the part between them, without white space
/// at its ends; `source.start` is where that part begins in the string, and is 0 otherwise.
///
/// The same call and settings give the same `id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// `pk_` and 24 hexadecimal digits.
    pub id: String,
    /// The call's reason (`question`, `coverage`, `replayed`, `follow_up`).
    pub reason: String,
    /// The packs, in the order in which the model reads them.
    pub packs: Vec<PackRecord>,
}

/// The account of one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackRecord {
    /// The document's position among the call's sites, as the decision lists them.
    pub site: usize,
    /// The document.
    pub source: SourceDocument,
    /// SHA-256 of what was asked, a line each, lower-case hexadecimal; empty in coverage.
    pub question_sha256: String,
    /// The text that replaced the document.
    pub pack: PackSize,
    /// Kept spans in source order.
    pub kept: Vec<KeptSpan>,
    /// Dropped ranges in source order: all that is not kept.
    pub dropped: Vec<ByteRange>,
    /// Spans that later turns were given further, in source order; they lie in dropped ranges.
    pub further: Vec<KeptSpan>,
    /// Facts in the pack, whose quotes are in `kept`; the texts are not here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<FactRecord>,
    /// Facts that the worker left out, in all documents of the turn, because their quote is not in the document.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub facts_dropped: u32,
    /// How the pack was chosen (`question`, `coverage`).
    pub reason: String,
    /// The engine that ran: `lexical`, `static`, `encoder`, `ranker`, `decoder`.
    pub tier: String,
    /// The reason for this engine, by its stable name, such as `as_asked`.
    pub tier_reason: String,
    /// Estimated share of the evidence that is kept, 0 to 1; 0 when the engine has no estimate.
    pub estimated_recall: f64,
    /// The worker that answered, as `host:port`.
    pub worker: String,
    /// Time spent in the worker, for all documents of the turn.
    pub timing: WorkerTiming,
}

/// A fact in a pack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FactRecord {
    /// The first byte of its quote.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
    /// How sure the model is: 0 to 1, not calibrated.
    pub confidence: f32,
    /// How the worker read it, such as `constrained`.
    pub origin: String,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceDocument {
    /// SHA-256 of its UTF-8 text, lower-case hexadecimal.
    pub sha256: String,
    /// The document's first byte in the text that the application sent.
    #[serde(default)]
    pub start: u64,
    /// The document's length.
    pub bytes: u64,
    /// Its tokens, estimated.
    pub tokens: u64,
}

/// A pack's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackSize {
    /// SHA-256 of the pack's text, lower-case hexadecimal.
    pub sha256: String,
    /// Length of the pack's text, the frame included.
    pub bytes: u64,
    /// Its tokens, estimated.
    pub tokens: u64,
    /// Bytes of the document that are in it.
    pub kept_bytes: u64,
}

/// A kept span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptSpan {
    /// The first byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
    /// Standard deviations above the document's mean unit.
    pub score: f32,
    /// The kind of passage.
    pub kind: SpanKind,
}

/// A range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByteRange {
    /// The first byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}

/// Durations in the worker, in microseconds, as it reported them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerTiming {
    /// Waiting in the queue.
    pub queue_us: u64,
    /// Cutting into units and tokenizing.
    pub prepare_us: u64,
    /// Scoring.
    pub score_us: u64,
    /// Choosing.
    pub select_us: u64,
    /// From the document's last byte to the answer.
    pub total_us: u64,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The text is not the JSON of a manifest.
    #[error("not a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Kept and dropped ranges overlap, leave a hole, or end elsewhere than the document.
    #[error("kept and dropped ranges do not make up the document: {0}..{1} does not follow")]
    Ranges(u64, u64),
}

impl Manifest {
    /// Reads a manifest and checks that kept and dropped ranges make up each document.
    ///
    /// # Errors
    /// [`ManifestError`] if it is none.
    pub fn parse(json: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.packs.iter().try_for_each(PackRecord::check)?;
        Ok(manifest)
    }
}

impl PackRecord {
    /// Checks that kept and dropped ranges make up the document.
    fn check(&self) -> Result<(), ManifestError> {
        let kept = self.kept.iter().map(|span| (span.start, span.end));
        let dropped = self.dropped.iter().map(|range| (range.start, range.end));
        let mut ranges: Vec<_> = kept.chain(dropped).collect();
        ranges.sort_unstable();
        let end = ranges.iter().try_fold(0, |at, (start, end)| {
            if *start == at && end > start {
                Ok(*end)
            } else {
                Err(ManifestError::Ranges(*start, *end))
            }
        })?;
        if end != self.source.bytes {
            return Err(ManifestError::Ranges(end, self.source.bytes));
        }
        Ok(())
    }
}

/// Lists the ranges between the kept spans of a document of `bytes`.
pub fn dropped(kept: &[KeptSpan], bytes: u64) -> Vec<ByteRange> {
    let starts = std::iter::once(0).chain(kept.iter().map(|span| span.end));
    let ends = kept.iter().map(|span| span.start).chain([bytes]);
    starts
        .zip(ends)
        .filter(|(start, end)| start < end)
        .map(|(start, end)| ByteRange { start, end })
        .collect()
}

/// The kind of passage that a span is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Text of no other kind.
    #[default]
    Text,
    /// A sentence.
    Sentence,
    /// A row of a table.
    Row,
    /// A table's header.
    Header,
    /// A heading.
    Heading,
    /// A speaker's turn.
    SpeakerTurn,
    /// An item of a list.
    ListItem,
    /// Code.
    Code,
    /// An element of a JSON array or object.
    JsonElement,
}
