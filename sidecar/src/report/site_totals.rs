//! The documents of all calls, summed up by where they stood and what became of them.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::compress::{Action, SiteRecord};
use crate::reading::SiteKind;

/// Sums of documents of one kind that were treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SiteSum {
    /// Who put the documents where they stood.
    pub kind: SiteKind,
    /// What became of them.
    pub decision: Action,
    /// How many there were.
    pub documents: u64,
    /// Their estimated tokens as they came.
    pub tokens_before: u64,
    /// Estimated tokens of what went on in their place.
    pub tokens_after: u64,
}

/// Counters for every kind of site and every action.
#[derive(Debug, Default)]
pub(super) struct SiteTotals {
    counters: [Counters; SiteKind::ALL.len() * Action::ALL.len()],
}

#[derive(Debug, Default)]
struct Counters {
    documents: AtomicU64,
    tokens_before: AtomicU64,
    tokens_after: AtomicU64,
}

impl SiteTotals {
    /// Counts a document.
    pub(super) fn add(&self, site: &SiteRecord) {
        let at = keys().position(|key| key == (site.kind, site.action));
        let Some(counters) = at.and_then(|at| self.counters.get(at)) else {
            return;
        };
        for (counter, number) in [
            (&counters.documents, 1),
            (&counters.tokens_before, site.tokens_before),
            (&counters.tokens_after, site.tokens_after),
        ] {
            counter.fetch_add(number, Ordering::Relaxed);
        }
    }

    /// Lists the sums that are not empty.
    pub(super) fn sums(&self) -> Vec<SiteSum> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let sums = keys()
            .zip(&self.counters)
            .map(|((kind, decision), counters)| SiteSum {
                kind,
                decision,
                documents: read(&counters.documents),
                tokens_before: read(&counters.tokens_before),
                tokens_after: read(&counters.tokens_after),
            });
        sums.filter(|sum| sum.documents > 0).collect()
    }
}

/// Lists what documents are told apart by, in the order of the counters.
fn keys() -> impl Iterator<Item = (SiteKind, Action)> {
    SiteKind::ALL
        .into_iter()
        .flat_map(|kind| Action::ALL.map(|action| (kind, action)))
}
