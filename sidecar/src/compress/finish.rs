//! The second half of the pipeline, with the evidence at hand: writes the packs, weighs them, and puts them into
//! the body.

use std::ops::Range;
use std::sync::Arc;

use base16ct::lower::encode_string;
use bytes::Bytes;
use liquid_contract::PackStyle;
use sha2::{Digest, Sha256};

use super::further::within;
use super::job::{DocumentJob, Job, Search, TurnJob};
use super::outcome::{Action, Evidence, Excerpt, PackText, PackedDocument, SiteRecord};
use crate::api::{Mode, Reason};
use crate::extract::{ExtractError, Extraction};
use crate::pack::{self, Fact, FactRecord, KeptSpan, Manifest, PackRecord, PackSize, SourceDocument};
use crate::policy::cost::Savings;
use crate::policy::{self, TextSize, tokens};

/// A body with packs in it.
pub(super) struct PackedBody {
    pub(super) body: Bytes,
    pub(super) reason: Reason,
    pub(super) manifest: Arc<Manifest>,
    pub(super) evidence: Option<Arc<Evidence>>,
    /// What a model may ask for; none where `policy.retrieval` is off.
    pub(super) documents: Vec<PackedDocument>,
    /// All sites of the call, with what became of them.
    pub(super) sites: Vec<SiteRecord>,
    /// Tokens that later turns were given further.
    pub(super) added: u64,
}

/// Why nothing is packed, and the sites with what became of them.
pub(super) struct Unpacked {
    pub(super) reason: Reason,
    pub(super) sites: Vec<SiteRecord>,
}

/// An answer to a search.
pub(super) type Found = Result<Arc<Extraction>, ExtractError>;

/// What was found in one document of a search.
struct Findings {
    spans: Vec<KeptSpan>,
    facts: Vec<Fact>,
}

impl Findings {
    /// Takes what lies in a range of the query's document, counted from the range's first byte.
    fn of(extraction: &Extraction, range: &Range<u64>) -> Self {
        let inside = |fact: &&Fact| fact.start >= range.start && fact.end <= range.end;
        let facts = extraction.facts.iter().filter(inside).map(|fact| Fact {
            start: fact.start - range.start,
            end: fact.end - range.start,
            ..fact.clone()
        });
        Self {
            spans: within(&extraction.spans, range),
            facts: facts.collect(),
        }
    }
}

/// A document whose text stays or goes.
enum Draft {
    /// It stays whole.
    Whole,
    /// A text for its place.
    Text {
        text: String,
        tokens: u64,
        kept: Vec<KeptSpan>,
        facts: Vec<FactRecord>,
    },
}

/// A pack that stands in a document's place.
pub(super) struct Pack {
    text: String,
    pub(super) tokens: u64,
    kept: Vec<KeptSpan>,
    facts: Vec<FactRecord>,
    /// What later turns were given further, in source order.
    pub(super) further: Vec<KeptSpan>,
    reason: Reason,
    question_sha256: String,
    extraction: Arc<Extraction>,
}

/// What turns are given, and the spot in which it stands.
pub(super) struct FurtherText {
    pub(super) spot: usize,
    pub(super) text: String,
}

/// The texts of a call while they are written.
pub(super) struct Writer<'j> {
    pub(super) job: &'j Job,
    /// A pack for each document that does not stay whole.
    pub(super) packs: Vec<Option<Pack>>,
    /// What turns are given of documents of earlier ones.
    pub(super) additions: Vec<FurtherText>,
    sites: Vec<SiteRecord>,
    /// What the last turn was given.
    pub(super) now: Option<Reason>,
    pub(super) added: u64,
    /// Later questions so far that were searched for.
    pub(super) later: u32,
    /// What the conversation has saved, up to the turn that is written.
    pub(super) savings: Savings,
}

/// Packs the evidence. `found` has an answer for each of the job's searches, in their order.
///
/// # Errors
/// [`Unpacked`] if that would not save enough, or where no worker gave an answer.
pub(super) fn finish(job: &Job, found: &[Found]) -> Result<PackedBody, Unpacked> {
    let mut writer = Writer {
        job,
        packs: job.documents.iter().map(|_| None).collect(),
        additions: Vec::new(),
        sites: job.sites.clone(),
        now: None,
        added: 0,
        later: 0,
        savings: Savings::new((&job.settings.cached_prefix).into()),
    };
    let (mut answers, mut begun) = (found.iter(), 0);
    for turn in &job.turns {
        let prompts = job.prompts.get(begun..=turn.at).unwrap_or_default();
        prompts
            .iter()
            .for_each(|prompt| writer.savings.begin_turn(*prompt));
        begun = turn.at + 1;
        if let Some(search) = &turn.own
            && let Some(answer) = answers.next()
        {
            writer.pack_turn(turn, search, answer);
        }
        if let Some(further) = &turn.further {
            let answer = further.search.as_ref().and_then(|_| answers.next());
            writer.add_further(turn, further, answer);
        }
    }
    writer.finish()
}

