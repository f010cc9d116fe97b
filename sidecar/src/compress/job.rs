//! A call on its way to the workers and back: its documents, what is asked of them, and the places in the body where
//! packs will stand.

use std::ops::Range;

use bytes::Bytes;
use bytestring::ByteString;
use liquid_contract::{PackStyle, Tier};
use sha2::{Digest, Sha256};

use super::outcome::{Evidence, SiteRecord};
use crate::api::Reason;
use crate::extract::{Asked, Budget, Query, TextLength};
use crate::policy::{self, Further, Plan, TurnPlan};
use crate::reading::{Ask, Reading, Turn};
use crate::request::{Request, SpotError, Template};

/// A call that workers are asked about.
pub(super) struct Job {
    /// The documents that are packed, in the order in which the model reads them.
    pub(super) documents: Vec<DocumentJob>,
    /// The turns in which anything is packed or added, in order.
    pub(super) turns: Vec<TurnJob>,
    /// The tokens of the prompt at each turn of the conversation, as the application sends it.
    pub(super) prompts: Vec<u64>,
    /// The body, cut where packs will stand.
    pub(super) template: Template,
    pub(super) settings: policy::Settings,
    /// What the packs are made of.
    pub(super) style: PackStyle,
    /// All sites of the call, the packed ones among them.
    pub(super) sites: Vec<SiteRecord>,
    /// What was read, where texts are wanted beside the body.
    pub(super) evidence: Option<Evidence>,
}

/// A document that is to be packed.
pub(super) struct DocumentJob {
    /// Its position among the call's sites.
    pub(super) site: usize,
    /// Its spot in the template.
    pub(super) spot: usize,
    pub(super) text: ByteString,
    pub(super) sha256: [u8; 32],
    /// Where it begins in the text that the application sent.
    pub(super) start: u64,
    pub(super) tokens: u64,
    /// It is kept whole or left out whole.
    pub(super) passage: bool,
}

/// What is to be done in a turn.
pub(super) struct TurnJob {
    /// Its position among the conversation's turns.
    pub(super) at: usize,
    /// Whether it is the last turn, in which the user speaks now.
    pub(super) last: bool,
    pub(super) reason: Reason,
    /// What is looked for in its own documents.
    pub(super) own: Option<Search>,
    pub(super) further: Option<FurtherJob>,
}

/// What is added to a turn of documents of earlier ones.
pub(super) struct FurtherJob {
    /// The spot before the user's words.
    pub(super) spot: usize,
    /// What is looked for in them; without it all that their packs lack is added.
    pub(super) search: Option<Search>,
    /// They are added from the first word to the last, what their packs hold included.
    pub(super) whole: bool,
    /// The documents, by position.
    pub(super) documents: Range<usize>,
}

/// A question to the workers, and where the job's documents stand in the query's document.
pub(super) struct Search {
    pub(super) query: Query,
    /// What is asked instead where no model of the workers reads the question.
    pub(super) wider: Option<Query>,
    /// The first of its documents; the others follow.
    pub(super) first: usize,
    /// The bytes of the query's document that each of them is.
    pub(super) within: Vec<Range<u64>>,
}

/// A later question is searched for with the budget of a first one, divided by this. What the call lacks of what is
/// found is more than it may be given where little is there: the best of it is chosen.
const LATER: f64 = 1.25;

/// What stands between two texts of a query.
const BETWEEN: &str = "\n\n";

/// What a job is made of.
pub(super) struct Draft<'c, 'a> {
    pub(super) request: &'c Request<'a>,
    pub(super) reading: &'c Reading<'a>,
    pub(super) plan: &'c Plan,
    pub(super) settings: policy::Settings,
    pub(super) style: PackStyle,
    pub(super) body: &'c Bytes,
    pub(super) request_id: &'c str,
    /// All sites of the call, none of them packed yet.
    pub(super) sites: Vec<SiteRecord>,
    /// SHA-256 of the first document, where it is known.
    pub(super) priced: Option<[u8; 32]>,
    /// The tokens of the prompt at each turn.
    pub(super) prompts: Vec<u64>,
    pub(super) evidence: Option<Evidence>,
}

impl Draft<'_, '_> {
    /// Makes the job of a plan that packs something.
    ///
    /// # Errors
    /// [`SpotError`] if a site is no place of its own in the body: a bug of the reading.
    pub(super) fn job(self) -> Result<Job, SpotError> {
        let (mut documents, mut turns, mut spots) = (Vec::new(), Vec::new(), Vec::new());
        let mut site = 0;
        for (at, (turn, plan)) in self.reading.turns.iter().zip(&self.plan.turns).enumerate() {
            let first = documents.len();
            let further = turn
                .words
                .as_ref()
                .filter(|_| plan.further != Further::Nothing && first > 0);
            for (site_text, planned) in turn.sites.iter().zip(&plan.sites) {
                if planned.stays.is_none() {
                    spots.push(site_text.text.locate(site_text.document.clone()));
                    let known = self.priced.filter(|_| documents.is_empty());
                    let text = site_text.text.share(self.body, site_text.document.clone());
                    documents.push(DocumentJob {
                        site,
                        spot: spots.len() - 1,
                        sha256: known.unwrap_or_else(|| Sha256::digest(&*text).into()),
                        text,
                        start: site_text.document.start as u64,
                        tokens: planned.tokens,
                        passage: site_text.passage,
                    });
                }
                site += 1;
            }
            let own = self.own_search(turn, plan, &documents, first);
            let further = further.map(|words| {
                spots.push(words.text.locate(words.start..words.start));
                FurtherJob {
                    spot: spots.len() - 1,
                    whole: plan.further == Further::Whole,
                    search: (plan.further == Further::Excerpts)
                        .then(|| self.further_search(turn, plan, &documents, first)),
                    documents: 0..first,
                }
            });
            if own.is_some() || further.is_some() {
                turns.push(TurnJob {
                    at,
                    last: at + 1 == self.reading.turns.len(),
                    reason: plan.reason,
                    own,
                    further,
                });
            }
        }
        let said = said(self.body, &documents, spots.len());
        Ok(Job {
            template: Template::new(self.request, self.body, spots)?.without_body(&said),
            documents,
            turns,
            prompts: self.prompts,
            sites: self.sites,
            evidence: self.evidence,
            settings: self.settings,
            style: self.style,
        })
    }

