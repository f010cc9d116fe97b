//! Between the handles of an engine and its thread: requests one way, counts the other.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::{EngineLoad, Refusal};
use crate::constraint::Grammar;
use crate::generate::{Event, FinishReason, GenerateError, Request, Usage};

/// The engine's end of an answer. It has room for all events that the answer can have.
pub(super) type Events = mpsc::Sender<Result<Event, GenerateError>>;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    /// The request's constraint, if it has one.
    pub(super) grammar: Option<Grammar>,
    pub(super) deadline: Option<Instant>,
    /// When it came.
    pub(super) since: Instant,
    pub(super) events: Events,
}

/// Requests that wait, in the order in which they came, and the engine's counts.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    load: EngineLoad,
    /// Whether the last handle is gone.
    closed: bool,
    /// Whether the thread has ended.
    stopped: bool,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            limit,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.state();
        self.check_state(&mut state)?;
        state.waiting.push_back(job);
        self.wake.notify_one();
        Ok(())
    }

    /// Says at once what [`push`](Self::push) would, before a request is prepared for it.
    pub(super) fn check_room(&self) -> Result<(), Refusal> {
        self.check_state(&mut self.state())
    }

    fn check_state(&self, state: &mut State) -> Result<(), Refusal> {
        if state.stopped {
            return Err(Refusal::Stopped);
        }
        if state.waiting.len() >= self.limit {
            state.waiting.retain(|job| !job.events.is_closed());
        }
        match state.waiting.len() {
            waiting if waiting >= self.limit => Err(Refusal::QueueFull {
                waiting,
                limit: self.limit,
            }),
            _ => Ok(()),
        }
    }

    /// Waits for a request; false if none will come.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        while state.waiting.is_empty() && !state.closed {
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        !state.waiting.is_empty()
    }

    /// Ends the answers of requests whose time is over, and forgets those that were cancelled.
    pub(super) fn sweep(&self, now: Instant) {
        let mut late = Vec::new();
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        for job in waiting {
            if job.deadline.is_some_and(|deadline| deadline <= now) {
                late.push(job);
            } else if !job.events.is_closed() {
                state.waiting.push_back(job);
            }
        }
        drop(state);
        for job in late {
            let event = Event::Finished {
                text: String::new(),
                reason: FinishReason::Deadline,
                usage: Usage {
                    queued: now.saturating_duration_since(job.since),
                    ..Usage::default()
                },
            };
            send(&job.events, Ok(event));
        }
    }

    /// Takes the first request if `admit` has room for it.
    pub(super) fn admit<T>(&self, admit: impl FnOnce(&Job) -> Option<T>) -> Option<Admitted<T>> {
        let mut state = self.state();
        let place = admit(state.waiting.front()?)?;
        let job = state.waiting.pop_front()?;
        Some(Admitted { job, place })
    }

    /// Returns the counts.
    pub(super) fn load(&self) -> EngineLoad {
        let state = self.state();
        EngineLoad {
            waiting: state.waiting.len(),
            ..state.load
        }
    }

    /// Sets the counts, all but that of the requests that wait.
    pub(super) fn publish(&self, load: EngineLoad) {
        self.state().load = load;
    }

    /// Lets the thread end once there is nothing left to do.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Notes that the thread has ended: requests that wait are dropped, which ends their answers.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.waiting.clear();
        state.load.running = 0;
        state.load.pages_used = 0;
    }
}

/// A request that was taken, and what `admit` made for it.
pub(super) struct Admitted<T> {
    pub(super) job: Job,
    pub(super) place: T,
}

/// Sends an event. There is room for it; if nobody listens any more, the answer was cancelled.
pub(super) fn send(events: &Events, event: Result<Event, GenerateError>) {
    let _ = events.try_send(event);
}
