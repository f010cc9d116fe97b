//! A stream that is translated event by event as it comes: what both directions share. What an event becomes is the
//! [`EventWriter`]'s.

use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use crate::api::{Usage, Wire};
use crate::sse::{Ending, Event, Parser, StreamState};

/// Larger events cannot be translated and are left out.
pub(super) const MAX_EVENT_BYTES: usize = 8 << 20;

/// Longest time without a byte for the client while the upstream sends what has no counterpart. Far below every
/// read timeout.
const QUIET: Duration = Duration::from_secs(1);

/// Writes in the client's API what events of the upstream's say.
pub(super) trait EventWriter: Debug + Send + Sync {
    /// Writes what an event becomes, which may be nothing; the state has read it.
    fn event(&mut self, event: Event<'_>, state: &StreamState);

    /// Writes the last events of a complete answer, once.
    fn finish(&mut self, usage: Usage);

    /// Writes a sign that the upstream is alive, where the client's API has one.
    fn keep_alive(&mut self) {}

    /// Returns what is written and not sent yet.
    fn out(&mut self) -> &mut BytesMut;
}

/// Translates one stream.
#[derive(Debug)]
pub struct StreamTranslator {
    parser: Parser,
    state: StreamState,
    writer: Box<dyn EventWriter>,
    /// When the client was last sent something.
    written: Instant,
}

impl StreamTranslator {
    /// Starts a stream of the upstream's API.
    pub(super) fn new(upstream: Wire, writer: impl EventWriter + 'static) -> Self {
        Self {
            parser: Parser::new(MAX_EVENT_BYTES),
            state: StreamState::new(upstream),
            writer: Box::new(writer),
            written: Instant::now(),
        }
    }

    /// Returns the events that the next bytes complete, translated; may be empty. While the upstream is alive the
    /// client gets a sign of it, where its API has one: after a second of events without a counterpart.
    pub fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let Self {
            parser,
            state,
            writer,
            ..
        } = self;
        parser.feed(bytes, |event| {
            state.read(event);
            writer.event(event, state);
        });
        if writer.out().is_empty() && self.written.elapsed() >= QUIET {
            writer.keep_alive();
        }
        if !writer.out().is_empty() {
            self.written = Instant::now();
        }
        writer.out().split().freeze()
    }

    /// Returns what the end of the stream adds: the final events of an answer that is complete, whose last event is
    /// missing or cut.
    pub fn finish(&mut self) -> Bytes {
        let Self {
            parser,
            state,
            writer,
            ..
        } = self;
        parser.finish(|event| {
            state.read(event);
            writer.event(event, state);
        });
        if state.ending() == Ending::Complete {
            writer.finish(state.usage());
        }
        writer.out().split().freeze()
    }

    /// Returns the usage seen so far.
    pub fn usage(&self) -> Usage {
        self.state.usage()
    }

    /// Returns whether the stream may end here.
    pub fn ending(&self) -> Ending {
        self.state.ending()
    }
}

/// Writes an event with a name.
pub(crate) fn named_event(name: &str, data: &Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
