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
use crate::translate::{self, StreamTranslator, Translation};
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
    if arrived.response.status().is_success() && (is_stream(&arrived) || is_wanted_as_stream(&arrived)) {
        return conversation.stream(arrived, exchange).await;
    }
    conversation.collect(arrived, exchange).await
}

/// Returns whether an answer is translated into a stream, in whatever form it comes.
fn is_wanted_as_stream(arrived: &UpstreamResponse) -> bool {
    let translation = arrived.translation.as_ref();
    translation.is_some_and(Translation::wants_stream)
}

/// Returns whether a translated stream begins with an error: that has a status for the client.
fn begins_with_error(arrived: &UpstreamResponse) -> bool {
    let first = arrived.first.as_ref().and_then(Frame::data_ref);
    let opening = arrived.translation.as_ref().zip(first);
    opening.is_some_and(|(translation, first)| translation.opening_error(first).is_some())
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

/// Reads a target's answer to its end.
async fn read_whole(first: Option<Bytes>, rest: AnswerBody, target: &Target) -> Result<Bytes, Failure> {
    let whole = translate::collect(first.unwrap_or_default(), rest).await;
    whole.map_err(|error| Failure::Broken {
        provider: target.provider.name.clone(),
        source: error.into(),
    })
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
        let first = first.and_then(|frame| frame.into_data().ok());
        let mut body = read_whole(first, rest, &target).await?;
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
    async fn stream(self, arrived: UpstreamResponse, exchange: Exchange) -> Response<Body> {
        let wire = self.session.wire();
        if begins_with_error(&arrived) {
            return answer::forward(arrived, wire, self.app.upstreams.total(), exchange).await;
        }
        if let Err(error) = check_readable(&arrived) {
            return refuse(&error, wire, exchange);
        }
        let (status, mut fields) = (arrived.response.status(), arrived.response.headers().clone());
        headers::strip_hop_by_hop(&mut fields);
        fields.remove(header::CONTENT_LENGTH);
        if arrived.translation.is_some() {
            answer::describe(&mut fields, "text/event-stream; charset=utf-8");
        }
        let (target, deadline) = (arrived.target.clone(), arrived.deadline);
        let source = tokio::time::timeout_at(deadline, Source::new(arrived));
        let source = match source.await.unwrap_or_else(|_| {
            Err(Failure::Total {
                limit_ms: self.app.upstreams.total().as_millis(),
            })
        }) {
            Ok(source) => source,
            Err(failure) => return refuse(&ApiError::from(&failure), wire, exchange),
        };
        let spliced = SplicedStream {
            splicer: self.session.splicer(),
            conversation: self,
            target,
            source: Some(source),
        };
        let upstream = Body::from_stream(spliced.into_stream());
        let watch = Watch::Stream(Box::new(Tap::new(wire)));
        let relay = Relay::new(upstream, None, watch, wire, Some(deadline), exchange);
        answer::response(status, fields, relay.into_body())
    }
}

/// The stream of one round, in the client's API.
struct Source {
    /// What of the stream has arrived already.
    first: Option<Bytes>,
    /// The rest, until it has ended.
    rest: Option<AnswerBody>,
    /// Translates both, where the provider speaks another API.
    translator: Option<StreamTranslator>,
}

impl Source {
    /// Takes an answer that is a stream, or that is translated into one.
    async fn new(arrived: UpstreamResponse) -> Result<Self, Failure> {
        let is_stream = is_stream(&arrived);
        let UpstreamResponse {
            response,
            first,
            target,
            translation,
            ..
        } = arrived;
        let first = first.and_then(|frame| frame.into_data().ok());
        let (parts, rest) = response.into_parts();
        let translation = match translation {
            Some(translation) if !is_stream => translation,
            translation => {
                return Ok(Self {
                    first,
                    rest: Some(rest),
                    translator: translation.map(|translation| translation.stream()),
                });
            }
        };
        let body = read_whole(first, rest, &target).await?;
        Ok(Self {
            first: Some(translation.body(parts.status, &body).1),
            rest: None,
            translator: None,
        })
    }

    /// Returns the next bytes, which may be none; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        let data = match (self.first.take(), &mut self.rest) {
            (Some(first), _) => first,
            (None, None) => return Ok(None),
            (None, Some(rest)) => match rest.frame().await {
                Some(frame) => frame?.into_data().unwrap_or_default(),
                None => {
                    self.rest = None;
                    return Ok(self.translator.as_mut().map(StreamTranslator::finish));
                }
            },
        };
        Ok(Some(match &mut self.translator {
            Some(translator) => translator.feed(&data),
            None => data,
        }))
    }

    /// Reads what is left of a stream that is over, so that its connection can be used again.
    async fn end(self) {
        if let Some(mut rest) = self.rest.filter(|rest| !rest.is_end_stream()) {
            let end = async { while let Some(Ok(_)) = rest.frame().await {} };
            let _ = tokio::time::timeout(LAST_FRAMES, end).await;
        }
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
    /// The stream that is read; none once the last one has ended.
    source: Option<Source>,
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
            let Some(source) = &mut self.source else {
                return Ok(None);
            };
            let data = match source.next().await {
                Ok(data) => data,
                Err(error) if !self.splicer.asks() => return Err(SpliceError::Broken(error)),
                Err(_) => None,
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
        let ended = self.source.take();
        let Some(turn) = self.splicer.take_turn() else {
            return Ok(());
        };
        if let Some(ended) = ended {
            ended.end().await;
        }
        let (arrived, may_ask) = self.conversation.go_on(turn, &self.target).await?;
        let status = arrived.response.status();
        if !status.is_success() || !(is_stream(&arrived) || is_wanted_as_stream(&arrived)) {
            return Err(SpliceError::NoStream(status));
        }
        check_readable(&arrived).map_err(|error| SpliceError::Unreadable(error.message))?;
        self.splicer.set_may_ask(may_ask);
        self.source = Some(Source::new(arrived).await?);
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
