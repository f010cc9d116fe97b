//! A call on a surface: read, compress, send, relay.

use std::time::{Duration, Instant};

use axum::body::Body;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use liquid_contract::{Unread, Whole};

use super::passthrough::Onward;
use super::route::{Route, asks_dry_run};
use super::{App, LiveState, answer, body, headers, pages, passthrough, refuse, retrieve};
use crate::api::{Mode, Overrides, ProviderKind, Reason, Wire, header_names};
use crate::compress::{Action, Call, Decision, Evidence, Outcome};
use crate::error::ApiError;
use crate::extract::OnWorkerUnavailable;
use crate::report::Exchange;
use crate::retrieval::Session;
use crate::upstream::path::Address;
use crate::upstream::{self, Target, UpstreamAnswer};
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
        // In a box like every way that few calls take: what a call might need is moved with it.
        let request = Request::from_parts(parts, body);
        return Box::pin(forward_unread(app, &live, route, request, exchange)).await;
    }
    let call = match read(app, &live, &route, &parts, body).await {
        Ok(call) => call,
        Err(error) => return refuse(&error, route.wire, exchange),
    };
    let mut outcome = live.compressor.compress(call).await;
    exchange.record_decision(outcome.decision());
    if let Some(recent) = &app.recent {
        recent.record(&outcome);
    }
    let session = offer(&live, route.wire, &outcome, &exchange).await;
    headers::strip_for_upstream(&mut parts.headers);
    exchange.inject_trace(&mut parts.headers);
    if let (Outcome::Forward { body, decision, .. }, Some(session)) = (&mut outcome, &session)
        && decision.dry_run
    {
        *body = session.body();
    }
    let mut response = match &outcome {
        Outcome::Reject { rejection, .. } => refuse(&ApiError::from(rejection), route.wire, exchange),
        Outcome::Forward { decision, .. } if decision.dry_run => pages::answer_dry_run(&outcome, exchange),
        Outcome::Forward {
            body,
            decision,
            evidence,
            ..
        } => match session {
            // In a box: calls in which nothing can be asked do not carry what the others need.
            Some(session) => Box::pin(retrieve::answer(app, live, route, parts, session, exchange)).await,
            None => {
                let call = upstream::OutgoingCall {
                    wire: route.wire,
                    path: &route.path,
                    query: parts.uri.query(),
                    headers: &parts.headers,
                    body: body.clone(),
                    workers: live.compressor.client(),
                };
                send(app, &live, &call, decision, evidence.as_deref(), exchange).await
            }
        },
    };
    report::headers::write_decision(response.headers_mut(), outcome.decision());
    response
}

/// Offers the model to ask about the documents of a call, if it has some.
async fn offer(live: &LiveState, wire: Wire, outcome: &Outcome, exchange: &Exchange) -> Option<Session> {
    match outcome {
        Outcome::Forward { body, documents, .. } if !documents.is_empty() => {
            Box::pin(retrieve::offer(live, wire, body, documents, exchange)).await
        }
        _ => None,
    }
}

async fn read(
    app: &App,
    live: &LiveState,
    route: &Route,
    parts: &Parts,
    body: Body,
) -> Result<Call, ApiError> {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let mut overrides = Overrides::parse(text).map_err(|error| ApiError::from(&error))?;
    let is_local = |target: &Target| target.provider.kind == ProviderKind::Local;
    let targets = live.routes.targets(route.wire);
    if live.routes.is_local(route.wire) && overrides.mode.is_none() {
        // The extractive answer is made of evidence, also of a document that is too short to be worth packing.
        overrides.mode = Some(Mode::Force);
    }
    let asked = matches!(text(header_names::DRY_RUN), Some("1" | "true"));
    let request_id = text(header_names::REQUEST_ID)
        .filter(|id| is_request_id(id))
        .map(str::to_owned);
    let time = Duration::from_millis(app.limits.body_timeout_ms);
    let body = body::read(body, app.limits.max_body_bytes, time).await?;
    let dry_run = asked || asks_dry_run(parts.uri.query());
    Ok(Call {
        surface: route.surface,
        body,
        overrides,
        request_id,
        evidence: targets.iter().any(is_local)
            || app.recent.as_ref().is_some_and(|recent| recent.keeps_texts()),
        leaves: !live.routes.stays(route.wire),
        dry_run,
    })
}

fn is_request_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Forwards a body in a content coding as it is, where nothing in it has to be changed and nothing must stay
/// here.
async fn forward_unread(
    app: &App,
    live: &LiveState,
    route: Route,
    request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    const REASON: &str = "encoded_body";
    let settings = live.compressor.settings();
    let (unread, whole) = (settings.policy.unread, settings.policy.whole);
    let may_leave = settings.extract.on_worker_unavailable == OnWorkerUnavailable::Forward
        && unread == Unread::Forward
        && whole != Whole::Refuse;
    let as_it_is = |target: &&Target| target.model.is_none() && target.provider.speaks(route.wire);
    let targets = live.routes.targets(route.wire);
    let target = targets.first().filter(as_it_is).filter(|_| may_leave);
    let query = request.uri().query();
    let addressed = target.map(|target| (target, target.provider.address(&route.path, query, None)));
    let Some((target, Address { url, .. })) =
        addressed.filter(|(_, address)| address.url.is_some() && !address.model_in_body)
    else {
        let message = "a body with content-encoding cannot be read here, and the configuration does not let it pass \
                       unread (upstream.model, extract.on_worker_unavailable, policy.unread, policy.whole): send it \
                       without";
        let error = ApiError::invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, REASON, message);
        let reason = match unread {
            Unread::Forward => REASON,
            Unread::Refuse => Reason::Unread.as_str(),
        };
        record_unread(app, &route, Action::Rejected, reason, &mut exchange);
        let mut response = refuse(&error, route.wire, exchange);
        report::headers::write_unread(response.headers_mut(), Action::Rejected, reason);
        return response;
    };
    record_unread(app, &route, Action::Passed, REASON, &mut exchange);
    let onward = Onward { target, url };
    let mut response = passthrough::forward(app, onward, route.wire, request, exchange).await;
    report::headers::write_unread(response.headers_mut(), Action::Passed, REASON);
    response
}

/// Records what became of a call that was not read.
fn record_unread(app: &App, route: &Route, action: Action, reason: &'static str, exchange: &mut Exchange) {
    exchange.record_unread(action, reason);
    if let Some(recent) = &app.recent {
        recent.record_unread(route.surface, action, reason);
    }
}

async fn send(
    app: &App,
    live: &LiveState,
    call: &upstream::OutgoingCall<'_>,
    decision: &Decision,
    evidence: Option<&Evidence>,
    mut exchange: Exchange,
) -> Response<Body> {
    let asked = Instant::now();
    match app.upstreams.send(call, live.routes.targets(call.wire)).await {
        Ok(UpstreamAnswer::Local { model }) => {
            exchange.record_status(StatusCode::OK);
            let question = local::LocalCall {
                wire: call.wire,
                body: &call.body,
                model: &model,
                decision,
                evidence,
            };
            local::answer(&question, exchange)
        }
        Ok(UpstreamAnswer::Upstream(arrived)) => {
            exchange.record_first_byte(arrived.target.provider.genai_name(), asked);
            exchange.record_status(arrived.response.status());
            answer::forward(*arrived, call.wire, app.upstreams.total(), exchange).await
        }
        Err(failure) => refuse(&ApiError::from(&failure), call.wire, exchange),
    }
}
