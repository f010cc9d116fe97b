//! From "here are the body bytes of an LLM call" to "here are the bytes to forward, and why": reads the body
//! (`request`), decides (`policy`), asks the workers (`extract`), writes the pack (`pack`) and patches the
//! body.

mod build_outcome;
mod call;
mod finish;
mod outcome;
mod prepare;
mod replay;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

pub use call::Call;
pub use outcome::{Action, Decision, Evidence, Excerpt, Outcome, Rejection, Stages};

use crate::api::Reason;
pub use crate::extract::WorkerStatus;
use crate::extract::{Client, ExtractAnswer, ExtractError, OnWorkerUnavailable};
use crate::pack::{Manifest, ManifestStore};
use crate::policy::{History, Turn, covers};
use crate::{extract, pack, policy};
use finish::finish;
use prepare::{Job, NextStep, prepare};
use replay::{ReplayError, replay};

/// Settings of the compressor: sections `[policy]`, `[extract]` and `[pack]`.
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
    /// Lists every value that cannot be used, in the three sections.
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

/// Bodies of more bytes are read and written on the blocking pool, so that they do not hold up other calls.
const LARGE: usize = 128 << 10;

/// Compresses calls. Cheap to clone; all clones share caches, connections and counters.
#[derive(Debug, Clone)]
pub struct Compressor {
    state: Arc<State>,
    client: Client,
}

/// The state that the stages share.
#[derive(Debug)]
struct State {
    settings: Settings,
    history: History,
    store: ManifestStore,
}

impl Compressor {
    /// Checks the settings and starts the background tasks (name lookup, health checks), which end with the
    /// last clone. Must be called inside a tokio runtime. Does not wait for any worker.
    ///
    /// # Errors
    /// [`StartError`] for the first setting that cannot be used. Nothing else: workers, DNS and TLS files may
    /// come later.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if let Some(invalid) = settings.validate().into_iter().next() {
            return Err(invalid.into());
        }
        let client = Client::start(settings.extract.clone());
        let history = History::new(&settings.policy.cached_prefix);
        let store = ManifestStore::new(&settings.pack);
        Ok(Self {
            state: Arc::new(State {
                settings,
                history,
                store,
            }),
            client,
        })
    }

    /// Decides about one call and carries the decision out. Never fails: what cannot be compressed is forwarded
    /// as it came, or refused where `on_worker_unavailable` says so.
    pub async fn compress(&self, call: Call) -> Outcome {
        let start = Instant::now();
        let (surface, size) = (call.surface, call.body.len());
        let state = Arc::clone(&self.state);
        let prepared = offload(size, move || prepare(&state, &call)).await;
        let mut decision = Decision::new(surface, &prepared);
        let outcome = match prepared.next {
            NextStep::Pass { reason, body } => decision.pass(reason, body),
            NextStep::Refuse(error) => {
                decision.reject(Reason::Unreadable, Rejection::from_request_error(&error))
            }
            NextStep::Withhold(reason) => decision.withhold(reason),
            // In a box: calls that pass do not carry what the others need.
            NextStep::Extract(job) => Box::pin(self.extract(job, &mut decision)).await,
        };
        outcome.timed(micros(start))
    }

    /// Asks the workers and packs what they find.
    async fn extract(&self, mut job: Box<Job>, decision: &mut Decision) -> Outcome {
        let start = Instant::now();
        let found = self.find(&mut job).await;
        decision.stages.extract_us = micros(start);
        let (extraction, reason) = match found {
            Ok(found) => {
                decision.stages.extract_cached = found.cached;
                let replayed = job.turn != Turn::Current;
                (
                    found.extraction,
                    if replayed { Reason::Replayed } else { job.reason },
                )
            }
            Err(ReplayError::Pass(reason)) => return decision.stay(reason, &job),
            Err(ReplayError::Failed(error)) => return self.without_worker(&job, &error, decision),
        };
        let start = Instant::now();
        let size = job.query.document.len();
        let work = move || (finish(&job, &extraction, reason), job);
        let (finished, job) = offload(size, work).await;
        decision.stages.pack_us = micros(start);
        match finished {
            Ok(packed) => {
                self.state.store.put(Arc::clone(&packed.manifest));
                decision.compressed(packed, reason)
            }
            Err(reason) => decision.stay(reason, &job),
        }
    }

    /// Finds the evidence for what is asked now, or what was found when it was asked before. A document of an
    /// earlier turn for which neither serves is covered where the policy says so.
    async fn find(&self, job: &mut Job) -> Result<ExtractAnswer, ReplayError> {
        if let Turn::Earlier { follow_up } = &job.turn {
            match replay(&self.client, &job.query, follow_up).await {
                Ok(extraction) => {
                    return Ok(ExtractAnswer {
                        extraction,
                        cached: true,
                    });
                }
                Err(ReplayError::Pass(reason)) if covers(reason, &job.settings) => job.cover(),
                Err(error) => return Err(error),
            }
        }
        let found = self.client.extract(job.query.clone()).await;
        found.map_err(ReplayError::Failed)
    }

    fn without_worker(&self, job: &Job, error: &ExtractError, decision: &mut Decision) -> Outcome {
        let reason = Reason::from_extract_error(error);
        decision.worker_error = Some(error.to_string());
        match self.state.settings.extract.on_worker_unavailable {
            OnWorkerUnavailable::Forward => decision.pass(reason, job.unchanged()),
            OnWorkerUnavailable::Reject => decision.reject(reason, Rejection::from_extract_error(error)),
        }
    }

    /// Returns the manifest of a recent pack.
    pub fn manifest(&self, id: &str) -> Option<Arc<Manifest>> {
        self.state.store.get(id)
    }

    /// Returns the workers as the sidecar sees them now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.client.workers()
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> &Settings {
        &self.state.settings
    }
}

/// Runs `work` here, or on the blocking pool when `bytes` are many.
async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
    if bytes < LARGE {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Returns the microseconds since `start`.
fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