impl Writer<'_> {
    /// Writes the packs of a turn's own documents.
    fn pack_turn(&mut self, turn: &TurnJob, search: &Search, answer: &Found) {
        let documents = self.job.documents_of(search);
        let extraction = match answer {
            Ok(extraction) => extraction,
            Err(error) => return self.stay(documents, Reason::from_extract_error(error)),
        };
        if let Some(reason) = self.reason_to_stay(extraction) {
            return self.stay(documents, reason);
        }
        let alone = documents.len() == 1;
        let parts = documents.iter().zip(&search.within);
        let drafts: Vec<Draft> = parts
            .map(|(document, range)| self.draft(document, Findings::of(extraction, range), alone))
            .collect();
        if !self.saves_enough(documents, &drafts) {
            return self.stay(documents, Reason::NotSmaller);
        }
        let question = search.query.question();
        let question_sha256 = match question.as_str() {
            "" => String::new(),
            question => encode_string(&Sha256::digest(question)),
        };
        for (at, (document, draft)) in documents.iter().zip(drafts).enumerate() {
            let Draft::Text {
                text,
                tokens,
                kept,
                facts,
            } = draft
            else {
                continue;
            };
            let pack = Pack {
                text,
                tokens,
                kept,
                facts,
                further: Vec::new(),
                reason: turn.reason,
                question_sha256: question_sha256.clone(),
                extraction: Arc::clone(extraction),
            };
            self.savings.replace(document.tokens, pack.tokens);
            if let Some(site) = self.sites.get_mut(document.site) {
                (site.action, site.tokens_after) = (Action::Compressed, pack.tokens);
            }
            if let Some(place) = self.packs.get_mut(search.first + at) {
                *place = Some(pack);
            }
            if turn.last {
                self.now = Some(turn.reason);
            }
        }
    }

    /// Returns why what was found cannot stand for its documents.
    fn reason_to_stay(&self, extraction: &Extraction) -> Option<Reason> {
        let misses = extraction.below_floor && self.job.settings.mode != Mode::Force;
        misses.then_some(Reason::BelowFloor)
    }

    /// Notes why documents stay whole.
    fn stay(&mut self, documents: &[DocumentJob], reason: Reason) {
        for document in documents {
            if let Some(site) = self.sites.get_mut(document.site) {
                site.reason = reason;
            }
        }
    }

    /// Writes what is to stand in a document's place. `alone` is a document beside no other.
    fn draft(&self, document: &DocumentJob, found: Findings, alone: bool) -> Draft {
        let Findings { spans, facts } = found;
        // A passage that somebody else cut out is kept whole or left out whole.
        let style = match document.passage {
            true => PackStyle::Quotes,
            false => self.job.style,
        };
        let facts = if style.has_facts() { facts } else { Vec::new() };
        let kept = pack::keep(style, spans, &facts);
        let bytes: u64 = kept.iter().map(|span| span.end - span.start).sum();
        let share = bytes as f64 / (document.text.len() as f64).max(1.0);
        let settings = &self.job.settings;
        let most = match settings.mode {
            // Half of what must be saved leaves room for passages that are dearer than the rest.
            _ if alone => 1.0 - settings.min_saving / 2.0,
            _ => NEARLY_ALL,
        };
        if share >= 1.0 || (settings.mode != Mode::Force && share > most) || (alone && kept.is_empty()) {
            return Draft::Whole;
        }
        let text = if kept.is_empty() {
            pack::write_left_out(&document.text, &document.sha256)
        } else {
            pack::write_with_facts(&document.text, &document.sha256, &kept, &facts)
        };
        if text.len() >= document.text.len() {
            return Draft::Whole;
        }
        Draft::Text {
            tokens: tokens::estimate(&text),
            text,
            kept,
            facts: facts.iter().map(Fact::record).collect(),
        }
    }

    /// Weighs the packs of a turn against its documents.
    fn saves_enough(&self, documents: &[DocumentJob], drafts: &[Draft]) -> bool {
        let mut before = TextSize { tokens: 0, bytes: 0 };
        let mut after = before;
        for (document, draft) in documents.iter().zip(drafts) {
            let whole = TextSize {
                tokens: document.tokens,
                bytes: document.text.len(),
            };
            before += whole;
            after += match draft {
                Draft::Whole => whole,
                Draft::Text { text, tokens, .. } => TextSize {
                    tokens: *tokens,
                    bytes: text.len(),
                },
            };
        }
        policy::accept(before, after, &self.job.settings)
    }

    fn finish(self) -> Result<PackedBody, Unpacked> {
        if self.packs.iter().all(Option::is_none) {
            let reasons = self
                .job
                .documents
                .iter()
                .filter_map(|document| self.sites.get(document.site));
            let longest = reasons.max_by_key(|site| site.tokens_before);
            return Err(Unpacked {
                reason: longest.map_or(Reason::NotSmaller, |site| site.reason),
                sites: self.sites,
            });
        }
        let body = self.job.template.with(&self.texts());
        let reason = self.now.unwrap_or(Reason::Replayed);
        let evidence = self.job.evidence.as_ref();
        let evidence = evidence.map(|read| Arc::new(self.evidence(read)));
        Ok(PackedBody {
            body,
            reason,
            manifest: Arc::new(self.manifest(reason)),
            evidence,
            documents: self.documents(),
            added: self.added,
            sites: self.sites,
        })
    }

    /// Returns a text for each spot of the template: packs in documents' places, and what turns are given further.
    fn texts(&self) -> Vec<Option<&str>> {
        let mut texts = vec![None; self.job.template.spots()];
        let packs = self.packed().map(|(document, pack)| (document.spot, &*pack.text));
        let further = self
            .additions
            .iter()
            .map(|further| (further.spot, &*further.text));
        for (spot, text) in packs.chain(further) {
            if let Some(place) = texts.get_mut(spot) {
                *place = Some(text);
            }
        }
        texts
    }

    /// Lists the documents that are packed, and their packs.
    fn packed(&self) -> impl Iterator<Item = (&DocumentJob, &Pack)> {
        let documents = self.job.documents.iter().zip(&self.packs);
        documents.filter_map(|(document, pack)| Some((document, pack.as_ref()?)))
    }

    /// Lists what a model may ask for: a document that stands in the call twice once.
    fn documents(&self) -> Vec<PackedDocument> {
        let mut documents: Vec<PackedDocument> = Vec::new();
        if !self.job.settings.retrieval.enabled {
            return documents;
        }
        for (document, _) in self.packed() {
            if documents.iter().all(|known| known.sha256 != document.sha256) {
                documents.push(PackedDocument {
                    name: pack::name(&document.text, &document.sha256),
                    sha256: document.sha256,
                });
            }
        }
        documents
    }

    fn manifest(&self, reason: Reason) -> Manifest {
        let mut id = Sha256::new();
        let mut packs = Vec::new();
        for (document, pack) in self.packed() {
            let record = pack.record(document);
            id.update(&record.source.sha256);
            id.update(&record.question_sha256);
            id.update(&record.pack.sha256);
            record
                .further
                .iter()
                .for_each(|span| id.update(span.start.to_le_bytes()));
            packs.push(record);
        }
        Manifest {
            id: format!("pk_{}", encode_string(&id.finalize()[..12])),
            reason: reason.as_str().to_owned(),
            packs,
        }
    }

    fn evidence(&self, read: &Evidence) -> Evidence {
        let packs = self.packed().map(|(document, pack)| {
            let mut spans = pack.held();
            spans.sort_by_key(|span| span.start);
            PackText {
                site: document.site,
                text: pack.text.clone(),
                excerpts: spans
                    .iter()
                    .filter_map(|span| excerpt(&document.text, span))
                    .collect(),
            }
        });
        Evidence {
            packs: packs.collect(),
            ..read.clone()
        }
    }
}

