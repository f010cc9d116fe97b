//! An answer on its way from the engine.

use tokio::sync::mpsc;

use crate::generate::{Event, GenerateError};

/// Events of an answer, in order; the last one is [`Event::Finished`] or an error. Dropping it cancels the answer.
#[derive(Debug)]
pub struct Answer {
    events: mpsc::Receiver<Result<Event, GenerateError>>,
}

impl Answer {
    pub(super) fn new(events: mpsc::Receiver<Result<Event, GenerateError>>) -> Self {
        Self { events }
    }

    /// Waits for the next event; none after the last one. May be cancelled: no event is lost.
    pub async fn next(&mut self) -> Option<Result<Event, GenerateError>> {
        self.events.recv().await
    }

    /// Waits for the next event on a thread that is not part of an asynchronous runtime.
    ///
    /// # Panics
    /// Within an asynchronous task; use [`next`](Self::next) there.
    pub fn blocking_next(&mut self) -> Option<Result<Event, GenerateError>> {
        self.events.blocking_recv()
    }
}
