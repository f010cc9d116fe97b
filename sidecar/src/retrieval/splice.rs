//! Several event streams, one after the other, as one: what the model says passes at once, its questions to us are held
//! back, and the stream that follows their answers goes on where the last one stopped.

mod chat;
mod messages;
mod responses;

use std::fmt::Debug;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use chat::ChatSplice;
use messages::MessagesSplice;
use responses::ResponsesSplice;
use serde_json::Value;

use super::Turn;
use crate::api::Wire;
use crate::sse::{Event, Parser};

/// Larger events cannot be read.
const MAX_EVENT_BYTES: usize = 64 << 20;

/// Longest time without a byte for the client while the upstream sends what is held back. Far below every read timeout.
const QUIET: Duration = Duration::from_secs(1);

/// Splices the streams of one call. Bytes of the upstream in, events for the client out.
#[derive(Debug)]
pub struct Splicer {
    parser: Parser,
    splice: Box<dyn Splice>,
    out: BytesMut,
    /// When the client was last sent something.
    written: Instant,
}

/// How the streams of one API become one.
trait Splice: Debug + Send {
    /// Reads an event of the upstream, and writes what the client gets for it.
    fn event(&mut self, event: Event<'_>, out: &mut BytesMut);

    /// Returns whether the stream has said that it ends with a question to us.
    fn asks(&self) -> bool;

    /// Returns whether it has said that, and all that it says.
    fn is_over(&self) -> bool;

    /// Returns what was asked, and makes ready for the next stream.
    fn take_turn(&mut self) -> Option<Turn>;

    /// Says whether a question of the stream that begins will be answered.
    fn set_may_ask(&mut self, may_ask: bool);

    /// Returns how many questions were dropped since the last time.
    fn take_dropped(&mut self) -> usize;
}

impl Splicer {
    /// Starts with the first stream. Where `may_ask` is false questions are dropped.
    pub(super) fn new(wire: Wire, tool: String, may_ask: bool) -> Self {
        let splice: Box<dyn Splice> = match wire {
            Wire::Messages => Box::new(MessagesSplice::new(tool, may_ask)),
            Wire::Responses => Box::new(ResponsesSplice::new(tool, may_ask)),
            Wire::Chat | Wire::Completions => Box::new(ChatSplice::new(tool, may_ask)),
        };
        Self {
            parser: Parser::new(MAX_EVENT_BYTES),
            splice,
            out: BytesMut::new(),
            written: Instant::now(),
        }
    }

    /// Returns what the client gets for the next bytes; may be empty.
    pub fn feed(&mut self, bytes: &[u8]) -> Bytes {
        let Self {
            parser, splice, out, ..
        } = self;
        parser.feed(bytes, |event| splice.event(event, out));
        if self.out.is_empty() && self.written.elapsed() >= QUIET && !self.is_over() {
            self.out.extend_from_slice(b": keep-alive\n\n");
        }
        self.taken()
    }

    /// Reads the end of a stream; returns what the client gets for it.
    pub fn finish(&mut self) -> Bytes {
        let Self {
            parser, splice, out, ..
        } = self;
        parser.finish(|event| splice.event(event, out));
        self.taken()
    }

    fn taken(&mut self) -> Bytes {
        if !self.out.is_empty() {
            self.written = Instant::now();
        }
        self.out.split().freeze()
    }

    /// Returns whether an event was too large to be read: the answer is not whole then.
    pub fn has_lost_events(&self) -> bool {
        self.parser.skipped() > 0
    }

    /// Returns whether the stream has said its last, and that was a question to us: nothing more of it is needed.
    pub fn is_over(&self) -> bool {
        self.splice.is_over()
    }

    /// Returns whether the stream has said that it ends with a question to us, whatever becomes of its last bytes.
    pub fn asks(&self) -> bool {
        self.splice.asks()
    }

    /// Returns what the model asked, if the stream ended with that, and begins the next stream.
    pub fn take_turn(&mut self) -> Option<Turn> {
        let turn = self.splice.take_turn();
        if turn.is_some() {
            self.parser = Parser::new(MAX_EVENT_BYTES);
        }
        turn
    }

    /// Says whether a question of the stream that begins will be answered.
    pub fn set_may_ask(&mut self, may_ask: bool) {
        self.splice.set_may_ask(may_ask);
    }

    /// Returns how many questions were dropped since the last time.
    pub fn take_dropped(&mut self) -> usize {
        self.splice.take_dropped()
    }
}

/// Writes an event as it came.
fn pass(event: Event<'_>, out: &mut BytesMut) {
    if !event.name.is_empty() {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.name);
        out.extend_from_slice(b"\n");
    }
    for line in event.data.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}

/// Writes an event whose data were read: as it came, or with the data as they are now.
fn write(event: Event<'_>, data: &Value, changed: bool, out: &mut BytesMut) {
    if !changed {
        return pass(event, out);
    }
    let data = data.to_string();
    let data = data.as_bytes();
    pass(Event { data, ..event }, out);
}
