//! Bounds what is under way: slots for running jobs, a queue before them, and the bytes of all documents.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::JobError;
use crate::config::Limits;

/// Bytes of a document for each of its tokens, roughly; for load counters only.
const BYTES_PER_TOKEN: usize = 4;

const SHORTEST_RETRY: Duration = Duration::from_millis(50);
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// The load of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Jobs that wait for a slot.
    pub queue_depth: u32,
    /// The most jobs that may wait.
    pub queue_limit: u32,
    /// Document tokens (estimated) of the jobs that wait or run.
    pub tokens_in_flight: u64,
    /// Jobs that wait or run.
    pub requests_in_flight: u32,
    /// Bytes of all documents that arrive, wait or are being read.
    pub buffered_bytes: u64,
}

/// The kind of slot that a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// A slot for the lexical and static tiers: short work, bound to a core.
    Cheap,
    /// A slot for the encoder and ranker tiers: mostly waiting for the device.
    Encoder,
}

/// The slots, the queue before them and the counters about both.
pub(super) struct Admission {
    cheap: Slots,
    encoder: Slots,
    queue_limit: usize,
    counters: Arc<LoadCounters>,
}

struct Slots {
    free: Arc<Semaphore>,
    count: usize,
    /// Moving average of a job's time in a slot, in microseconds.
    usual_time: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct LoadCounters {
    waiting: AtomicUsize,
    in_flight: AtomicUsize,
    tokens: AtomicU64,
    buffered: AtomicU64,
    buffer_limit: u64,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let slots = |configured: usize, default: usize| {
            let count = if configured == 0 { default } else { configured };
            Slots {
                free: Arc::new(Semaphore::new(count)),
                count,
                usual_time: Arc::default(),
            }
        };
        Self {
            cheap: slots(limits.cheap_slots, cores),
            encoder: slots(limits.encoder_slots, 2 * cores),
            queue_limit: limits.queue,
            counters: Arc::new(LoadCounters {
                buffer_limit: limits.max_buffered_bytes,
                ..LoadCounters::default()
            }),
        }
    }

    pub(super) fn encoder_slots(&self) -> usize {
        self.encoder.count
    }

    pub(super) fn load(&self) -> Load {
        let counters = &self.counters;
        Load {
            queue_depth: counters.waiting.load(Ordering::Relaxed) as u32,
            queue_limit: self.queue_limit as u32,
            tokens_in_flight: counters.tokens.load(Ordering::Relaxed),
            requests_in_flight: counters.in_flight.load(Ordering::Relaxed) as u32,
            buffered_bytes: counters.buffered.load(Ordering::Relaxed),
        }
    }

    pub(super) fn reserve(&self) -> Reservation {
        Reservation {
            bytes: 0,
            counters: Arc::clone(&self.counters),
        }
    }

    /// Waits for a slot. Dropping the future leaves the queue.
    pub(super) async fn admit(&self, class: Class, document_bytes: usize) -> Result<Slot, JobError> {
        let slots = match class {
            Class::Cheap => &self.cheap,
            Class::Encoder => &self.encoder,
        };
        let tokens = (document_bytes / BYTES_PER_TOKEN) as u64;
        let counted = InFlight::new(&self.counters, tokens);
        let permit = match Arc::clone(&slots.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = self.join_queue(slots)?;
                let permit = Arc::clone(&slots.free).acquire_owned().await;
                permit.map_err(|_| JobError::Internal("the slots are closed".to_owned()))?
            }
        };
        Ok(Slot {
            started: Instant::now(),
            usual_time: Arc::clone(&slots.usual_time),
            _counted: counted,
            _permit: permit,
        })
    }

    fn join_queue(&self, slots: &Slots) -> Result<QueuePlace, JobError> {
        let waiting = QueuePlace(Arc::clone(&self.counters));
        let before = self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        if before < self.queue_limit {
            return Ok(waiting);
        }
        let usual_time = Duration::from_micros(slots.usual_time.load(Ordering::Relaxed));
        let turns = (before / slots.count + 1) as u32;
        let retry_after = (usual_time * turns).clamp(SHORTEST_RETRY, LONGEST_RETRY);
        Err(JobError::Busy {
            what: "its queue is full",
            retry_after,
        })
    }
}

