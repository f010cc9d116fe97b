//! Calls on no surface: any method, any path, streamed both ways, changed in nothing but the headers
//! that belong to a connection and the key.

use axum::body::Body;
use http::{Request, Response, StatusCode, Uri};
use liquid_contract::Unread;

use super::relay::{Relay, Watch};
use super::{App, answer, headers, intercepted, refuse, route, tunnel, unread, workers};
use crate::api::{ProviderKind, Wire};
use crate::compress::Action;
use crate::error::ApiError;
use crate::local;
use crate::report::Exchange;
use crate::upstream::Target;

/// Passes a call through to the provider of its API.
pub(super) async fn handle(
    app: &App,
    wire: Wire,
    request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    exchange.record_unread(Action::Passed, "no_surface");
    let live = app.live.load_full();
    let target = live.routes.passthrough(wire == Wire::Messages);
    let path = route::below_version(request.uri().path()).to_owned();
    if target.provider.kind == ProviderKind::Local {
        return local::answer_other(request.method(), &path, wire, exchange);
    }
    if target.provider.kind == ProviderKind::Liquid {
        return Box::pin(workers::answer_other(app, &live, wire, request, exchange)).await;
    }
    let url = match intercepted::is_unversioned(&request) {
        true => target.provider.unversioned_url(&path, request.uri().query()),
        false => target.provider.url(&path, request.uri().query()),
    };
    let policy = &live.compressor.settings().policy;
    let request = match policy.unread {
        Unread::Forward => request,
        // In a box like every way that few calls take: what a call might need is moved with it.
        Unread::Refuse => match Box::pin(unread::admit(app, policy, request)).await {
            Ok(request) => request,
            Err(error) => return unread::answer(&error, wire, exchange),
        },
    };
    forward(app, Onward { target, url }, wire, request, exchange).await
}

/// Where a call goes unread.
pub(super) struct Onward<'a> {
    pub(super) target: &'a Target,
    /// `None` if the client's path cannot be joined to the provider's base URL.
    pub(super) url: Option<Uri>,
}

/// Sends a request on and relays its answer. An upgrade that the upstream accepts becomes a tunnel.
pub(super) async fn forward(
    app: &App,
    to: Onward<'_>,
    wire: Wire,
    mut request: Request<Body>,
    mut exchange: Exchange,
) -> Response<Body> {
    let Onward { target, url } = to;
    let Some(url) = url else {
        let path = request.uri().path();
        let message = format!("the path {path:?} cannot be joined to the upstream's base URL");
        return refuse(
            &ApiError::invalid(StatusCode::BAD_REQUEST, "invalid_path", message),
            wire,
            exchange,
        );
    };
    let protocol = headers::requested_protocol(request.headers());
    let client = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    headers::strip_for_upstream(&mut parts.headers);
    exchange.inject_trace(&mut parts.headers);
    target.provider.authorize(&mut parts.headers, target.forward_key);
    app.upstreams.guard().mark(&mut parts.headers);
    if let Some(protocol) = &protocol {
        tunnel::request_upgrade(&mut parts.headers, protocol.clone());
    }
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = url;
    *onward.headers_mut() = parts.headers;
    let answer = match app.upstreams.pass(onward, target, protocol.is_some()).await {
        Ok(answer) => answer,
        Err(failure) => return refuse(&ApiError::from(&failure), wire, exchange),
    };
    exchange.record_status(answer.status());
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(client)) = (answer.status(), client) {
        return tunnel::open(client, answer, exchange);
    }
    let (mut parts, incoming) = answer.into_parts();
    headers::strip_hop_by_hop(&mut parts.headers);
    // A stream of an unknown API: its end looks like a cut.
    let relay = Relay::new(incoming, None, Watch::Nothing, wire, None, exchange);
    answer::response(parts.status, parts.headers, relay.into_body())
}
