//! The port for the platform: `/livez`, `/readyz`, `/metrics`.
//!
//! `/readyz` answers 200 from the moment on at which calls are accepted, and 503 once the process drains. It does not
//! wait for workers, DNS or certificates: a call passes, or is refused, without them as the policy says, and a pod
//! must not wait for them. In Kubernetes it is the `startupProbe` of the native sidecar, so that the application
//! starts when it can be served, and no `readinessProbe`: that would take the application out of its Service.
//! `/livez` answers 200 as long as the process serves this port.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::{StatusCode, header};
use liquid_contract::endpoints;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::App;

/// What Prometheus asks for with this text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Admin {
    app: Arc<App>,
    draining: CancellationToken,
}

/// Serves until `end`. `/readyz` turns to 503 once `draining` is set.
///
/// # Errors
/// A listener that fails for good.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    draining: CancellationToken,
    end: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route(endpoints::LIVEZ, get(async || "ok\n"))
        .route(endpoints::READYZ, get(ready))
        .route(endpoints::METRICS, get(metrics))
        .with_state(Admin { app, draining });
    axum::serve(listener, router)
        .with_graceful_shutdown(end.cancelled_owned())
        .await
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.draining.is_cancelled() {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        false => (StatusCode::OK, "ok\n"),
    }
}

async fn metrics(
    State(admin): State<Admin>,
) -> Result<([(header::HeaderName, &'static str); 1], String), StatusCode> {
    let workers = admin.app.live.load().compressor.workers();
    let text = admin
        .app
        .metrics
        .scrape(&workers)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text))
}
