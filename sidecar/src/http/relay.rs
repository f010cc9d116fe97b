//! An upstream's answer on its way to the client: the same bytes at the same borders, watched but not held.
//!
//! Guarantees: no frame waits for a later one. A stream that breaks off, or takes too long, before its answer is
//! complete (`sse::tap` says when it is) ends with one error event and an aborted body, never with a clean end; one
//! that does so afterwards ends cleanly. Dropping the relay (the client is gone) drops the upstream's connection
//! with it.

use std::fmt::Display;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::api::{Usage, Wire};
use crate::error::ApiError;
use crate::report::Exchange;
use crate::sse::{Ending, Tap, usage_of_body};
use crate::translate::StreamTranslator;
use crate::upstream::AnswerBody;

/// Time for the error event to leave before the body is aborted: an abort discards what is not yet sent.
const FLUSH_TIME: Duration = Duration::from_millis(20);

/// Answers up to this size are kept until they end, to read their usage.
const MAX_WATCHED_BYTES: usize = 4 << 20;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The part of an answer that the relay reads along the way.
#[derive(Debug)]
pub(super) enum Watch {
    /// An event stream of a known API.
    Stream(Box<Tap>),
    /// An event stream that is translated into another API. The one case where bytes change.
    Translated(Box<StreamTranslator>),
    /// One JSON body.
    Json(Vec<Bytes>, usize),
    /// Nothing is read: the answer is encoded, or the call was on no surface.
    Nothing,
}

/// The body that the client receives.
pub(super) struct Relay<B = AnswerBody> {
    upstream: B,
    first: Option<Frame<Bytes>>,
    watch: Watch,
    wire: Wire,
    deadline: Option<Pin<Box<Sleep>>>,
    exchange: Exchange,
    state: State,
}

enum State {
    Relaying,
    /// The error event is out; the body will be aborted.
    Flushing(Pin<Box<Sleep>>),
    Done,
}

