//! The pages of the sidecar's own: `/liquid/stats`, `/liquid/packs/{id}`, and the answer to a dry run.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;
use serde_json::value::RawValue;

use super::App;
use crate::api::{Wire, header_names};
use crate::compress::{Decision, Evidence};
use crate::error::ApiError;
use crate::pack::Manifest;
use crate::report::Exchange;

/// Answers `GET /liquid/...`.
pub(super) fn answer(app: &App, method: &Method, path: &str) -> Response<Body> {
    if method != Method::GET && method != Method::HEAD {
        let message = format!("/liquid/{path} answers GET");
        return ApiError::invalid(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
            .response(Wire::Chat);
    }
    let live = app.live.load();
    if path == "stats" {
        return json_response(&app.metrics.stats(live.compressor.workers()));
    }
    let Some(id) = path.strip_prefix("packs/") else {
        let message =
            format!("no such page: /liquid/{path}; there are /liquid/stats and /liquid/packs/{{id}}");
        return ApiError::invalid(StatusCode::NOT_FOUND, "not_found", message).response(Wire::Chat);
    };
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

/// The answer to a dry run: the request that would have been sent, and why. Nothing was sent.
#[derive(Serialize)]
struct DryRun<'a> {
    object: &'static str,
    decision: &'a Decision,
    ratio: f64,
    /// What is asked, the packs and their spans; absent for a body that was not read.
    evidence: Option<&'a Evidence>,
    manifest: Option<&'a Manifest>,
    /// The body that would go to the upstream.
    request: Option<&'a RawValue>,
}

/// Answers a dry run.
pub(super) fn answer_dry_run(
    decision: &Decision,
    evidence: Option<&Evidence>,
    body: &Bytes,
    mut exchange: Exchange,
) -> Response<Body> {
    exchange.record_status(StatusCode::OK);
    exchange.complete();
    json_response(&DryRun {
        object: "liquid.dry_run",
        decision,
        ratio: decision.ratio(),
        evidence,
        manifest: decision.pack.as_deref(),
        request: serde_json::from_slice(body).ok(),
    })
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
