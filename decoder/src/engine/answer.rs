//! An answer on its way from the engine.

use tokio::sync::mpsc;

use crate::generate::{Event, GenerateError};

/// Events of an answer, in order; the last one is [`Event::Finished`] or an error. Dropping it cancels the answer.
#[derive(Debug)]
pub struct Answer {
    events: mpsc::Receiver<Result<Event, GenerateError>>,
    ended: bool,
}

impl Answer {
    pub(super) fn new(events: mpsc::Receiver<Result<Event, GenerateError>>) -> Self {
        Self { events, ended: false }
    }

    /// Waits for the next event; none after the last one. May be cancelled: no event is lost.
    pub async fn next(&mut self) -> Option<Result<Event, GenerateError>> {
        let event = self.events.recv().await;
        self.note(event)
    }

    /// Waits for the next event on a thread that is not part of an asynchronous runtime.
    ///
    /// # Panics
    /// Within an asynchronous task; use [`next`](Self::next) there.
    pub fn blocking_next(&mut self) -> Option<Result<Event, GenerateError>> {
        let event = self.events.blocking_recv();
        self.note(event)
    }

    /// Ends the answer with an error if the engine is gone before its last event.
    fn note(&mut self, event: Option<Result<Event, GenerateError>>) -> Option<Result<Event, GenerateError>> {
        let last = !matches!(event, Some(Ok(Event::Token { .. })));
        let event = match self.ended {
            true => event,
            false => Some(event.unwrap_or(Err(GenerateError::Stopped))),
        };
        self.ended |= last;
        event
    }
}
