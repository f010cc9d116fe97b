//! The admin listener: `/livez`, `/readyz`, `/metrics`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// Media type of the OpenMetrics text format.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One part that has to be ready before the whole is.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Check {
    /// A part, and how to ask it. It is asked by every probe, so it must not wait.
    pub fn new(name: &'static str, ready: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            name,
            ready: Arc::new(ready),
        }
    }
}

#[derive(Clone)]
struct Admin {
    metrics: Arc<Metrics>,
    checks: Arc<[Check]>,
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// Those of the listener.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    checks: Vec<Check>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Admin {
            metrics,
            checks: checks.into(),
        });
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, String) {
    let waiting: Vec<&str> = admin
        .checks
        .iter()
        .filter(|check| !(check.ready)())
        .map(|check| check.name)
        .collect();
    if waiting.is_empty() {
        return (StatusCode::OK, "ok\n".into());
    }
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for: {}\n", waiting.join(", ")),
    )
}

async fn render(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, OPENMETRICS)], admin.metrics.render())
}
