//! A call in which the model may ask for more of a document: its questions are answered here and the upstream is asked
//! again, until the answer is the application's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;

use super::relay::{Relay, Watch};
use super::route::Route;
use super::{App, LiveState, answer, headers, refuse};
use crate::api::{ProviderKind, Wire};
use crate::compress::{PackedDocument, offload};
use crate::error::ApiError;
use crate::report::Exchange;
use crate::retrieval::{Answer, Offer, Session, Splicer, Turn};
use crate::sse::{Tap, usage_of_body};
use crate::translate;
use crate::upstream::{
    AnswerBody, CallPath, Failure, OutgoingCall, Target, UpstreamAnswer, UpstreamResponse,
};

/// Time for a stream that is over to end, so that its connection can be used again.
const LAST_FRAMES: Duration = Duration::from_millis(20);

/// A call that may take several rounds.
struct Conversation {
    app: App,
    live: Arc<LiveState>,
    path: CallPath,
    query: Option<String>,
    headers: HeaderMap,
    session: Session,
}

/// Offers the model the tool with which it can ask for more of the documents, where that can be.
pub(super) async fn offer(
    live: &LiveState,
    wire: Wire,
    body: &Bytes,
    documents: &[PackedDocument],
    exchange: &Exchange,
) -> Option<Session> {
    let targets = live.routes.targets(wire);
    let is_local = |target: &Target| target.provider.kind == ProviderKind::Local;
    if targets.iter().any(is_local) {
        return None;
    }
    let offer = Offer {
        wire,
        translated: targets.iter().any(|target| !target.provider.speaks(wire)),
        body: body.clone(),
        documents: documents.to_vec(),
        compressor: live.compressor.clone(),
        retrievals: exchange.retrievals(),
    };
    offload(body.len(), || offer.accept()).await
}

/// Answers a call in which the model may ask. The headers are those for the upstream.
pub(super) async fn answer(
    app: &App,
    live: Arc<LiveState>,
    route: Route,
    mut parts: Parts,
    session: Session,
    mut exchange: Exchange,
) -> Response<Body> {
    let (asked, wire) = (Instant::now(), route.wire);
    // The answer must come unencoded: it is read here.
    parts.headers.remove(header::ACCEPT_ENCODING);
    let conversation = Conversation {
        app: app.clone(),
        live,
        path: route.path,
        query: parts.uri.query().map(str::to_owned),
        headers: parts.headers,
        session,
    };
    let arrived = match conversation.ask(conversation.live.routes.targets(wire)).await {
        Ok(arrived) => arrived,
        Err(failure) => return refuse(&ApiError::from(&failure), wire, exchange),
    };
    exchange.record_first_byte(arrived.target.provider.genai_name(), asked);
    exchange.record_status(arrived.response.status());
    if arrived.response.status().is_success() && arrived.translation.is_none() && is_stream(&arrived) {
        return conversation.stream(arrived, exchange);
    }
    conversation.collect(arrived, exchange).await
}

/// Returns whether an answer is an event stream. Some servers' content types lie, so its first bytes count.
fn is_stream(arrived: &UpstreamResponse) -> bool {
    let first = arrived.first.as_ref().and_then(Frame::data_ref);
    let first = first.map(|data| data.trim_ascii_start()).unwrap_or_default();
    let begins = |field: &[u8]| first.starts_with(field);
    match headers::is_event_stream(arrived.response.headers()) {
        true => !begins(b"{"),
        false => begins(b"event:") || begins(b"data:"),
    }
}

/// Refuses an answer in a content coding: a question in it would not be seen.
fn check_readable(arrived: &UpstreamResponse) -> Result<(), ApiError> {
    if !headers::is_encoded(arrived.response.headers()) {
        return Ok(());
    }
    let message = "the upstream's answer is in a content coding that the request did not allow: set its server to obey \
                   accept-encoding";
    Err(ApiError::server(
        StatusCode::BAD_GATEWAY,
        "upstream_unreadable",
        message,
    ))
}

