//! Between the server and the engines: who runs when, on what, and what is remembered.
//!
//! A job goes cache, single flight, queue, then a thread of the blocking pool that runs the engine. Cheap tiers
//! and those that run a model have slots of their own, so that neither waits for the other's. Where the engine needs
//! the forward pass it sends windows to the one thread that owns the device. Everything is bounded: jobs that
//! wait, bytes of documents, windows before the device, answers and hidden states kept.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use liquid_process::flight::{SingleFlight, Waiter};
use liquid_process::{Lru, lock};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Config};
use crate::engine::{
    self, Asks, AutoBudget, Budget, ExtractError, Extraction, Extractor, Facts, Memory, Request, Settings,
    Texts, Tier, TierChoice, TierReason,
};
use crate::model::{LoadError, ModelCard, Models};

mod admission;
mod decoder;
mod device;
mod facts;
mod models;
mod progress;

pub use admission::{Load, Reservation};
pub use decoder::{Decoder, DecoderError};
pub use progress::{LoadPhase, LoadProgress};

use admission::{Admission, Class, Slot};
use models::SharedModel;
pub(crate) use models::verify_signatures;

/// Share of the time left that a request may wait for a slot of the encoder before a cheaper tier takes it.
const WAIT_FOR_ENCODER: f64 = 0.5;

/// Bytes that a remembered answer takes beside its spans, its asks and its texts, about.
const ENTRY_BYTES: usize = 256;

/// An extraction to run: a request whose document has arrived.
#[derive(Debug)]
pub struct Job {
    /// Text of the document.
    pub document: String,
    /// SHA-256 of the document.
    pub sha256: [u8; 32],
    /// The texts that the document is made of.
    pub texts: Texts,
    /// All that is asked; nothing means coverage.
    pub asks: Asks,
    /// Budget for what is kept.
    pub budget: Budget,
    /// The tier that is asked for.
    pub tier: Option<Tier>,
    /// Latest time for the answer.
    pub deadline: Option<Instant>,
    /// The document's bytes, held against `limits.max_buffered_bytes`.
    pub reservation: Reservation,
}

/// The answer to a job.
#[derive(Clone, Debug)]
pub struct JobAnswer {
    /// The evidence, and what finding it took.
    pub extraction: Arc<Extraction>,
    /// Time that the job waited in the queue.
    pub queue: Duration,
    /// True if the answer came from the cache.
    pub cached: bool,
    /// True if more time, or a working encoder, might have found more; such an answer is not cached.
    pub provisional: bool,
}

/// Why a job has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// Too many jobs wait, or their documents are too long together.
    #[error("the worker is busy: {what}; try again in {} ms, or another worker", .retry_after.as_millis())]
    Busy {
        /// The limit that is reached.
        what: &'static str,
        /// Time after which another try is worth it.
        retry_after: Duration,
    },
    /// The deadline passed before the answer was there.
    #[error("the deadline passed before the answer was there")]
    DeadlineExceeded,
    /// All callers that waited for the answer have gone.
    #[error("the request was cancelled")]
    Cancelled,
    /// The worker failed.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<ExtractError> for JobError {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Cancelled => Self::Cancelled,
            ExtractError::DeadlineExceeded => Self::DeadlineExceeded,
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Why the runtime cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The encoder or the ranker cannot be loaded.
    #[error(transparent)]
    Model(#[from] LoadError),
    /// The decoder cannot be loaded.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
}

/// The identity of a job: two jobs with one key have the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct JobKey {
    document: [u8; 32],
    texts: Texts,
    asks: Asks,
    budget: Budget,
    tier: Option<Tier>,
}

type JobResult = Result<JobAnswer, JobError>;

/// The queue, the caches and the device behind all requests. Clones share them.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    tiers: Vec<Tier>,
    model: Option<SharedModel>,
    decoder: Option<Arc<Decoder>>,
    admission: Admission,
    under_way: SingleFlight<JobKey, JobResult>,
    answers: Mutex<Lru<JobKey, Arc<Extraction>>>,
    settings: Settings,
    facts: config::Facts,
    fact_slots: Semaphore,
    memory: Memory,
}

