//! Answers as server-sent events, as OpenAI sends them: one chunk an event, `[DONE]` at the end. An error that comes
//! after the first chunk is an event too, and ends the stream without `[DONE]`.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;
use serde::Serialize;

use super::answers::Answers;
use super::error::ApiError;
use super::reply::{Choice, Reply};

/// Events that are written and not sent.
#[derive(Default)]
pub(super) struct EventWriter(VecDeque<Bytes>);

impl EventWriter {
    pub(super) fn write(&mut self, chunk: &impl Serialize) {
        match serde_json::to_string(chunk) {
            Ok(text) => self.0.push_back(format!("data: {text}\n\n").into()),
            Err(error) => self.fail(&ApiError::internal(error)),
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.0.push_back(format!("data: {}\n\n", error.body()).into());
    }
}

struct EventStream<C> {
    answers: Answers,
    reply: Reply<C>,
    out: EventWriter,
    ended: bool,
}

/// Sends answers as they are written. What fails before the first event is an error with its own status.
pub(super) async fn respond<C: Choice>(
    mut answers: Answers,
    mut reply: Reply<C>,
) -> Result<Response, ApiError> {
    let mut out = EventWriter::default();
    if let Some(first) = answers.next().await {
        let (index, event) = first?;
        reply.write(index, event, &mut out);
    }
    let events = EventStream {
        answers,
        reply,
        out,
        ended: false,
    };
    let events = stream::unfold(events, |mut events| async move {
        let bytes = events.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), events))
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

impl<C: Choice> EventStream<C> {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.out.0.pop_front() {
                return Some(bytes);
            }
            if self.ended {
                return None;
            }
            match self.answers.next().await {
                Some(Ok((index, event))) => self.reply.write(index, event, &mut self.out),
                Some(Err(error)) => {
                    self.out.fail(&error);
                    self.ended = true;
                }
                None => {
                    self.reply.end(&mut self.out);
                    self.out.0.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
                    self.ended = true;
                }
            }
        }
    }
}