impl Conversation {
    /// Sends the request as it is now.
    async fn ask(&self, targets: &[Target]) -> Result<UpstreamResponse, Failure> {
        let call = OutgoingCall {
            wire: self.session.wire(),
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            body: self.session.body(),
            workers: self.live.compressor.client(),
        };
        match self.app.upstreams.send(&call, targets).await? {
            UpstreamAnswer::Upstream(arrived) => Ok(*arrived),
            UpstreamAnswer::Local { .. } => Err(Failure::Total {
                limit_ms: self.app.upstreams.total().as_millis(),
            }),
        }
    }

    /// Answers a turn, and asks the same target again.
    async fn go_on(&mut self, turn: Turn, target: &Target) -> Result<(UpstreamResponse, bool), Failure> {
        let may_ask = self.session.answer(turn).await;
        let arrived = self.ask(std::slice::from_ref(target)).await?;
        Ok((arrived, may_ask))
    }

    /// Answers with the first answer, read whole, that is the application's.
    async fn collect(mut self, mut arrived: UpstreamResponse, mut exchange: Exchange) -> Response<Body> {
        let wire = self.session.wire();
        let deadline = arrived.deadline;
        loop {
            let status = arrived.response.status();
            exchange.record_status(status);
            if !status.is_success() {
                return answer::forward(arrived, wire, self.app.upstreams.total(), exchange).await;
            }
            if let Err(error) = check_readable(&arrived) {
                return refuse(&error, wire, exchange);
            }
            let round = tokio::time::timeout_at(deadline, self.round(arrived));
            match round.await.unwrap_or_else(|_| {
                Err(Failure::Total {
                    limit_ms: self.app.upstreams.total().as_millis(),
                })
            }) {
                Ok(Round::Next(next)) => arrived = *next,
                Ok(Round::Last(last)) => return last.respond(exchange),
                Err(failure) => return refuse(&ApiError::from(&failure), wire, exchange),
            }
        }
    }

    /// Reads an answer whole; where it asks, answers and asks again.
    async fn round(&mut self, arrived: UpstreamResponse) -> Result<Round, Failure> {
        let UpstreamResponse {
            response,
            first,
            target,
            translation,
            ..
        } = arrived;
        let (mut parts, rest) = response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        let first = first.and_then(|frame| frame.into_data().ok()).unwrap_or_default();
        let mut body = translate::collect(first, rest)
            .await
            .map_err(|error| Failure::Broken {
                provider: target.provider.name.clone(),
                source: error.into(),
            })?;
        if let Some(translation) = &translation {
            (parts.status, body, _) = translation.body(parts.status, &body);
            answer::describe(&mut parts.headers, translation.content_type(parts.status));
        }
        let end = match self.session.read(&body) {
            Answer::Asks(turn) => return Ok(Round::Next(Box::new(self.go_on(turn, &target).await?.0))),
            Answer::Final(end) => end,
        };
        if let Some(changed) = end.body {
            body = changed;
            answer::describe(&mut parts.headers, "application/json");
        }
        Ok(Round::Last(WholeAnswer {
            status: parts.status,
            headers: parts.headers,
            body,
        }))
    }

    /// Answers with a stream into which those of all rounds are spliced.
    fn stream(self, arrived: UpstreamResponse, exchange: Exchange) -> Response<Body> {
        let wire = self.session.wire();
        if let Err(error) = check_readable(&arrived) {
            return refuse(&error, wire, exchange);
        }
        let UpstreamResponse {
            response,
            first,
            target,
            deadline,
            ..
        } = arrived;
        let (mut parts, upstream) = response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(header::CONTENT_LENGTH);
        let spliced = SplicedStream {
            splicer: self.session.splicer(),
            conversation: self,
            target,
            first: first.and_then(|frame| frame.into_data().ok()),
            upstream: Some(upstream),
        };
        let upstream = Body::from_stream(spliced.into_stream());
        let watch = Watch::Stream(Box::new(Tap::new(wire)));
        let relay = Relay::new(upstream, None, watch, wire, Some(deadline), exchange);
        answer::response(parts.status, parts.headers, relay.into_body())
    }
}

