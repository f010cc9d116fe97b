//! From "here are the body bytes of an LLM call" to "here are the bytes to forward, and why": reads the body
//! (`request`), decides (`policy`), asks the workers (`extract`), writes the pack (`pack`) and patches the body.

mod call;
mod outcome;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use call::{Call, Mode, OverrideError, Overrides, Surface, Tier};
pub use outcome::{Action, Decision, Evidence, Excerpt, Outcome, Reason, Rejection, Stages};

use crate::pack::Manifest;
use crate::settings::Invalid;
use crate::{extract, pack, policy};

/// Everything that the compressor needs to know: sections `[policy]`, `[extract]` and `[pack]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// When to compress, and how far.
    pub policy: policy::Settings,
    /// Where the workers are.
    pub extract: extract::Settings,
    /// How long manifests are kept.
    pub pack: pack::Settings,
}

impl Settings {
    /// Everything that is wrong, in the three sections.
    pub fn validate(&self) -> Vec<Invalid> {
        let policy = self
            .policy
            .validate()
            .into_iter()
            .map(|invalid| invalid.within("policy"));
        let extract = self
            .extract
            .validate()
            .into_iter()
            .map(|invalid| invalid.within("extract"));
        let pack = self
            .pack
            .validate()
            .into_iter()
            .map(|invalid| invalid.within("pack"));
        policy.chain(extract).chain(pack).collect()
    }
}

/// Why a compressor cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

/// Compresses calls. Cheap to clone; all clones share caches, connections and counters.
#[derive(Debug, Clone)]
pub struct Compressor {
    settings: Arc<Settings>,
}

impl Compressor {
    /// Checks the settings and starts the background tasks (name lookup, health checks), which end with the
    /// last clone. Must be called inside a tokio runtime. Does not wait for any worker.
    ///
    /// # Errors
    /// [`StartError`] for the first setting that cannot be used.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if let Some(invalid) = settings.validate().into_iter().next() {
            return Err(invalid.into());
        }
        Ok(Self {
            settings: Arc::new(settings),
        })
    }

    /// Decides about one call and carries the decision out. Never fails: what cannot be compressed is forwarded
    /// as it came, or refused where `on_worker_unavailable` says so.
    pub async fn compress(&self, call: Call) -> Outcome {
        let decision = Decision {
            action: Action::Passed,
            reason: Reason::ModeOff,
            surface: call.surface,
            model: None,
            stream: false,
            dry_run: call.dry_run,
            tokens_before: 0,
            tokens_after: 0,
            pack: None,
            stages: Stages::default(),
            worker_error: None,
        };
        Outcome::Forward {
            body: call.body,
            decision: Box::new(decision),
            evidence: None,
        }
    }

    /// The manifest of a recent pack.
    pub fn manifest(&self, _id: &str) -> Option<Arc<Manifest>> {
        None
    }

    /// The workers as the sidecar sees them now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        Vec::new()
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// One worker as the sidecar sees it: for metrics and `GET /liquid/stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerStatus {
    /// `address:port`.
    pub address: String,
    /// True if it is asked.
    pub healthy: bool,
    /// Calls of ours that it has not answered yet.
    pub in_flight: u32,
    /// Document tokens that wait or run there, as it last reported.
    pub tokens_in_flight: u64,
    /// Answers, and failures, since the start.
    pub answered: u64,
    /// Failures since the start.
    pub failed: u64,
}
