//! Calls on no surface where the workers' language model answers: the list of models is the workers', everything else
//! does not exist here.

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};

use super::relay::{Relay, Watch};
use super::{App, LiveState, answer, headers, refuse, route};
use crate::api::Wire;
use crate::error::ApiError;
use crate::extract::ModelCall;
use crate::report::Exchange;
use crate::upstream::{Failure, plain_worker_call};

/// Answers a call on no surface.
pub(super) async fn answer_other(
    app: &App,
    live: &LiveState,
    wire: Wire,
    request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    let Some(call) = models_call(app, request, &exchange) else {
        let message = "the workers answer /v1/chat/completions, /v1/completions and /v1/models; set upstream.model to \
                       another provider for the rest";
        let error = ApiError::invalid(StatusCode::NOT_FOUND, "not_found", message);
        return refuse(&error, wire, exchange);
    };
    let workers = live.compressor.client();
    let held = workers.ask_or_hold(workers.hold_limit(), || workers.forward(&call), |_| true);
    let arrived = match held.await {
        Ok(arrived) => arrived,
        Err(error) => return refuse(&ApiError::from(&Failure::from(error)), wire, exchange),
    };
    let (mut parts, body) = arrived.response.into_parts();
    exchange.record_status(parts.status);
    headers::strip_hop_by_hop(&mut parts.headers);
    let relay = Relay::new(body, arrived.first, Watch::Nothing, wire, None, exchange);
    answer::response(parts.status, parts.headers, relay.into_body())
}

/// Makes the workers' call of one for models; `None` for every other.
fn models_call(app: &App, request: Request<Body>, exchange: &Exchange) -> Option<ModelCall> {
    let (mut parts, _) = request.into_parts();
    let path = route::below_version(parts.uri.path()).to_owned();
    let models = path == "/models" || path.starts_with("/models/");
    if !models || !matches!(parts.method, Method::GET | Method::HEAD) {
        return None;
    }
    exchange.inject_trace(&mut parts.headers);
    plain_worker_call(
        parts.method,
        &format!("/v1{path}"),
        &parts.headers,
        &app.upstreams,
    )
}
