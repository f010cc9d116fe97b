//! The `x-liquid-*` response headers.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::api::header_names::{
    DECISION, ERROR, OVERHEAD_MS, PACK_ID, REASON, SITES, TOKENS_AFTER, TOKENS_BEFORE,
};
use crate::compress::{Action, Decision, SiteRecord};

const MAX_ERROR_BYTES: usize = 200;
/// More sites are not listed.
const MAX_SITES: usize = 16;

/// Writes the decision about a request into the headers of its answer.
pub fn write_decision(headers: &mut HeaderMap, decision: &Decision) {
    headers.insert(DECISION, HeaderValue::from_static(decision.action.as_str()));
    headers.insert(REASON, HeaderValue::from_static(decision.reason.as_str()));
    headers.insert(TOKENS_BEFORE, HeaderValue::from(decision.tokens_before));
    headers.insert(TOKENS_AFTER, HeaderValue::from(decision.tokens_after));
    let overhead = decision.stages.total_us;
    if let Ok(overhead) = HeaderValue::try_from(format!("{}.{:03}", overhead / 1000, overhead % 1000)) {
        headers.insert(OVERHEAD_MS, overhead);
    }
    if !decision.sites.is_empty() {
        insert(headers, SITES, &sites(&decision.sites));
    }
    if let Some(pack) = &decision.pack {
        insert(headers, PACK_ID, &pack.id);
    }
    if let Some(error) = &decision.worker_error {
        let visible = error
            .chars()
            .map(|char| if char.is_ascii_graphic() { char } else { ' ' });
        insert(headers, ERROR, &visible.take(MAX_ERROR_BYTES).collect::<String>());
    }
}

fn sites(sites: &[SiteRecord]) -> String {
    let listed = sites.iter().take(MAX_SITES).map(|site| {
        let SiteRecord {
            kind,
            action,
            reason,
            tokens_before,
            tokens_after,
            ..
        } = site;
        format!(
            "{} {} {reason} {tokens_before}/{tokens_after}",
            kind.as_str(),
            action.as_str()
        )
    });
    listed.collect::<Vec<_>>().join(", ")
}

/// Writes into an answer's headers what became of its request, which was not read.
pub fn write_unread(headers: &mut HeaderMap, action: Action, reason: &'static str) {
    headers.insert(DECISION, HeaderValue::from_static(action.as_str()));
    headers.insert(REASON, HeaderValue::from_static(reason));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value.trim()) {
        headers.insert(name, value);
    }
}
