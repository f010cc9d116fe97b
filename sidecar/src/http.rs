//! The HTTP side: takes a call, finds its surface, runs it through `compress` and `upstream`, relays the
//! answer.

mod answer;
mod body;
mod headers;
mod intercepted;
mod pages;
mod passthrough;
mod relay;
mod retrieve;
mod route;
pub mod server;
mod spelling;
mod surface;
mod tunnel;
mod unread;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tokio::sync::Semaphore;

use crate::access::{Access, Refusal};
use crate::api::{Wire, header_names};
use crate::compress::Compressor;
use crate::config::Limits;
use crate::error::ApiError;
use crate::pages::RecentCalls;
use crate::report::{Exchange, Metrics};
use crate::upstream::{Routes, Upstreams};
use route::{Destination, Route};

/// The part of the state that a change of the configuration replaces while calls run; a call keeps what it
/// started with.
#[derive(Debug)]
pub struct LiveState {
    /// The compressor in force.
    pub compressor: Compressor,
    /// The routes in force.
    pub routes: Routes,
}

/// The state that calls need. Clones share all of it.
#[derive(Debug, Clone)]
pub struct App {
    /// The part that can be replaced.
    pub live: Arc<ArcSwap<LiveState>>,
    /// Connections to upstreams.
    pub upstreams: Upstreams,
    /// How large calls may be, and how long they may take.
    pub limits: Limits,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Who may call.
    pub access: Access,
    /// The calls that the pages show, where there are pages.
    pub recent: Option<Arc<RecentCalls>>,
    slots: Arc<Semaphore>,
}

impl App {
    /// Makes the state of a sidecar in which no call runs.
    pub fn new(live: LiveState, upstreams: Upstreams, limits: Limits, metrics: Arc<Metrics>) -> Self {
        let slots = Arc::new(Semaphore::new(limits.max_concurrent_requests));
        Self {
            live: Arc::new(ArcSwap::from_pointee(live)),
            upstreams,
            limits,
            metrics,
            access: Access::default(),
            recent: None,
            slots,
        }
    }

    /// Shows these calls on pages for a browser.
    pub fn with_recent(self, recent: Option<Arc<RecentCalls>>) -> Self {
        Self { recent, ..self }
    }

    /// Lets these clients in and no others.
    pub fn with_access(self, access: Access) -> Self {
        Self { access, ..self }
    }

    /// Returns a clone with other connections, for a thread of its own.
    pub fn with_upstreams(&self, upstreams: Upstreams) -> Self {
        Self {
            upstreams,
            ..self.clone()
        }
    }

    /// Waits until no call and no tunnel runs, or `time` is over; returns true if all ended.
    pub async fn drained(&self, time: Duration) -> bool {
        let all = u32::try_from(self.limits.max_concurrent_requests).unwrap_or(u32::MAX);
        tokio::time::timeout(time, self.slots.acquire_many(all))
            .await
            .is_ok()
    }
}

/// Answers one call. Never fails: errors become the response.
pub async fn handle(app: Arc<App>, mut request: Request<Body>) -> Response<Body> {
    match app.access.admit(request.headers_mut()) {
        Ok(client) => client
            .iter()
            .for_each(|name| app.metrics.clients.count_call(name)),
        Err(refusal) => return turn_away(&app, refusal, &request),
    }
    let host = match intercepted::find_host(&request) {
        Ok(host) => host,
        Err(error) => return error.response(guess_wire(request.headers())),
    };
    let path = request.uri().path();
    // Below an intercepted host all paths are the provider's.
    if host.is_none() {
        if let Some(path) = path.strip_prefix("/liquid/") {
            return pages::answer(&app, &request, path);
        }
        if path == "/liquid" && app.recent.is_some() {
            return pages::redirect();
        }
    }
    let destination = intercepted::narrow(route::find_route(request.method(), path), host);
    let (wire, surface) = match &destination {
        Destination::Surface(route) | Destination::Misspelt(route) => (route.wire, route.surface.as_str()),
        Destination::Other => {
            let wire = host.map(intercepted::find_wire);
            (wire.unwrap_or_else(|| guess_wire(request.headers())), "other")
        }
    };
    let slot = Arc::clone(&app.slots).try_acquire_owned().ok();
    let has_slot = slot.is_some();
    let exchange = Exchange::new(Arc::clone(&app.metrics), surface, request.headers(), slot);
    if app.upstreams.guard().has_passed(request.headers()) {
        let message = "this request has passed through this sidecar before: set the upstream's base_url to the real \
                       upstream";
        let error = ApiError::server(StatusCode::LOOP_DETECTED, "loop_detected", message);
        return refuse(
            &ApiError {
                should_retry: Some(false),
                ..error
            },
            wire,
            exchange,
        );
    }
    if !has_slot {
        return refuse(
            &ApiError::too_many(app.limits.max_concurrent_requests),
            wire,
            exchange,
        );
    }
    match destination {
        // In a box: what waits for an upstream is large, and the transport moves what it polls.
        Destination::Surface(route) => Box::pin(surface::handle(&app, route, request, exchange)).await,
        Destination::Misspelt(route) => refuse(&misspelt(&route), wire, exchange),
        Destination::Other => passthrough::handle(&app, wire, request, exchange).await,
    }
}

/// 401, for whoever is no client. Nothing else of the call is looked at.
fn turn_away(app: &App, refusal: Refusal, request: &Request<Body>) -> Response<Body> {
    app.metrics.clients.count_refusal(refusal.name());
    let (wire, surface) = match route::find_route(request.method(), request.uri().path()) {
        Destination::Surface(route) => (route.wire, route.surface.as_str()),
        Destination::Misspelt(_) | Destination::Other => (guess_wire(request.headers()), "other"),
    };
    let message = match refusal {
        Refusal::Missing => {
            "this gateway serves clients by their token: send it as the API key, or in x-liquid-token beside the \
             provider's key"
        }
        Refusal::Unknown => {
            "no client of this gateway has this token: ask for one, or send it in x-liquid-token beside the provider's key"
        }
    };
    let error = ApiError::invalid(StatusCode::UNAUTHORIZED, "unknown_client", message);
    let exchange = Exchange::new(Arc::clone(&app.metrics), surface, request.headers(), None);
    let mut response = refuse(&error, wire, exchange);
    let challenge = HeaderValue::from_static("Bearer");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// 404: a server might take this path for that of a surface, and here nobody would have read the call.
fn misspelt(route: &Route) -> ApiError {
    let right = route.right_path();
    let message = format!("no such path; send this call to {right}");
    ApiError::invalid(StatusCode::NOT_FOUND, "unknown_path", message)
}

/// Answers with an error of the sidecar's own, which is a complete answer.
fn refuse(error: &ApiError, wire: Wire, mut exchange: Exchange) -> Response<Body> {
    exchange.record_status(error.status);
    exchange.complete();
    error.response(wire)
}

/// Anthropic's clients name their API's version in every call.
fn guess_wire(headers: &HeaderMap) -> Wire {
    if headers.contains_key(header_names::ANTHROPIC_VERSION) {
        Wire::Messages
    } else {
        Wire::Chat
    }
}