impl Runtime {
    /// Loads the models that the configuration asks for and starts their threads.
    ///
    /// # Errors
    /// [`StartError`] if one cannot be loaded.
    pub fn start(config: &Config) -> Result<Self, StartError> {
        Self::start_with(config, &LoadProgress::default())
    }

    /// Does the same, and says how far it is.
    ///
    /// # Errors
    /// [`StartError`] if a model cannot be loaded.
    pub fn start_with(config: &Config, progress: &LoadProgress) -> Result<Self, StartError> {
        verify_signatures(config)?;
        let mut models = models::load(config)?;
        let speeds = models
            .as_mut()
            .map(models::warm_up)
            .transpose()?
            .unwrap_or_default();
        let decoder = Decoder::load(&config.decoder, config.model.device, progress)?;
        let runtime = Self::with_parts(config, models, decoder);
        let memory = &runtime.inner.memory;
        speeds.encoder.inspect(|speed| memory.set_encoder_speed(*speed));
        speeds.ranker.inspect(|speed| memory.set_ranker_speed(*speed));
        Ok(runtime)
    }

    /// Starts with a model that is already loaded, and without a decoder.
    pub fn with_models(config: &Config, models: Option<Models>) -> Self {
        Self::with_parts(config, models, None)
    }

    fn with_parts(config: &Config, models: Option<Models>, decoder: Option<Decoder>) -> Self {
        let admission = Admission::new(&config.limits);
        let model = models.map(|models| SharedModel::start(models, admission.encoder_slots()));
        let tiers = config.served_tiers();
        let answers = Mutex::new(Lru::new(config.cache.results_bytes as u64, Duration::MAX));
        let settings = Settings {
            encode_tokens: config.limits.most_encoded(),
            ranker_tokens: config.limits.most_ranked(),
            memory_bytes: config.cache.states_bytes,
        };
        let memory = Memory::new(settings.memory_bytes);
        Self {
            inner: Arc::new(Inner {
                tiers,
                model,
                decoder: decoder.map(Arc::new),
                admission,
                under_way: SingleFlight::default(),
                answers,
                settings,
                facts: config.facts.clone(),
                fact_slots: Semaphore::new(facts::FACT_SLOTS),
                memory,
            }),
        }
    }

    /// Returns the tiers that are served, cheapest first.
    pub fn tiers(&self) -> &[Tier] {
        &self.inner.tiers
    }

    /// Returns the model's name, card and vocabulary size, if one is loaded.
    pub fn model(&self) -> Option<(&str, &ModelCard, usize)> {
        let model = self.inner.model.as_ref()?;
        Some((&model.name, &model.card, model.tokenizer.vocabulary()))
    }

    /// Returns the ranker's name and card, if one is loaded.
    pub fn ranker(&self) -> Option<(&str, &ModelCard)> {
        let ranker = self.inner.model.as_ref()?.ranker.as_ref()?;
        Some((&ranker.name, &ranker.card))
    }

    /// Returns the decoder, if one is loaded.
    pub fn decoder(&self) -> Option<&Arc<Decoder>> {
        self.inner.decoder.as_ref()
    }

    /// Reports how busy the worker is.
    pub fn load(&self) -> Load {
        self.inner.admission.load()
    }

    /// Returns how many word pieces the device has read since the start.
    pub fn encoded_tokens(&self) -> u64 {
        self.inner
            .model
            .as_ref()
            .map_or(0, |model| model.device.encoded_tokens())
    }

    /// Starts to count a document's bytes; the reservation grows as the document arrives.
    pub fn reserve(&self) -> Reservation {
        self.inner.admission.reserve()
    }