impl<B> Relay<B>
where
    B: HttpBody<Data = Bytes, Error: Display> + Send + Unpin + 'static,
{
    /// Relays `first` and then `upstream`.
    pub(super) fn new(
        upstream: B,
        first: Option<Frame<Bytes>>,
        watch: Watch,
        wire: Wire,
        deadline: Option<Instant>,
        exchange: Exchange,
    ) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        let mut relay = Self {
            upstream,
            first,
            watch,
            wire,
            deadline,
            exchange,
            state: State::Relaying,
        };
        if relay.first.is_none() {
            relay.note_end();
        }
        relay
    }

    /// Completes the answer once its last byte has passed. Where the length is known beforehand the transport
    /// does not ask for more than that: the last byte is the end. A stream that may not end here is polled
    /// again, and then reported as broken.
    fn note_end(&mut self) {
        if self.upstream.is_end_stream() && self.ending() != Some(Ending::Open) {
            self.complete();
        }
    }

    fn complete(&mut self) {
        let usage = self.usage();
        self.exchange.record_usage(usage);
        self.exchange.complete();
        self.state = State::Done;
    }

    /// Makes the relay a response body.
    pub(super) fn into_body(self) -> Body {
        Body::new(self)
    }

    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ApiError>>> {
        if let Some(frame) = self.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match Pin::new(&mut self.upstream).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| {
                frame.map_err(|error| {
                    let message = format!("the upstream's answer broke off: {error}");
                    ApiError::server(StatusCode::BAD_GATEWAY, "upstream_broken", message)
                })
            })),
            Poll::Pending => {
                let Some(deadline) = &mut self.deadline else {
                    return Poll::Pending;
                };
                ready!(deadline.as_mut().poll(context));
                let message = "the answer took longer than upstream.total_timeout_ms";
                Poll::Ready(Some(Err(ApiError::server(
                    StatusCode::GATEWAY_TIMEOUT,
                    "upstream_timeout",
                    message,
                ))))
            }
        }
    }

    /// Returns what the client gets for a piece of the answer: the piece itself, but for a translated stream.
    fn observe(&mut self, data: Bytes) -> Bytes {
        match &mut self.watch {
            Watch::Stream(tap) => tap.feed(&data),
            Watch::Translated(translator) => return translator.feed(&data),
            Watch::Json(parts, size) if *size + data.len() <= MAX_WATCHED_BYTES => {
                *size += data.len();
                parts.push(data.clone());
            }
            Watch::Json(..) => self.watch = Watch::Nothing,
            Watch::Nothing => {}
        }
        data
    }

    /// Reads the end of the upstream's bytes, and returns what the client gets for it: nothing, but for a translated
    /// stream.
    fn observe_end(&mut self) -> Bytes {
        match &mut self.watch {
            Watch::Stream(tap) => {
                tap.finish();
                Bytes::new()
            }
            Watch::Translated(translator) => translator.finish(),
            Watch::Json(..) | Watch::Nothing => Bytes::new(),
        }
    }

    /// Ends the answer: cleanly where it is complete or failed in the upstream's own words, else with `error`.
    fn end(&mut self, error: &ApiError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let last = self.observe_end();
        if self.ending() == Some(Ending::Open) {
            return self.fail(error, &last);
        }
        self.complete();
        Poll::Ready((!last.is_empty()).then(|| Ok(Frame::data(last))))
    }

    /// Returns the state of the stream, where the answer is one that can be read.
    fn ending(&self) -> Option<Ending> {
        match &self.watch {
            Watch::Stream(tap) => Some(tap.ending()),
            Watch::Translated(translator) => Some(translator.ending()),
            Watch::Json(..) | Watch::Nothing => None,
        }
    }

    fn usage(&self) -> Usage {
        match &self.watch {
            Watch::Stream(tap) => tap.usage(),
            Watch::Translated(translator) => translator.usage(),
            Watch::Json(parts, _) => match parts.as_slice() {
                [whole] => usage_of_body(whole),
                parts => usage_of_body(&parts.concat()),
            },
            Watch::Nothing => Usage::default(),
        }
    }

    /// Writes the event that reports an error to the client; `None` where the answer is no stream that we can
    /// read, or has had its final event.
    fn event(&self, error: &ApiError) -> Option<Bytes> {
        match &self.watch {
            _ if self.ending() != Some(Ending::Open) => None,
            Watch::Stream(tap) if tap.inside_event() => Some(
                [b"\n\n", &error.event(self.wire, tap.next_sequence())[..]]
                    .concat()
                    .into(),
            ),
            Watch::Stream(tap) => Some(error.event(self.wire, tap.next_sequence())),
            _ => Some(error.event(self.wire, 0)),
        }
    }

    /// Reports a broken stream to the client in its API's words where that can be, after the `last` bytes, and
    /// aborts.
    fn fail(&mut self, error: &ApiError, last: &[u8]) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let usage = self.usage();
        self.exchange.record_usage(usage);
        self.exchange.fail(error.code);
        match self.event(error) {
            Some(event) => {
                self.state = State::Flushing(Box::pin(sleep(FLUSH_TIME)));
                Poll::Ready(Some(Ok(Frame::data([last, &event[..]].concat().into()))))
            }
            None => {
                self.state = State::Done;
                Poll::Ready(Some(Err(error.message.clone().into())))
            }
        }
    }
}

/// Appends bytes that are mostly none.
fn joined(data: Bytes, more: Bytes) -> Bytes {
    match (data.is_empty(), more.is_empty()) {
        (_, true) => data,
        (true, false) => more,
        (false, false) => [&data[..], &more[..]].concat().into(),
    }
}

impl<B> HttpBody for Relay<B>
where
    B: HttpBody<Data = Bytes, Error: Display> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.state {
            State::Relaying => {}
            State::Flushing(sleep) => {
                ready!(sleep.as_mut().poll(context));
                self.state = State::Done;
                return Poll::Ready(Some(Err("the upstream's stream broke off".into())));
            }
            State::Done => return Poll::Ready(None),
        }
        loop {
            match ready!(self.next(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let mut data = self.observe(data);
                        if self.upstream.is_end_stream() {
                            data = joined(data, self.observe_end());
                        }
                        // A translated stream may need more to make an event of; an empty frame says nothing.
                        self.note_end();
                        if !data.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(data))));
                        }
                    }
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) if self.ending() == Some(Ending::Failed) || self.ending().is_none() => {
                    return self.fail(&error, &[]);
                }
                Some(Err(error)) => return self.end(&error),
                None => {
                    let message = "the upstream's stream ended before its final event";
                    let error = ApiError::server(StatusCode::BAD_GATEWAY, "upstream_broken", message);
                    return self.end(&error);
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done)
    }

    fn size_hint(&self) -> SizeHint {
        let first = self
            .first
            .as_ref()
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len) as u64;
        match (&self.watch, self.upstream.size_hint().exact()) {
            (Watch::Json(..) | Watch::Nothing, Some(rest)) => SizeHint::with_exact(first + rest),
            _ => SizeHint::new(),
        }
    }
}
