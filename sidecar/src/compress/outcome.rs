//! What goes out: the body to forward or the reason to refuse, and the decision that reports, counts and logs
//! it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer};

use crate::api::{Reason, Surface};
use crate::need::Need;
use crate::pack::{Manifest, SpanKind};
use crate::policy::{Further, Plan};
use crate::reading::{AskSource, Reading, SiteKind};

/// What to do with a call.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Send `body` upstream.
    Forward {
        /// The caller's own bytes when nothing was changed; the same allocation, unless a worker was asked
        /// about a long document. A `/v1/hybrid_chat` body always leaves as a chat completion, so it is
        /// always new.
        body: Bytes,
        /// The decision behind the body.
        decision: Box<Decision>,
        /// What was asked and what was kept, where the call wants it.
        evidence: Option<Arc<Evidence>>,
        /// The documents that were packed, where `policy.retrieval` is on: what a model may ask for.
        documents: Vec<PackedDocument>,
    },
    /// Answer the caller with an error, and send nothing upstream.
    Reject {
        /// The error to answer with.
        rejection: Rejection,
        /// The decision behind the rejection.
        decision: Box<Decision>,
    },
}

impl Outcome {
    /// Returns the decision, whichever way it went.
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Forward { decision, .. } | Self::Reject { decision, .. } => decision,
        }
    }
}

/// A document in whose place a pack stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedDocument {
    /// Its name in the pack's frame.
    pub name: String,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

/// What happened to the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A pack stands in place of the document.
    Compressed,
    /// The document is as it came.
    Passed,
    /// The caller gets an error.
    Rejected,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::Compressed, Self::Passed, Self::Rejected];

    /// Returns the name used in headers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::Passed => "passed",
            Self::Rejected => "rejected",
        }
    }
}

/// A decision: printed in headers, counted in metrics, logged. Holds no document text.
#[derive(Debug, Clone, Serialize)]
pub struct Decision {
    /// What happened to the request.
    pub action: Action,
    /// Why it happened.
    pub reason: Reason,
    /// The surface of the request.
    pub surface: Surface,
    /// The body's `model`, if it names one.
    pub model: Option<String>,
    /// The body's `stream`.
    pub stream: bool,
    /// True if the call or the body asked for a dry run.
    pub dry_run: bool,
    /// Estimated prompt tokens of all texts in the request as it came.
    pub tokens_before: u64,
    /// Estimated prompt tokens of all texts in the request as it goes upstream.
    pub tokens_after: u64,
    /// What was kept and dropped, when a document was compressed. Serialises as its id.
    #[serde(serialize_with = "id_only")]
    pub pack: Option<Arc<Manifest>>,
    /// What became of every text that holds a document, in the order in which the model reads them.
    pub sites: Vec<SiteRecord>,
    /// Where the time went.
    pub stages: Stages,
    /// What went wrong with the worker, if something did. For logs; no document text.
    pub worker_error: Option<String>,
}

fn id_only<S: Serializer>(pack: &Option<Arc<Manifest>>, serializer: S) -> Result<S::Ok, S::Error> {
    pack.as_ref().map(|manifest| &manifest.id).serialize(serializer)
}

impl Decision {
    /// Returns the time that the sidecar spent on the call before the upstream saw it.
    pub fn overhead(&self) -> Duration {
        Duration::from_micros(self.stages.total_us)
    }

    /// Returns tokens before over tokens after; 1 when nothing changed.
    pub fn ratio(&self) -> f64 {
        if self.tokens_after == 0 {
            return 1.0;
        }
        self.tokens_before as f64 / self.tokens_after as f64
    }
}

/// Durations of the stages, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Stages {
    /// Reading the body.
    pub read_us: u64,
    /// Finding document and question, unescaping and hashing the document.
    pub plan_us: u64,
    /// Waiting for the worker, or for the cache.
    pub extract_us: u64,
    /// Writing the pack and the body.
    pub pack_us: u64,
    /// From the call's arrival to the decision.
    pub total_us: u64,
    /// True if the spans came from the sidecar's cache.
    pub extract_cached: bool,
}

/// An error to answer with, in the terms of OpenAI's error object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// HTTP status.
    pub status: u16,
    /// `error.type`: `invalid_request_error` or `service_unavailable_error`.
    pub kind: &'static str,
    /// `error.code`.
    pub code: &'static str,
    /// `error.param`.
    pub param: Option<&'static str>,
    /// `error.message`: what is wrong and what to do.
    pub message: String,
    /// `retry-after`, in seconds.
    pub retry_after: Option<u64>,
}

/// What became of a text that holds a document. Holds no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteRecord {
    /// The kind of site.
    pub kind: SiteKind,
    /// The turn that it belongs to, counted from 0.
    pub turn: usize,
    /// The position of its part among all parts of the request.
    pub part: usize,
    /// Estimated tokens of the document.
    pub tokens_before: u64,
    /// Estimated tokens of what stands in its place.
    pub tokens_after: u64,
    /// What happened to it.
    pub action: Action,
    /// Why it happened.
    pub reason: Reason,
}

