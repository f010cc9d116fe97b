//! The answer to a dry run: what would have been sent, and why. For `?dry_run=1` and for `liquid-sidecar explain`.

use serde::Serialize;
use serde_json::value::RawValue;

use super::outcome::{Decision, Evidence, Outcome, Rejection};
use crate::pack::Manifest;

/// The account of a call of which nothing was sent. Serialises as what `?dry_run=1` answers with.
#[derive(Debug, Serialize)]
pub struct DryRun<'a> {
    object: &'static str,
    /// The decision: action, reason, tokens, sites and stages.
    decision: &'a Decision,
    /// Tokens before over tokens after.
    ratio: f64,
    /// The turns with their needs, what is asked, the packs and their spans; absent for a body that was not read.
    evidence: Option<&'a Evidence>,
    manifest: Option<&'a Manifest>,
    /// The body that would go to the upstream, if one would and it is JSON.
    request: Option<&'a RawValue>,
    /// The error that the caller would get instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<&'a Rejection>,
}

impl<'a> DryRun<'a> {
    /// Makes the account of an outcome.
    pub fn new(outcome: &'a Outcome) -> Self {
        let decision = outcome.decision();
        let (evidence, request, rejection) = match outcome {
            Outcome::Forward { body, evidence, .. } => {
                (evidence.as_deref(), serde_json::from_slice(body).ok(), None)
            }
            Outcome::Reject { rejection, .. } => (None, None, Some(rejection)),
        };
        Self {
            object: "liquid.dry_run",
            decision,
            ratio: decision.ratio(),
            evidence,
            manifest: decision.pack.as_deref(),
            request,
            rejection,
        }
    }
}