/// A place in the queue, left when it is dropped.
struct QueuePlace(Arc<LoadCounters>);

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A job that waits or runs, counted until it is dropped.
struct InFlight {
    counters: Arc<LoadCounters>,
    tokens: u64,
}

impl InFlight {
    fn new(counters: &Arc<LoadCounters>, tokens: u64) -> Self {
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        counters.tokens.fetch_add(tokens, Ordering::Relaxed);
        Self {
            counters: Arc::clone(counters),
            tokens,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.counters.tokens.fetch_sub(self.tokens, Ordering::Relaxed);
    }
}

/// The right to run a job, returned when it is dropped.
pub(super) struct Slot {
    started: Instant,
    usual_time: Arc<AtomicU64>,
    _counted: InFlight,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let took = self.started.elapsed().as_micros() as u64;
        let usual_time = self.usual_time.load(Ordering::Relaxed);
        let next = if usual_time == 0 {
            took
        } else {
            (7 * usual_time + took) / 8
        };
        self.usual_time.store(next, Ordering::Relaxed);
    }
}

/// Bytes of a document, held against `limits.max_buffered_bytes` until dropped.
#[derive(Debug)]
pub struct Reservation {
    bytes: u64,
    counters: Arc<LoadCounters>,
}

impl Reservation {
    /// Reserves `bytes` in total, if there is room for what that adds.
    ///
    /// # Errors
    /// [`JobError::Busy`] if the documents of all requests are too long together.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), JobError> {
        let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let before = self.counters.buffered.fetch_add(more, Ordering::Relaxed);
        self.bytes = bytes;
        if before + more > self.counters.buffer_limit {
            let what = "it holds as many bytes of documents as limits.max_buffered_bytes allows";
            return Err(JobError::Busy {
                what,
                retry_after: Duration::from_secs(1),
            });
        }
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.counters.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;

    fn admission(queue: usize) -> Admission {
        Admission::new(&Limits {
            queue,
            cheap_slots: 1,
            encoder_slots: 1,
            ..Limits::default()
        })
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_says_when_to_come_back() {
        let admission = admission(1);
        let slot = admission.admit(Class::Cheap, 400).await.unwrap();
        let mut second = Box::pin(admission.admit(Class::Cheap, 400));
        assert!(futures::poll!(&mut second).is_pending());
        let Err(JobError::Busy { retry_after, .. }) = admission.admit(Class::Cheap, 0).await else {
            panic!()
        };
        assert!(retry_after >= SHORTEST_RETRY);
        let load = admission.load();
        assert_eq!(
            (load.queue_depth, load.requests_in_flight, load.tokens_in_flight),
            (1, 2, 200)
        );
        drop(slot);
        drop(second.await.unwrap());
        assert_eq!(
            admission.load(),
            Load {
                queue_limit: 1,
                ..Load::default()
            }
        );
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_queue() {
        let admission = admission(1);
        let slot = admission.admit(Class::Encoder, 0).await.unwrap();
        let mut second = Box::pin(admission.admit(Class::Encoder, 0));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        assert_eq!(admission.load().queue_depth, 0);
        drop(slot);
    }

    #[tokio::test]
    async fn cheap_jobs_do_not_wait_for_encoder_jobs() {
        let admission = admission(0);
        let _encoder = admission.admit(Class::Encoder, 0).await.unwrap();
        admission.admit(Class::Cheap, 0).await.unwrap();
    }

    #[test]
    fn documents_share_a_bounded_number_of_bytes() {
        let limits = Limits {
            max_buffered_bytes: 100,
            ..Limits::default()
        };
        let admission = Admission::new(&limits);
        let (mut first, mut second) = (admission.reserve(), admission.reserve());
        first.grow_to(60).unwrap();
        first.grow_to(60).unwrap();
        second.grow_to(40).unwrap();
        assert!(matches!(second.grow_to(41), Err(JobError::Busy { .. })));
        drop((first, second));
        assert_eq!(admission.load().buffered_bytes, 0);
    }
}