impl SiteRecord {
    /// Lists the sites of a reading as they leave where nothing is packed yet.
    pub(super) fn list(reading: &Reading<'_>, plan: &Plan) -> Vec<Self> {
        let turns = reading.turns.iter().zip(&plan.turns).enumerate();
        turns
            .flat_map(|(turn, (read, planned))| {
                let sites = read.sites.iter().zip(&planned.sites);
                sites.map(move |(site, plan)| Self {
                    kind: site.kind,
                    turn,
                    part: site.part,
                    tokens_before: plan.tokens,
                    tokens_after: plan.tokens,
                    action: Action::Passed,
                    reason: plan.stays.unwrap_or(planned.reason),
                })
            })
            .collect()
    }
}

/// One of the things that are asked in a call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AskRecord {
    /// The turn in which it is asked, counted from 0.
    pub turn: usize,
    /// What is asked.
    pub text: String,
    /// How much it counts beside the others: above 0, at most 1.
    pub weight: f32,
    /// Where it was found.
    pub source: AskSource,
    /// What kind of request it is.
    pub need: Need,
}

impl AskRecord {
    /// Lists all that is asked in a reading.
    fn list(reading: &Reading<'_>) -> Vec<Self> {
        let turns = reading.turns.iter().enumerate();
        turns
            .flat_map(|(turn, read)| {
                read.asks.iter().map(move |ask| Self {
                    turn,
                    text: ask.text.clone(),
                    weight: ask.weight,
                    source: ask.source,
                    need: ask.need(),
                })
            })
            .collect()
    }
}

/// A turn as it was read: what stands between two things that the model said. Holds no text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TurnRecord {
    /// Its position, counted from 0.
    pub turn: usize,
    /// The first of its parts, among all parts of the request.
    pub first_part: usize,
    /// How many parts it has.
    pub parts: usize,
    /// The most demanding need of what is asked in it.
    pub need: Need,
    /// How its packs are chosen, if it has any: `question` or `coverage`. `None` where the call was not planned.
    pub reason: Option<Reason>,
    /// What it is given of documents of earlier turns. `None` where the call was not planned.
    pub further: Option<Further>,
}

impl TurnRecord {
    /// Lists the turns of a reading, and what is planned for them.
    fn list(reading: &Reading<'_>, plan: Option<&Plan>) -> Vec<Self> {
        let planned = |turn: usize| plan.and_then(|plan| plan.turns.get(turn));
        let turns = reading.turns.iter().enumerate();
        turns
            .map(|(turn, read)| Self {
                turn,
                first_part: read.parts.start,
                parts: read.parts.len(),
                need: read.need,
                reason: planned(turn).map(|plan| plan.reason),
                further: planned(turn).map(|plan| plan.further),
            })
            .collect()
    }
}

/// The text of a site, for whoever shows what of it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteText {
    /// Who put the document where it stands.
    pub kind: SiteKind,
    /// Name of the tool that answered with it.
    pub tool: Option<String>,
    /// The document, unescaped.
    pub document: ByteString,
}

impl SiteText {
    /// Lists the sites of a reading in the order of the decision's, sharing the memory of `body` where that can be.
    fn list(reading: &Reading<'_>, body: &Bytes) -> Vec<Self> {
        let sites = reading.turns.iter().flat_map(|turn| &turn.sites);
        sites
            .map(|site| Self {
                kind: site.kind,
                tool: site.tool.clone(),
                document: site.text.share(body, site.document.clone()),
            })
            .collect()
    }
}

/// What was read and asked in a call and what was kept of its documents, as text: for the `local/extractive` provider
/// and for dry runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Evidence {
    /// The turns of the conversation.
    pub turns: Vec<TurnRecord>,
    /// All that is asked.
    pub asks: Vec<AskRecord>,
    /// The documents of the decision's sites, as they came. Whoever asks has them, so they are not serialised.
    #[serde(skip)]
    pub sites: Vec<SiteText>,
    /// The packs, in the order in which the model reads them.
    pub packs: Vec<PackText>,
}

impl Evidence {
    /// Starts the evidence of a call with what is known before a worker is asked.
    pub(super) fn new(reading: &Reading<'_>, plan: Option<&Plan>, body: &Bytes) -> Self {
        Self {
            turns: TurnRecord::list(reading, plan),
            asks: AskRecord::list(reading),
            sites: SiteText::list(reading, body),
            packs: Vec::new(),
        }
    }
}

/// A pack, or further excerpts of documents of earlier turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackText {
    /// The document's position among the call's sites.
    pub site: usize,
    /// The text exactly as it stands in the forwarded body, unescaped; empty for further excerpts of another turn,
    /// which stand together.
    pub text: String,
    /// The kept spans in source order.
    pub excerpts: Vec<Excerpt>,
}

/// One kept span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Excerpt {
    /// The first byte in the document.
    pub start: u64,
    /// The byte after the last one in the document.
    pub end: u64,
    /// The passage's score for what is asked: standard deviations above the document's mean.
    pub score: f32,
    /// The kind of passage.
    pub kind: SpanKind,
    /// The document's bytes from `start` to `end`.
    pub text: String,
}
