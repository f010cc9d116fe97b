//! The port for the platform: `/livez`, `/readyz`, `/metrics`.
//!
//! `/readyz` answers 200 from the moment on at which calls are accepted, and 503 once the process drains. It
//! does not wait for workers, DNS or certificates: a call passes, or is refused, without them as the policy
//! says, and a pod must not wait for them. In Kubernetes it is the `startupProbe` of the native sidecar, so
//! that the application starts when it can be served, and no `readinessProbe`: that would take the
//! application out of its Service. `/livez` answers 200 as long as the process serves this port.

use std::sync::Arc;

use liquid_process::admin::Admin;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::http::App;

/// Serves the port until `stop` is cancelled. `/readyz` answers 503 once `draining` is cancelled.
///
/// # Errors
/// A listener that fails for good.
pub async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    draining: CancellationToken,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let ready = move || match draining.is_cancelled() {
        true => Err("draining".to_owned()),
        false => Ok(()),
    };
    let metrics = move || {
        let workers = app.live.load().compressor.workers();
        app.metrics.scrape(&workers, app.upstreams.guard().connections())
    };
    Admin { ready, metrics }.serve(listener, stop).await
}