    /// Asks about a turn's own documents: those from `first` on.
    fn own_search(
        &self,
        turn: &Turn<'_>,
        plan: &TurnPlan,
        documents: &[DocumentJob],
        first: usize,
    ) -> Option<Search> {
        let asks = match plan.reason {
            Reason::Coverage => Vec::new(),
            _ => asked(&turn.asks, false),
        };
        let range = first..documents.len();
        // Where nothing is asked, no fact answers.
        let tier = match self.style.has_facts() && !asks.is_empty() {
            true => Some(Tier::Decoder),
            false => self.settings.tier,
        };
        (!range.is_empty()).then(|| {
            let search = self.search(documents, range, asks, Budget::from(&plan.budget), tier);
            Search {
                wider: search.query.widened(),
                ..search
            }
        })
    }

    fn further_search(
        &self,
        turn: &Turn<'_>,
        plan: &TurnPlan,
        documents: &[DocumentJob],
        end: usize,
    ) -> Search {
        let tokens = documents.iter().map(|document| document.tokens).sum();
        let least = policy::expected_ratio(&plan.budget, tokens) * LATER;
        let further = self.settings.budget.further_ratio;
        let budget = Budget::Auto {
            floor: self.settings.budget.floor,
            min_ratio: least.clamp(1.0, further),
            max_ratio: further,
        };
        self.search(
            documents,
            0..end,
            asked(&turn.asks, true),
            budget,
            self.settings.tier,
        )
    }

    /// Asks about some of the documents, as one document of several texts.
    fn search(
        &self,
        all: &[DocumentJob],
        range: Range<usize>,
        asks: Vec<Asked>,
        budget: Budget,
        tier: Option<Tier>,
    ) -> Search {
        let documents = all.get(range.clone()).unwrap_or_default();
        let (mut within, mut texts, mut at) = (Vec::new(), Vec::new(), 0);
        for (number, document) in documents.iter().enumerate() {
            let length = document.text.len() as u64;
            within.push(at..at + length);
            let between = if number + 1 < documents.len() {
                BETWEEN.len() as u64
            } else {
                0
            };
            texts.push(TextLength {
                bytes: length + between,
                whole: document.passage,
            });
            at += length + between;
        }
        let (document, document_sha256) = match documents {
            [one] => (one.text.clone(), one.sha256),
            several => {
                let joined: Vec<&str> = several.iter().map(|one| &*one.text).collect();
                let joined = ByteString::from(joined.join(BETWEEN));
                let sha256 = Sha256::digest(&*joined).into();
                (joined, sha256)
            }
        };
        if texts.len() == 1 {
            texts.clear();
        }
        let query = Query {
            document,
            document_sha256,
            texts,
            asks,
            budget,
            tier,
            request_id: self.request_id.to_owned(),
        };
        Search {
            query,
            wider: None,
            first: range.start,
            within,
        }
    }
}

/// Lists what the spots say where that is held beside the body, because something in it was escaped.
fn said(body: &Bytes, documents: &[DocumentJob], spots: usize) -> Vec<Option<ByteString>> {
    let mut said = vec![None; spots];
    let held = body.as_ptr_range();
    for document in documents
        .iter()
        .filter(|document| !held.contains(&document.text.as_ptr()))
    {
        if let Some(spot) = said.get_mut(document.spot) {
            *spot = Some(document.text.clone());
        }
    }
    said
}

/// An ask of less than this share of the weightiest one's weight is not asked: an announcement, a template's order. It
/// would take the first places of its own.
const NEGLIGIBLE: f32 = 0.35;

/// Returns what a worker is asked: all asks of a turn, or those that its user says, where it has any.
fn asked(asks: &[Ask], said: bool) -> Vec<Asked> {
    let any = said && asks.iter().any(|ask| ask.source.is_said_now());
    let least = NEGLIGIBLE * asks.iter().map(|ask| ask.weight).fold(0.0, f32::max);
    asks.iter()
        .filter(|ask| ask.weight >= least && (!any || ask.source.is_said_now()))
        .map(|ask| Asked {
            text: ask.text.clone(),
            weight: ask.weight,
        })
        .collect()
}

impl Job {
    /// Lists the searches of all turns, in order.
    pub(super) fn searches(&self) -> impl Iterator<Item = &Search> {
        self.turns.iter().flat_map(|turn| {
            let further = turn.further.as_ref().and_then(|further| further.search.as_ref());
            turn.own.iter().chain(further)
        })
    }

    /// Returns the documents that a search is about.
    pub(super) fn documents_of(&self, search: &Search) -> &[DocumentJob] {
        let range = search.first..search.first + search.within.len();
        self.documents.get(range).unwrap_or_default()
    }
}
