//! The admin port: `/livez`, `/readyz` and `/metrics`, on an address of its own so that probes and Prometheus need
//! neither a client certificate nor a place in the queue of requests.
//!
//! `/livez` answers 200 as long as the process serves the port. `/readyz` answers 200, or 503 with the reason.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::routing::get;
use liquid_contract::endpoints;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Media type of the OpenMetrics text format, version 1.0.0: what Prometheus asks for.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How long a request that is being answered may keep the listener from ending.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What the port reports. Both functions are called for each request, so neither may wait.
#[derive(Debug, Clone)]
pub struct Admin<R, M> {
    /// Whether requests are accepted; else the reason, one line without its end, such as `draining`.
    pub ready: R,
    /// Every metric in the OpenMetrics text format.
    pub metrics: M,
}

impl<R, M> Admin<R, M>
where
    R: Fn() -> Result<(), String> + Send + Sync + 'static,
    M: Fn() -> Result<String, std::fmt::Error> + Send + Sync + 'static,
{
    /// Serves until `stop` is cancelled; a client that does not finish its request cannot hold that up for long.
    ///
    /// # Errors
    /// A listener that fails for good.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
        let router = Router::new()
            .route(endpoints::LIVEZ, get(async || "ok\n"))
            .route(endpoints::READYZ, get(ready::<R, M>))
            .route(endpoints::METRICS, get(metrics::<R, M>))
            .with_state(Arc::new(self));
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
        let overdue = async {
            stop.cancelled().await;
            tokio::time::sleep(SHUTDOWN).await;
        };
        tokio::select! {
            ended = served.into_future() => ended,
            () = overdue => Ok(()),
        }
    }
}

async fn ready<R, M>(State(admin): State<Arc<Admin<R, M>>>) -> (StatusCode, String)
where
    R: Fn() -> Result<(), String>,
{
    match (admin.ready)() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn metrics<R, M>(
    State(admin): State<Arc<Admin<R, M>>>,
) -> Result<([(HeaderName, &'static str); 1], String), StatusCode>
where
    M: Fn() -> Result<String, std::fmt::Error>,
{
    match (admin.metrics)() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text)),
        Err(std::fmt::Error) => Err(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests;