    /// Returns the answer to a job: a cached one, that of an identical job under way, or a new one. Dropping
    /// the future cancels the job, unless another caller waits for the same answer.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn extract(&self, job: Job) -> Result<JobAnswer, JobError> {
        let key = JobKey::from_job(&job);
        if let Some(extraction) = self.inner.cached(&key) {
            return Ok(JobAnswer {
                extraction,
                queue: Duration::ZERO,
                cached: true,
                provisional: false,
            });
        }
        let deadline = job.deadline;
        let runtime = self.clone();
        let same = key.clone();
        let waiter = self.inner.under_way.join(key, deadline, |cancel| async move {
            runtime.inner.run(job, same, cancel).await
        });
        wait_for(waiter, deadline).await
    }

    /// Runs one extraction on each tier that is served, and lets the decoder write a token, so that the first request finds
    /// everything warm.
    ///
    /// # Errors
    /// [`JobError`] if a tier or the decoder does not work.
    pub async fn warm_up(&self) -> Result<(), JobError> {
        const DOCUMENT: &str = "The first sentence says when the worker starts. \
             The second one says that it is ready.\n\n\
             The third sentence stands in a paragraph of its own, so that there is something to leave out.";
        for tier in self.tiers() {
            let cancel = CancellationToken::new();
            let job = Job {
                document: DOCUMENT.to_owned(),
                sha256: [0; 32],
                texts: Texts::default(),
                asks: Asks::from_question("When is the worker ready?"),
                budget: Budget::Auto(AutoBudget::default()),
                tier: Some(*tier),
                deadline: None,
                reservation: self.reserve(),
            };
            self.inner.compute(job, cancel).await?;
        }
        if let Some(decoder) = &self.inner.decoder {
            let warm = decoder.warm_up().await;
            warm.map_err(|error| JobError::Internal(format!("the decoder: {error}")))?;
        }
        Ok(())
    }
}

async fn wait_for(mut waiter: Waiter<JobResult>, deadline: Option<Instant>) -> JobResult {
    let result = waiter.result();
    match deadline {
        None => result.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), result)
            .await
            .unwrap_or(Some(Err(JobError::DeadlineExceeded))),
    }
    .unwrap_or_else(|| {
        Err(JobError::Internal(
            "the job's task ended without an answer".to_owned(),
        ))
    })
}

impl Inner {
    fn cached(&self, key: &JobKey) -> Option<Arc<Extraction>> {
        lock(&self.answers)
            .get(key, Instant::now())
            .map(|extraction| Arc::clone(extraction))
    }

    async fn run(&self, job: Job, key: JobKey, cancel: CancellationToken) -> JobResult {
        let (started, deadline) = (Instant::now(), job.deadline);
        let mut answer = self.compute(job, cancel).await?;
        answer.provisional |= deadline.is_some_and(|deadline| was_hurried(started, deadline));
        if !answer.provisional {
            let facts = answer.extraction.facts.as_ref().map_or(0, Facts::memory);
            let bytes = size_of_val(answer.extraction.spans.as_slice()) + facts + key.memory();
            let extraction = Arc::clone(&answer.extraction);
            lock(&self.answers).insert(key, extraction, bytes as u64, Instant::now());
        }
        Ok(answer)
    }

    async fn compute(&self, job: Job, cancel: CancellationToken) -> JobResult {
        let waited = Instant::now();
        let work = async {
            let best = TierChoice::among(&self.tiers, job.tier).tier;
            let (choice, slot) = self.admit(&job).await?;
            let queue = waited.elapsed();
            let mut extractor = self.extractor(&cancel, job.deadline, choice.tier);
            let evidence = choice.of_evidence(&self.tiers);
            let cancel = cancel.clone();
            let decoder = self.decoder.clone().filter(|_| choice.tier == Tier::Decoder);
            let settings = self.facts.clone();
            let work = tokio::task::spawn_blocking(move || {
                let extraction = extract(&mut extractor, &job, evidence, &cancel)?;
                let prepared = decoder.map(|decoder| facts::prepare(&decoder, &settings, &job, &extraction));
                drop(slot);
                Ok::<_, ExtractError>((job, extraction, prepared))
            });
            let done = work.await.map_err(|e| JobError::Internal(e.to_string()))?;
            let (job, extraction, prepared) = done?;
            let extraction = match prepared {
                Some(prepared) => self.add_facts(&job, prepared, extraction).await,
                None => extraction,
            };
            Ok(JobAnswer {
                provisional: extraction.limited || choice.tier < best,
                extraction: Arc::new(extraction),
                queue,
                cached: false,
            })
        };
        tokio::select! {
            answer = work => answer,
            () = cancel.cancelled() => Err(JobError::Cancelled),
        }
    }