/// Beside other documents, one of which more is kept stays whole.
const NEARLY_ALL: f64 = 0.9;

impl Pack {
    /// Returns all spans of the document that the call holds.
    pub(super) fn held(&self) -> Vec<KeptSpan> {
        [self.kept.as_slice(), &self.further].concat()
    }

    fn record(&self, document: &DocumentJob) -> PackRecord {
        let bytes = document.text.len() as u64;
        let extraction = &self.extraction;
        PackRecord {
            site: document.site,
            source: SourceDocument {
                sha256: encode_string(&document.sha256),
                start: document.start,
                bytes,
                tokens: document.tokens,
            },
            question_sha256: self.question_sha256.clone(),
            pack: PackSize {
                sha256: encode_string(&Sha256::digest(&self.text)),
                bytes: self.text.len() as u64,
                tokens: self.tokens,
                kept_bytes: self.kept.iter().map(|span| span.end - span.start).sum(),
            },
            kept: self.kept.clone(),
            dropped: pack::dropped(&self.kept, bytes),
            further: self.further.clone(),
            facts: self.facts.clone(),
            facts_dropped: extraction.facts_dropped,
            reason: self.reason.as_str().to_owned(),
            tier: extraction.tier.to_owned(),
            tier_reason: extraction.tier_reason.clone(),
            estimated_recall: extraction.estimated_recall,
            worker: extraction.worker.clone(),
            timing: extraction.timing,
        }
    }
}

fn excerpt(document: &str, span: &KeptSpan) -> Option<Excerpt> {
    let range: Range<usize> = span.start as usize..span.end as usize;
    Some(Excerpt {
        start: span.start,
        end: span.end,
        score: span.score,
        kind: span.kind,
        text: document.get(range)?.to_owned(),
    })
}
