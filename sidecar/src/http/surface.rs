//! A call on a surface: read, compress, send, relay.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use hyper::body::Incoming;

use super::error::ApiError;
use super::relay::{Relay, Watch};
use super::route::{Route, asks_dry_run};
use super::{App, Live, body, headers, own, passthrough, refuse};
use crate::compress::{Call, Decision, Evidence, Mode, Outcome, Overrides};
use crate::report::Exchange;
use crate::sse::{Tap, Wire};
use crate::translate::{self, Translation};
use crate::upstream::{self, Answer, Kind, Target};
use crate::{local, report};

/// Answers one call on a surface.
pub(super) async fn handle(
    app: &App,
    route: Route,
    request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    let live = app.live.load_full();
    let (mut parts, body) = request.into_parts();
    if headers::is_encoded(&parts.headers) {
        return unread(app, &live, route, Request::from_parts(parts, body), exchange).await;
    }
    let call = match read(app, &live, route, &parts, body).await {
        Ok(call) => call,
        Err(error) => return refuse(&error, route.wire, exchange),
    };
    let outcome = live.compressor.compress(call).await;
    exchange.decided(outcome.decision());
    let mut response = match &outcome {
        Outcome::Reject { rejection, .. } => refuse(&ApiError::from(rejection), route.wire, exchange),
        Outcome::Forward {
            body,
            decision,
            evidence,
        } if decision.dry_run => own::dry_run(decision, evidence.as_deref(), body, exchange),
        Outcome::Forward {
            body,
            decision,
            evidence,
        } => {
            headers::for_upstream(&mut parts.headers);
            exchange.trace(&mut parts.headers);
            let call = upstream::Call {
                wire: route.wire,
                path: route.path,
                query: parts.uri.query(),
                headers: &parts.headers,
                body: body.clone(),
            };
            send(app, &live, &call, decision, evidence.as_deref(), exchange).await
        }
    };
    report::headers::report(response.headers_mut(), outcome.decision());
    response
}

async fn read(app: &App, live: &Live, route: Route, parts: &Parts, body: Body) -> Result<Call, ApiError> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let mut overrides = Overrides::parse(text).map_err(|error| ApiError::from(&error))?;
    let local = live
        .routes
        .targets(route.wire)
        .first()
        .is_some_and(|target| target.provider.kind == Kind::Local);
    if local && overrides.mode.is_none() {
        // The extractive answer is made of evidence, also of a document that is too short to be worth packing.
        overrides.mode = Some(Mode::Force);
    }
    let asked = matches!(text("x-liquid-dry-run"), Some("1" | "true"));
    let request_id = text("x-request-id")
        .filter(|id| is_request_id(id))
        .map_or_else(new_request_id, str::to_owned);
    let time = Duration::from_millis(app.limits.body_timeout_ms);
    let body = body::read(body, app.limits.max_body_bytes, time).await?;
    let dry_run = asked || asks_dry_run(parts.uri.query());
    Ok(Call {
        surface: route.surface,
        body,
        overrides,
        request_id,
        dry_run,
    })
}

fn is_request_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn new_request_id() -> String {
    format!("lq_{:016x}", fastrand::u64(..))
}

/// A body in a content coding goes on as it is, where nothing in it has to be changed.
async fn unread(
    app: &App,
    live: &Live,
    route: Route,
    request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    const REASON: &str = "encoded_body";
    exchange.unread(REASON);
    let target = live.routes.targets(route.wire).first();
    let Some(target) = target.filter(|target| target.model.is_none() && target.provider.speaks(route.wire))
    else {
        let message = "a body with content-encoding cannot be read here: send it without, or leave upstream.model unset";
        let error = ApiError::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded_body", message);
        return refuse(&error, route.wire, exchange);
    };
    let mut response = passthrough::forward(app, target, route.path, route.wire, request, exchange).await;
    report::headers::report_unread(response.headers_mut(), REASON);
    response
}

