//! Between the server and the engines: who runs when, on what, and what is remembered.
//!
//! A job goes cache, single flight, queue, then a thread of the blocking pool that runs the engine. Cheap tiers
//! and the encoder tier have slots of their own, so that neither waits for the other's. Where the engine needs
//! the forward pass it sends windows to the one thread that owns the device. Everything is bounded: jobs that
//! wait, bytes of documents, windows before the device, answers and hidden states kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::engine::{
    self, AutoBudget, Budget, ExtractError, Extraction, Extractor, Memory, Request, Settings, Tier,
    TierChoice, TierReason,
};
use crate::model::{Card, EmbeddingTable, EncodeError, LoadError, Models, WordPiece, is_model};

mod admission;
mod cache;
mod device;
mod flight;

pub use admission::{Load, Reservation};

use admission::{Admission, Class, Slot};
use cache::ByteCache;
use device::Device;
use flight::{Flights, Seat};

/// Share of the time left that a request may wait for a slot of the encoder before a cheaper tier takes it.
const WAIT_FOR_ENCODER: f64 = 0.5;

/// A request whose document has arrived.
#[derive(Debug)]
pub struct Job {
    /// The document.
    pub document: String,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// The question; blank means coverage.
    pub question: String,
    /// How much may be kept.
    pub budget: Budget,
    /// The tier that is asked for.
    pub tier: Option<Tier>,
    /// When the answer must be there.
    pub deadline: Option<Instant>,
    /// The document's bytes, held against `limits.max_buffered_bytes`.
    pub reservation: Reservation,
}

/// What became of a job.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What the engine found.
    pub extraction: Arc<Extraction>,
    /// Time in the queue.
    pub queue: Duration,
    /// True if it was remembered.
    pub cached: bool,
    /// True if more time, or a working encoder, might have found more; such an answer is not remembered.
    pub provisional: bool,
}

/// Why a job has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JobError {
    /// Too many jobs wait, or their documents are too long together.
    #[error("the worker is busy: {what}; try again in {} ms, or another worker", .retry_after.as_millis())]
    Busy {
        /// What is full.
        what: &'static str,
        /// When a try is worth it.
        retry_after: Duration,
    },
    /// The deadline passed.
    #[error("the deadline passed before the answer was there")]
    DeadlineExceeded,
    /// Everyone who waited for the answer has gone.
    #[error("the request was cancelled")]
    Cancelled,
    /// A fault of the worker.
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

/// The model as the runtime knows it: the encoder is with the device thread.
struct Shared {
    name: String,
    card: Card,
    tokenizer: WordPiece,
    embeddings: EmbeddingTable,
    device: Device,
}

/// Warms the encoder's device up. Too little memory is no reason not to start: there may be more later, and until then
/// the cheaper tiers answer.
fn try_device(models: &mut Models) -> Result<Option<f64>, LoadError> {
    let start = Instant::now();
    match models.encoder.warm_up() {
        Ok(None) => Ok(None),
        Ok(Some(speed)) => {
            let (ms, tokens_per_second) = (start.elapsed().as_millis() as u64, speed as u64);
            tracing::info!(
                device = models.card.device,
                ms,
                tokens_per_second,
                "the encoder's device is warm"
            );
            Ok(Some(speed))
        }
        Err(error @ EncodeError::OutOfMemory { .. }) => {
            tracing::error!(device = models.card.device, %error, "the encoder cannot be used for now");
            Ok(None)
        }
        Err(error) => Err(LoadError::WarmUp(error)),
    }
}

/// What makes two jobs the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    document: [u8; 32],
    question: Arc<str>,
    budget: Budget,
    tier: Option<Tier>,
}

type Outcome = Result<Answer, JobError>;

/// Runs jobs. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    tiers: Vec<Tier>,
    model: Option<Shared>,
    admission: Admission,
    flights: Flights<Key, Outcome>,
    answers: ByteCache<Key, Arc<Extraction>>,
    settings: Settings,
    memory: Memory,
}

impl Runtime {
    /// Loads the model if a tier needs it and starts the device's thread.
    ///
    /// # Errors
    /// [`LoadError`] if the model cannot be loaded.
    pub fn start(config: &Config) -> Result<Self, LoadError> {
        let folder = config.model.folder.as_deref().filter(|_| config.needs_model());
        if let (Some(folder), Some(sha256)) = (folder, &config.model.sha256) {
            is_model(folder, sha256)?;
        }
        let mut models = folder
            .map(|folder| Models::load(folder, config.model.device))
            .transpose()?;
        let speed = models.as_mut().map(try_device).transpose()?.flatten();
        let runtime = Self::with_models(config, models);
        if let Some(speed) = speed {
            runtime.inner.memory.assume(speed);
        }
        Ok(runtime)
    }

    /// As [`Runtime::start`], with a model that is already loaded.
    pub fn with_models(config: &Config, models: Option<Models>) -> Self {
        let admission = Admission::new(&config.limits);
        let model = models.map(|models| Shared {
            name: models.name,
            card: models.card,
            tokenizer: models.tokenizer,
            embeddings: models.embeddings,
            device: Device::start(models.encoder, admission.encoder_slots()),
        });
        let tiers = config.served_tiers();
        let answers = ByteCache::new(config.cache.results_bytes);
        let settings = Settings {
            encode_tokens: config.limits.most_encoded(),
            memory_bytes: config.cache.states_bytes,
            contract_thesaurus: config.scoring.contract_thesaurus,
        };
        let (flights, memory) = (Flights::default(), Memory::new(settings.memory_bytes));
        Self {
            inner: Arc::new(Inner {
                tiers,
                model,
                admission,
                flights,
                answers,
                settings,
                memory,
            }),
        }
    }