/// What follows an answer that was read whole.
enum Round {
    /// The answer to what the model was told.
    Next(Box<UpstreamResponse>),
    /// The application's answer.
    Last(WholeAnswer),
}

/// The application's answer.
struct WholeAnswer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl WholeAnswer {
    fn respond(self, mut exchange: Exchange) -> Response<Body> {
        exchange.record_usage(usage_of_body(&self.body));
        exchange.record_status(self.status);
        exchange.complete();
        answer::response(self.status, self.headers, Body::from(self.body))
    }
}

/// The streams of all rounds, as one that the relay reads like an upstream's.
struct SplicedStream {
    conversation: Conversation,
    splicer: Splicer,
    target: Target,
    /// What of the stream has arrived already.
    first: Option<Bytes>,
    /// The rest; none once the last stream has ended.
    upstream: Option<AnswerBody>,
}

impl SplicedStream {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, SpliceError>> {
        futures::stream::try_unfold(self, |mut spliced| async move {
            Ok(spliced.next().await?.map(|bytes| (bytes, spliced)))
        })
    }

    /// Returns the next bytes for the client; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, SpliceError> {
        loop {
            let Some(upstream) = &mut self.upstream else {
                return Ok(None);
            };
            let data = match self.first.take() {
                Some(data) => Some(data),
                None => match upstream.frame().await {
                    Some(Ok(frame)) => Some(frame.into_data().unwrap_or_default()),
                    Some(Err(error)) if !self.splicer.asks() => return Err(SpliceError::Broken(error)),
                    Some(Err(_)) | None => None,
                },
            };
            let out = match &data {
                Some(data) => self.splicer.feed(data),
                None => self.splicer.finish(),
            };
            self.conversation
                .session
                .note_dropped(self.splicer.take_dropped());
            if self.splicer.has_lost_events() {
                return Err(SpliceError::TooLarge);
            }
            if data.is_none() || self.splicer.is_over() {
                self.end_round().await?;
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
    }

    /// Goes on with the stream that answers what the model was told, if the last one asked.
    async fn end_round(&mut self) -> Result<(), SpliceError> {
        let rest = self.upstream.take();
        let Some(turn) = self.splicer.take_turn() else {
            return Ok(());
        };
        if let Some(mut rest) = rest.filter(|rest| !rest.is_end_stream()) {
            let end = async { while let Some(Ok(_)) = rest.frame().await {} };
            let _ = tokio::time::timeout(LAST_FRAMES, end).await;
        }
        let (arrived, may_ask) = self.conversation.go_on(turn, &self.target).await?;
        let status = arrived.response.status();
        if !status.is_success() || !is_stream(&arrived) {
            return Err(SpliceError::NoStream(status));
        }
        check_readable(&arrived).map_err(|error| SpliceError::Unreadable(error.message))?;
        self.splicer.set_may_ask(may_ask);
        self.first = arrived.first.and_then(|frame| frame.into_data().ok());
        self.upstream = Some(arrived.response.into_body());
        Ok(())
    }
}

/// Why a stream does not go on.
#[derive(Debug, thiserror::Error)]
enum SpliceError {
    /// The connection broke.
    #[error(transparent)]
    Broken(Box<dyn std::error::Error + Send + Sync>),
    /// The upstream gave no answer to what the model was told.
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The upstream answered that with something else.
    #[error("after a question about a document the upstream gave no stream, but status {0}")]
    NoStream(StatusCode),
    /// The answer cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// An event is too large to be read.
    #[error("an event of the stream is too large to be read")]
    TooLarge,
}
