//! Usage: figures parsed from the workers' metrics, and added up over restarts. Pure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use liquid_contract::metrics::{
    CALL_TOKENS_AFTER, CALL_TOKENS_BEFORE, CALLS, DOCUMENT_TOKENS, DOCUMENTS, KEPT_TOKENS,
};

use crate::api::status::{Figures, TokenCounts, Usage, WorkerUsage, compute_percent};
use crate::samples;

#[cfg(test)]
mod tests;

/// Parses the figures in a worker's metrics, summed up over all labels. Other metrics are ignored.
pub fn parse_figures(metrics: &str) -> Figures {
    let mut figures = Figures::default();
    for sample in samples::parse(metrics) {
        let name = sample.name;
        let counter = match name {
            _ if name == CALLS.sample => &mut figures.calls,
            _ if name == CALL_TOKENS_BEFORE.sample => &mut figures.call_tokens_before,
            _ if name == CALL_TOKENS_AFTER.sample => &mut figures.call_tokens_after,
            _ if name == DOCUMENTS.sample => &mut figures.documents,
            _ if name == DOCUMENT_TOKENS.sample => &mut figures.tokens_in,
            _ if name == KEPT_TOKENS.sample => &mut figures.tokens_out,
            _ => continue,
        };
        *counter = counter.saturating_add(sample.number().unwrap_or_default());
    }
    figures
}

/// Adds a reading to the usage of the last status.
///
/// `present` lists the pods that exist, `read` the figures of those that answered. A pod that is gone, or whose
/// counters went back because its container was restarted, keeps its part in `gone`.
pub(super) fn add_reading(
    old: Option<&Usage>,
    present: &[&str],
    read: &BTreeMap<String, Figures>,
    now: Time,
) -> Usage {
    let mut usage = old.cloned().unwrap_or_default();
    let known = std::mem::take(&mut usage.workers);
    let mut workers = BTreeMap::new();
    for worker in known {
        let now = read.get(&worker.pod);
        let restarted = now.is_some_and(|now| has_gone_back(worker.figures, *now));
        if restarted || !present.contains(&worker.pod.as_str()) {
            usage.gone = sum(usage.gone, worker.figures);
        } else {
            workers.insert(worker.pod, worker.figures);
        }
    }
    workers.extend(read.iter().map(|(pod, figures)| (pod.clone(), *figures)));
    let total = workers
        .values()
        .fold(usage.gone, |total, figures| sum(total, *figures));
    let changed = total != usage.total;
    usage.total = total;
    let TokenCounts { before, after } = total.token_counts();
    usage.tokens_saved = before.saturating_sub(after);
    usage.saved = compute_percent(usage.tokens_saved, before).map(|percent| format!("{percent}%"));
    if changed || usage.changed_at.is_none() {
        usage.changed_at = Some(now);
    }
    usage.workers = workers
        .into_iter()
        .map(|(pod, figures)| WorkerUsage { pod, figures })
        .collect();
    usage
}

/// Lists the counters.
fn list(figures: Figures) -> [i64; 6] {
    let Figures {
        calls,
        call_tokens_before,
        call_tokens_after,
        documents,
        tokens_in,
        tokens_out,
    } = figures;
    [
        calls,
        call_tokens_before,
        call_tokens_after,
        documents,
        tokens_in,
        tokens_out,
    ]
}

fn has_gone_back(before: Figures, now: Figures) -> bool {
    let (before, now) = (list(before), list(now));
    before.iter().zip(now).any(|(before, now)| now < *before)
}

fn sum(a: Figures, b: Figures) -> Figures {
    Figures {
        calls: a.calls.saturating_add(b.calls),
        call_tokens_before: a.call_tokens_before.saturating_add(b.call_tokens_before),
        call_tokens_after: a.call_tokens_after.saturating_add(b.call_tokens_after),
        documents: a.documents.saturating_add(b.documents),
        tokens_in: a.tokens_in.saturating_add(b.tokens_in),
        tokens_out: a.tokens_out.saturating_add(b.tokens_out),
    }
}