    /// The tiers that are served, cheapest first.
    pub fn tiers(&self) -> &[Tier] {
        &self.inner.tiers
    }

    /// The model's name, card and vocabulary size, if one is loaded.
    pub fn model(&self) -> Option<(&str, &Card, usize)> {
        let model = self.inner.model.as_ref()?;
        Some((&model.name, &model.card, model.tokenizer.vocabulary()))
    }

    /// How busy the worker is.
    pub fn load(&self) -> Load {
        self.inner.admission.load()
    }

    /// Word pieces that the device has read since the start.
    pub fn encoded_tokens(&self) -> u64 {
        self.inner
            .model
            .as_ref()
            .map_or(0, |model| model.device.encoded_tokens())
    }

    /// Starts to count a document's bytes; grow it as the document arrives.
    pub fn reserve(&self) -> Reservation {
        self.inner.admission.reserve()
    }

    /// Gives the answer to a job: a remembered one, the one of an identical job under way, or a new one.
    /// Dropping the future gives the job up, unless someone else waits for the same answer.
    ///
    /// # Errors
    /// [`JobError`].
    pub async fn extract(&self, job: Job) -> Result<Answer, JobError> {
        let key = Key::of(&job);
        if let Some(extraction) = self.inner.answers.get(&key) {
            return Ok(Answer {
                extraction,
                queue: Duration::ZERO,
                cached: true,
                provisional: false,
            });
        }
        let deadline = job.deadline;
        let runtime = self.clone();
        let flight = key.clone();
        let seat = self.inner.flights.board(key, deadline, |cancel| async move {
            runtime.inner.run(job, flight, cancel).await
        });
        wait_for(seat, deadline).await
    }

    /// Runs one extraction on each tier that is served, so that the first request finds everything warm.
    ///
    /// # Errors
    /// [`JobError`] if a tier does not work.
    pub async fn warm_up(&self) -> Result<(), JobError> {
        const DOCUMENT: &str = "The first sentence says when the worker starts. The second one says that it is ready.\n\n\
             The third sentence stands in a paragraph of its own, so that there is something to leave out.";
        for tier in self.tiers() {
            let cancel = CancellationToken::new();
            let job = Job {
                document: DOCUMENT.to_owned(),
                sha256: [0; 32],
                question: "When is the worker ready?".to_owned(),
                budget: Budget::Auto(AutoBudget::default()),
                tier: Some(*tier),
                deadline: None,
                reservation: self.reserve(),
            };
            self.inner.compute(job, cancel).await?;
        }
        Ok(())
    }
}

async fn wait_for(mut seat: Seat<Outcome>, deadline: Option<Instant>) -> Outcome {
    let arrival = seat.arrival();
    match deadline {
        None => arrival.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), arrival)
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
    async fn run(&self, job: Job, key: Key, cancel: CancellationToken) -> Outcome {
        let (started, deadline) = (Instant::now(), job.deadline);
        let mut answer = self.compute(job, cancel).await?;
        answer.provisional |= deadline.is_some_and(|deadline| was_hurried(started, deadline));
        if !answer.provisional {
            let bytes = size_of_val(answer.extraction.spans.as_slice()) + key.question.len() + 256;
            self.answers.insert(key, Arc::clone(&answer.extraction), bytes);
        }
        Ok(answer)
    }

    async fn compute(&self, job: Job, cancel: CancellationToken) -> Outcome {
        let waited = Instant::now();
        let work = async {
            let best = TierChoice::among(&self.tiers, job.tier).tier;
            let (choice, slot) = self.admit(&job).await?;
            let queue = waited.elapsed();
            let mut extractor = self.extractor(&cancel, job.deadline);
            let cancel = cancel.clone();
            let work = tokio::task::spawn_blocking(move || {
                let extraction = extract(&mut extractor, &job, choice, &cancel);
                drop(slot);
                extraction
            });
            let extraction = work.await.map_err(|e| JobError::Internal(e.to_string()))??;
            Ok(Answer {
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

    /// Waits for a slot, and says which tier to run in it and why. A request for the encoder that has a deadline
    /// waits for part of its time, then runs on the best cheaper tier.
    async fn admit(&self, job: &Job) -> Result<(TierChoice, Slot), JobError> {
        let choice = TierChoice::among(&self.tiers, job.tier);
        let tier = choice.tier;
        let bytes = job.document.len();
        let Some(deadline) = job.deadline else {
            return Ok((choice, self.admission.admit(class(tier), bytes).await?));
        };
        let cheaper = self.tiers.iter().rev().find(|other| **other < tier).copied();
        if let (Tier::Encoder, Some(cheaper)) = (tier, cheaper) {
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

    fn extractor(&self, cancel: &CancellationToken, deadline: Option<Instant>) -> Extractor {
        let until = deadline.map(engine::end_of_encoding);
        let models = self.model.as_ref().map(|model| Models {
            name: model.name.clone(),
            card: model.card.clone(),
            tokenizer: model.tokenizer.clone(),
            embeddings: model.embeddings.clone(),
            encoder: Box::new(model.device.encoder(cancel, until)),
        });
        Extractor::new(models, self.settings).with_memory(self.memory.clone())
    }
}

fn class(tier: Tier) -> Class {
    if tier == Tier::Encoder {
        Class::Encoder
    } else {
        Class::Cheap
    }
}

/// True if the work ended with so little time left that the deadline may have cut it short.
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
        question: &job.question,
        budget: job.budget,
        tier,
        deadline: job.deadline,
        cancelled: &|| cancel.is_cancelled(),
    })
}

impl Key {
    fn of(job: &Job) -> Self {
        Self {
            document: job.sha256,
            question: job.question.as_str().into(),
            budget: job.budget,
            tier: job.tier,
        }
    }
}
