//! The pages of the sidecar's own: `/liquid/stats`, `/liquid/packs/{id}`, and the answer to a dry run.

use axum::body::Body;
use http::{HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

use super::App;
use crate::api::{Wire, header_names};
use crate::compress::{DryRun, Outcome};
use crate::error::ApiError;
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