    /// Waits for a slot, and chooses the tier to run in it. A request for the encoder or ranker that has a deadline
    /// waits for part of its time, then runs on the best tier without a forward pass.
    async fn admit(&self, job: &Job) -> Result<(TierChoice, Slot), JobError> {
        let choice = TierChoice::among(&self.tiers, job.tier);
        let tier = choice.tier;
        let bytes = job.document.len();
        let Some(deadline) = job.deadline else {
            return Ok((choice, self.admission.admit(class(tier), bytes).await?));
        };
        let cheaper = self.tiers.iter().rev().find(|other| !other.runs_model()).copied();
        if let (true, Some(cheaper)) = (tier.runs_model(), cheaper) {
            let patience = deadline
                .saturating_duration_since(Instant::now())
                .mul_f64(WAIT_FOR_ENCODER);
            match tokio::time::timeout(patience, self.admission.admit(Class::Encoder, bytes)).await {
                Ok(slot) => return Ok((choice, slot?)),
                Err(_) => {
                    let slot = self.slot_before(deadline, Class::Cheap, bytes).await?;
                    let reason = TierReason::NoFreeSlot;
                    return Ok((
                        TierChoice {
                            tier: cheaper,
                            reason,
                        },
                        slot,
                    ));
                }
            }
        }
        Ok((choice, self.slot_before(deadline, class(tier), bytes).await?))
    }

    async fn slot_before(&self, deadline: Instant, class: Class, bytes: usize) -> Result<Slot, JobError> {
        tokio::time::timeout_at(deadline.into(), self.admission.admit(class, bytes))
            .await
            .unwrap_or(Err(JobError::DeadlineExceeded))
    }

    /// Makes the extractor of a request that is to run a tier.
    fn extractor(&self, cancel: &CancellationToken, deadline: Option<Instant>, tier: Tier) -> Extractor {
        let share = engine::reading_share(tier);
        let until = deadline.map(|deadline| engine::end_of_reading(deadline, share));
        let models = self.model.as_ref().map(|model| model.for_request(cancel, until));
        Extractor::new(models, self.settings)
            .with_memory(self.memory.clone())
            .with_reading_share(share)
    }
}

fn class(tier: Tier) -> Class {
    if tier.runs_model() {
        Class::Encoder
    } else {
        Class::Cheap
    }
}

/// Returns true if the work ended with so little time left that the deadline may have cut it short.
fn was_hurried(started: Instant, deadline: Instant) -> bool {
    deadline.saturating_duration_since(Instant::now()) < started.elapsed()
}

fn extract(
    extractor: &mut Extractor,
    job: &Job,
    tier: TierChoice,
    cancel: &CancellationToken,
) -> Result<Extraction, ExtractError> {
    extractor.extract(&Request {
        document: &job.document,
        texts: &job.texts,
        asks: &job.asks,
        budget: job.budget,
        tier,
        deadline: job.deadline,
        cancelled: &|| cancel.is_cancelled(),
    })
}

impl JobKey {
    fn from_job(job: &Job) -> Self {
        Self {
            document: job.sha256,
            texts: job.texts.clone(),
            asks: job.asks.clone(),
            budget: job.budget,
            tier: job.tier,
        }
    }

    /// Returns about how many bytes the key, and the entry of the cache around it, take in memory.
    fn memory(&self) -> usize {
        self.asks.memory() + self.texts.memory() + ENTRY_BYTES
    }
}
