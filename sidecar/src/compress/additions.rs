//! Writes what turns are given of documents that were packed before them, within what the conversation has saved.

use liquid_contract::Whole;

use super::finish::{Found, FurtherText, Writer};
use super::further::{Allowance, Missing, is_answered, take_best, within};
use super::job::{DocumentJob, FurtherJob, Search, TurnJob};
use crate::api::{Mode, Reason};
use crate::extract::Extraction;
use crate::pack::{self, Addition, KeptSpan};
use crate::policy::{self, HeldSize, tokens};

/// What a turn is given, by document.
struct Given {
    /// What no turn had before.
    new: Vec<Vec<KeptSpan>>,
    text: String,
}

/// What is missing of each document; nothing of one that stands whole.
type AllMissing<'d> = Vec<Option<Missing<'d>>>;

impl Writer<'_> {
    /// Writes what a turn is given of the documents that were packed before it.
    pub(super) fn add_further(&mut self, turn: &TurnJob, further: &FurtherJob, answer: Option<&Found>) {
        let job = self.job;
        let documents = job.documents.get(further.documents.clone()).unwrap_or_default();
        let packs = documents.iter().zip(&self.packs);
        let missing: AllMissing<'_> = packs
            .map(|(document, pack)| Some(Missing::new(&document.text, &pack.as_ref()?.held())))
            .collect();
        let given = match (&further.search, answer) {
            (Some(search), Some(Ok(extraction))) if self.may_choose(extraction) => {
                self.later += 1;
                self.excerpts(search, extraction, documents, &missing)
            }
            // All of it: asked for, or for want of a worker that could choose.
            _ if further.whole => whole(documents, &missing),
            _ => rest(documents, &missing),
        };
        let Some(Given { new, text }) = given else {
            return;
        };
        for (pack, new) in self.packs.iter_mut().zip(new) {
            if let Some(pack) = pack {
                pack.further.extend(new);
                pack.further.sort_by_key(|span| span.start);
            }
        }
        let tokens = tokens::estimate(&text);
        self.added += tokens;
        self.savings.replace(0, tokens);
        self.additions.push(FurtherText {
            spot: further.spot,
            text,
        });
        if turn.last {
            self.now = Some(self.now.unwrap_or(Reason::FollowUp));
        }
    }

    /// Returns whether excerpts are chosen by what was found: where no model of the workers reads what is asked, a turn is
    /// given all of the rest, unless that must not leave.
    fn may_choose(&self, extraction: &Extraction) -> bool {
        let settings = &self.job.settings;
        !extraction.other_language || settings.mode == Mode::Force || settings.whole == Whole::Refuse
    }

    /// Chooses what is new of the evidence: the best of it, as far as the policy lets a turn be given and the conversation
    /// stays cheaper than with whole documents. Where most of what is missing is asked for, all of it is given, and no later
    /// turn costs anything.
    fn excerpts(
        &self,
        search: &Search,
        extraction: &Extraction,
        documents: &[DocumentJob],
        missing: &AllMissing<'_>,
    ) -> Option<Given> {
        let ranges = search.within.iter();
        let found: Vec<_> = ranges.map(|range| within(&extraction.spans, range)).collect();
        if is_answered(&found, missing) {
            return None;
        }
        let spendable = self.spendable();
        let parts = of_each(missing, |at, missing| {
            missing.parts_of(found.get(at).map(Vec::as_slice).unwrap_or_default())
        });
        let all = missing.iter().flatten().flat_map(Missing::all);
        if 2 * length(parts.iter().flatten()) >= length(all)
            && let Some(rest) = rest(documents, missing)
            && tokens::estimate(&rest.text) as f64 <= spendable
        {
            return Some(rest);
        }
        let most = spendable.min(self.allowed(documents)) - FRAME;
        let allowance = Allowance {
            left: most,
            over: (most / EXCESS).min(spendable - FRAME - most).max(0.0),
        };
        let new = take_best(&parts, missing, allowance);
        let text = pack::write_further(&additions(documents, &new)?);
        Some(Given { new, text })
    }

    /// Returns the tokens that a turn may be given beside the packs and what turns before it were given.
    fn allowed(&self, documents: &[DocumentJob]) -> f64 {
        let mut size = HeldSize {
            documents: 0,
            held: self.added,
        };
        for (document, pack) in documents.iter().zip(&self.packs) {
            if let Some(pack) = pack {
                size.documents += document.tokens;
                size.held += pack.tokens;
            }
        }
        policy::further_tokens(size, self.later, &self.job.settings.budget)
    }

    /// Returns the tokens with which the conversation stays cheaper than with whole documents.
    fn spendable(&self) -> f64 {
        match self.job.settings.mode {
            Mode::Force => f64::INFINITY,
            Mode::Auto | Mode::Off => self.savings.spendable(),
        }
    }
}

/// A long passage may exceed what the policy allows by one part in so many.
const EXCESS: f64 = 4.0;

/// Tokens of the lines around further excerpts of one document.
const FRAME: f64 = 40.0;

/// Returns spans of each document, by its position; none of one that stands whole.
fn of_each(
    missing: &AllMissing<'_>,
    spans: impl Fn(usize, &Missing<'_>) -> Vec<KeptSpan>,
) -> Vec<Vec<KeptSpan>> {
    let documents = missing.iter().enumerate();
    documents
        .map(|(at, missing)| {
            missing
                .as_ref()
                .map_or_else(Vec::new, |missing| spans(at, missing))
        })
        .collect()
}

/// Gives all that is missing.
fn rest(documents: &[DocumentJob], missing: &AllMissing<'_>) -> Option<Given> {
    let new = of_each(missing, |_, missing| missing.all().to_vec());
    let text = pack::write_rest(&additions(documents, &new)?);
    Some(Given { new, text })
}

/// Gives the documents of which something is missing, from the first word to the last.
fn whole(documents: &[DocumentJob], missing: &AllMissing<'_>) -> Option<Given> {
    let new = of_each(missing, |_, missing| missing.all().to_vec());
    let all = documents
        .iter()
        .zip(&new)
        .map(|(document, new)| match new.as_slice() {
            [] => Vec::new(),
            _ => Missing::new(&document.text, &[]).all().to_vec(),
        });
    let all: Vec<Vec<KeptSpan>> = all.collect();
    let text = pack::write_further(&additions(documents, &all)?);
    Some(Given { new, text })
}

/// Lists the documents of which something is given; `None` without any.
fn additions<'d>(documents: &'d [DocumentJob], spans: &'d [Vec<KeptSpan>]) -> Option<Vec<Addition<'d>>> {
    let given = documents.iter().zip(spans).filter(|(_, spans)| !spans.is_empty());
    let additions: Vec<Addition<'d>> = given
        .map(|(document, spans)| Addition {
            document: &document.text,
            sha256: &document.sha256,
            spans,
        })
        .collect();
    (!additions.is_empty()).then_some(additions)
}

fn length<'s>(spans: impl Iterator<Item = &'s KeptSpan>) -> u64 {
    spans.map(|span| span.end - span.start).sum()
}