async fn send(
    app: &App,
    live: &Live,
    call: &upstream::Call<'_>,
    decision: &Decision,
    evidence: Option<&Evidence>,
    mut exchange: Exchange,
) -> Response<Body> {
    let asked = Instant::now();
    match app.upstreams.send(call, live.routes.targets(call.wire)).await {
        Ok(Answer::Local { model }) => {
            exchange.status(StatusCode::OK);
            let question = local::Question {
                wire: call.wire,
                body: &call.body,
                model: &model,
                decision,
                evidence,
            };
            local::answer(&question, exchange)
        }
        Ok(Answer::Upstream {
            response,
            first,
            target,
            translation,
            deadline,
        }) => {
            exchange.answered(&target.provider.name, asked);
            exchange.status(response.status());
            let answer = Arrived {
                response,
                first,
                target,
                deadline,
            };
            match translation {
                Some(translation) => {
                    answer
                        .translate(translation, call.wire, app.upstreams.total(), exchange)
                        .await
                }
                None => answer.relay(call.wire, exchange),
            }
        }
        Err(failure) => refuse(&ApiError::from(&failure), call.wire, exchange),
    }
}

struct Arrived {
    response: Response<Incoming>,
    first: Option<Frame<bytes::Bytes>>,
    target: Target,
    deadline: tokio::time::Instant,
}

impl Arrived {
    /// The upstream's bytes as they are.
    fn relay(self, wire: Wire, exchange: Exchange) -> Response<Body> {
        let (mut parts, incoming) = self.response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        let watch = watch(&parts.headers, wire);
        if matches!(watch, Watch::Stream(_)) {
            // A promised length leaves no room for the event that tells of a cut.
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        let relay = Relay::new(incoming, self.first, watch, wire, Some(self.deadline), exchange);
        response(parts.status, parts.headers, relay.into_body())
    }

    /// The upstream's answer in the client's words.
    async fn translate(
        self,
        translation: Translation,
        wire: Wire,
        total: Duration,
        mut exchange: Exchange,
    ) -> Response<Body> {
        let (mut parts, incoming) = self.response.into_parts();
        headers::strip_hop_by_hop(&mut parts.headers);
        parts.headers.remove(header::CONTENT_LENGTH);
        if parts.status.is_success() && headers::is_event_stream(&parts.headers) {
            let watch = Watch::Translated(Box::new(translation.stream()));
            let relay = Relay::new(incoming, self.first, watch, wire, Some(self.deadline), exchange);
            return response(parts.status, parts.headers, relay.into_body());
        }
        let first = self
            .first
            .and_then(|frame| frame.into_data().ok())
            .unwrap_or_default();
        let whole = translate::collect(first, incoming);
        let body = match tokio::time::timeout_at(self.deadline, whole).await {
            Ok(Ok(body)) => body,
            Ok(Err(reason)) => {
                let provider = self.target.provider.name.clone();
                return refuse(
                    &ApiError::from(&upstream::Failure::Broken { provider, reason }),
                    wire,
                    exchange,
                );
            }
            Err(_) => {
                let failure = upstream::Failure::Total {
                    limit_ms: total.as_millis(),
                };
                return refuse(&ApiError::from(&failure), wire, exchange);
            }
        };
        let (status, body, usage) = translation.body(parts.status, &body);
        exchange.usage(usage);
        exchange.status(status);
        exchange.complete();
        parts
            .headers
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response(status, parts.headers, Body::from(body))
    }
}

/// What can be read of an answer with these headers.
pub(super) fn watch(headers: &HeaderMap, wire: Wire) -> Watch {
    if headers::is_encoded(headers) {
        Watch::Nothing
    } else if headers::is_event_stream(headers) {
        Watch::Stream(Box::new(Tap::new(wire)))
    } else {
        Watch::Json(Vec::new(), 0)
    }
}

/// A response with the upstream's status and headers; its version and extensions belong to its own connection.
pub(super) fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
