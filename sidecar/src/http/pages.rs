//! The pages of the sidecar's own: `/liquid/stats`, `/liquid/packs/{id}`, those for a browser on this machine, and the
//! answer to a dry run.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;

use super::{App, LiveState};
use crate::api::{Wire, header_names};
use crate::compress::{DryRun, Outcome};
use crate::error::ApiError;
use crate::pages::access::{self, Connection};
use crate::pages::{self, CallRecord, RecentCalls};
use crate::report::{Exchange, Stats};

/// Answers `GET /liquid/...`.
pub(super) fn answer(app: &App, request: &Request<Body>, path: &str) -> Response<Body> {
    let method = request.method();
    if method != Method::GET && method != Method::HEAD {
        let message = format!("/liquid/{path} answers GET");
        return ApiError::invalid(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .response(Wire::Chat);
    }
    let live = app.live.load();
    if path == "stats" {
        return json_response(
            &app.metrics
                .stats(live.compressor.workers(), app.upstreams.guard().connections()),
        );
    }
    if let Some(id) = path.strip_prefix("packs/") {
        return answer_manifest(&live, id);
    }
    match (&app.recent, Page::named(path)) {
        (Some(recent), Some(page)) => answer_page(app, recent, request, page),
        _ => {
            let message = format!(
                "no such page: /liquid/{path}; there are /liquid/stats and /liquid/packs/{{id}}, and /liquid/ in a \
                 browser where pages.enabled is set"
            );
            ApiError::invalid(StatusCode::NOT_FOUND, "not_found", message).response(Wire::Chat)
        }
    }
}

fn answer_manifest(live: &LiveState, id: &str) -> Response<Body> {
    match live.compressor.manifest(id) {
        Some(manifest) => json_response(manifest.as_ref()),
        None => {
            let message = format!(
                "no manifest of the name {id:?}: the id is in the header {}, and manifests are kept for \
                 pack.store_ttl_s",
                header_names::PACK_ID
            );
            ApiError::invalid(StatusCode::NOT_FOUND, "pack_not_found", message).response(Wire::Chat)
        }
    }
}

/// The pages that only browsers on this machine see.
#[derive(Debug, Clone, Copy)]
enum Page {
    /// The page itself.
    Html,
    /// The latest calls, and totals.
    Calls,
    /// One call, by its number.
    Call(u64),
}

impl Page {
    fn named(path: &str) -> Option<Self> {
        match path {
            "" => Some(Self::Html),
            "calls" => Some(Self::Calls),
            _ => path.strip_prefix("calls/")?.parse().ok().map(Self::Call),
        }
    }
}

/// The latest calls, and totals.
#[derive(Serialize)]
struct CallList {
    keeps_texts: bool,
    totals: Stats,
    calls: Vec<CallRecord>,
}

/// Answers a browser, if it is one on this machine.
fn answer_page(app: &App, recent: &RecentCalls, request: &Request<Body>, page: Page) -> Response<Body> {
    let ends = request.extensions().get::<Connection>();
    if let Err(error) = access::check(ends, request.uri(), request.headers()) {
        return ApiError::invalid(StatusCode::FORBIDDEN, "pages_refused", error.to_string())
            .response(Wire::Chat);
    }
    let live = app.live.load();
    let mut response = match page {
        Page::Html => Response::new(Body::from(pages::HTML)),
        Page::Calls => json_response(&CallList {
            keeps_texts: recent.keeps_texts(),
            totals: app
                .metrics
                .stats(live.compressor.workers(), app.upstreams.guard().connections()),
            calls: recent.list(),
        }),
        Page::Call(number) => match recent.detail(number, |id| live.compressor.manifest(id)) {
            Some(call) => json_response(&call),
            None => {
                let message = format!("no call {number}: the latest ones are kept, as many as pages.calls");
                ApiError::invalid(StatusCode::NOT_FOUND, "call_not_found", message).response(Wire::Chat)
            }
        },
    };
    let headers = response.headers_mut();
    if matches!(page, Page::Html) {
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        );
    }
    if let Ok(policy) = HeaderValue::from_str(&pages::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in GUARDS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What browsers are told about the pages besides the content security policy.
const GUARDS: [(HeaderName, &str); 6] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Leads from `/liquid` to the page.
pub(super) fn redirect() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response
        .headers_mut()
        .insert(header::LOCATION, HeaderValue::from_static("/liquid/"));
    response
}

/// Answers a dry run.
pub(super) fn answer_dry_run(outcome: &Outcome, mut exchange: Exchange) -> Response<Body> {
    exchange.record_status(StatusCode::OK);
    exchange.complete();
    json_response(&DryRun::new(outcome))
}

fn json_response(value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(text) => {
            let mut response = Response::new(Body::from(text));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            let message = format!("the answer could not be written: {error}");
            ApiError::server(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
                .response(Wire::Chat)
        }
    }
}
