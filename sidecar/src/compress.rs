//! From "here are the body bytes of an LLM call" to "here are the bytes to forward, and why": reads the body
//! (`request`, `reading`), decides (`policy`), asks the workers (`extract`), writes the packs (`pack`) and patches
//! the body.

mod additions;
mod build_outcome;
mod call;
mod dry_run;
mod finish;
mod further;
mod job;
mod outcome;
mod prepare;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytestring::ByteString;
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

pub use call::Call;
pub use dry_run::DryRun;
pub use outcome::{
    Action, AskRecord, Decision, Evidence, Excerpt, Outcome, PackText, PackedDocument, Rejection, SiteRecord,
    SiteText, Stages, TurnRecord,
};

use crate::api::Reason;
pub use crate::extract::{CallTotals, ReportOutcome, WorkerStatus};
use crate::extract::{Client, ExtractAnswer, ExtractError, Extraction, OnWorkerUnavailable, Query};
use crate::pack::{DocumentStore, Manifest, ManifestStore};
use crate::policy::History;
use crate::{extract, pack, policy};
use finish::{Found, finish};
use job::{Job, Search};
use prepare::{NextStep, prepare};

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
    documents: DocumentStore,
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
        let retrieval = &settings.policy.retrieval;
        let documents = DocumentStore::new(retrieval.store_bytes, Duration::from_secs(retrieval.store_ttl_s));
        Ok(Self {
            state: Arc::new(State {
                settings,
                history,
                store,
                documents,
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
            NextStep::Pass { reason, body } => decision.pass(reason, body, prepared.evidence),
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
    async fn extract(&self, job: Box<Job>, decision: &mut Decision) -> Outcome {
        let start = Instant::now();
        let found = self.find(&job, decision).await;
        decision.stages.extract_us = micros(start);
        let failure = found.iter().find_map(|found| found.as_ref().err());
        decision.worker_error = failure.map(ToString::to_string);
        if let Some(error) = failure
            && self.state.settings.extract.on_worker_unavailable == OnWorkerUnavailable::Reject
        {
            return decision.reject(
                Reason::from_extract_error(error),
                Rejection::from_extract_error(error),
            );
        }
        let start = Instant::now();
        let size = job.documents.iter().map(|document| document.text.len()).sum();
        let state = Arc::clone(&self.state);
        let (finished, job) = offload(size, move || {
            let finished = finish(&job, &found);
            if let Ok(packed) = &finished {
                state.remember(&packed.documents, &job);
            }
            (finished, job)
        })
        .await;
        decision.stages.pack_us = micros(start);
        match finished {
            Ok(packed) => decision.compressed(packed, &job, |manifest| self.state.store.put(manifest)),
            Err(unpacked) => decision.stay(unpacked, &job),
        }
    }

    /// Asks the workers about every turn at the same time: a turn's evidence depends on no later one.
    async fn find(&self, job: &Job, decision: &mut Decision) -> Vec<Found> {
        let searches = job.searches().map(|search| self.search(search));
        let answers = futures::future::join_all(searches).await;
        decision.stages.extract_cached = answers
            .iter()
            .all(|answer| answer.as_ref().is_ok_and(|found| found.cached));
        answers
            .into_iter()
            .map(|answer| answer.map(|found| found.extraction))
            .collect()
    }

    /// Asks the workers; once more, for half of the documents, where none of their models reads the question.
    async fn search(&self, search: &Search) -> Result<ExtractAnswer, ExtractError> {
        let answer = self.client.extract(search.query.clone()).await?;
        match &search.wider {
            Some(wider) if answer.extraction.other_language => self.client.extract(wider.clone()).await,
            _ => Ok(answer),
        }
    }

    /// Returns the manifest of a recent pack.
    pub fn manifest(&self, id: &str) -> Option<Arc<Manifest>> {
        self.state.store.get(id)
    }

    /// Returns the text of a document that was packed not long ago, where `policy.retrieval` is on.
    pub fn document(&self, sha256: &[u8; 32]) -> Option<ByteString> {
        self.state.documents.get(sha256)
    }

    /// Asks the workers about a document.
    ///
    /// # Errors
    /// [`ExtractError`] when no worker gave a usable answer in time.
    pub async fn ask(&self, query: Query) -> Result<Arc<Extraction>, ExtractError> {
        self.client.extract(query).await.map(|answer| answer.extraction)
    }

    /// Returns the client of the workers.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the workers as the sidecar sees them now.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        self.client.workers()
    }

    /// Reports to a worker what calls have come to.
    pub async fn report(&self, totals: CallTotals) -> ReportOutcome {
        self.client.report(totals).await
    }

    /// Returns the settings in force.
    pub fn settings(&self) -> &Settings {
        &self.state.settings
    }
}

impl State {
    /// Keeps the texts of packed documents for the model's way back.
    fn remember(&self, packed: &[PackedDocument], job: &Job) {
        for document in packed {
            let text = job.documents.iter().find(|one| one.sha256 == document.sha256);
            if let Some(text) = text.map(|one| &one.text) {
                self.documents.put(document.sha256, text);
            }
        }
    }
}

/// Runs `work` here, or on the blocking pool when `bytes` are many.
pub(crate) async fn offload<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> T {
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
