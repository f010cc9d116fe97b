//! Reports to the workers what the sidecar's calls have come to: who adds up the figures of a fleet reads the few
//! workers, and cannot reach the sidecars of all applications.
//!
//! What has been reported is remembered here and not by the client, which a change of the configuration replaces.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::compress::{CallTotals, ReportOutcome};
use crate::http::App;

/// Reports every `extract.health_interval_ms` what is new, and for the last time when `stop` is cancelled.
pub async fn report(app: Arc<App>, stop: CancellationToken) {
    let mut reported = CallTotals::default();
    loop {
        let live = app.live.load_full();
        let wait = Duration::from_millis(live.compressor.settings().extract.health_interval_ms);
        drop(live);
        let stopped = tokio::time::timeout(wait, stop.cancelled()).await.is_ok();
        let totals = app.metrics.call_totals();
        let new = totals.since(reported);
        let live = app.live.load_full();
        if new.calls > 0 && live.compressor.report(new).await == ReportOutcome::Settled {
            reported = totals;
        }
        if stopped {
            return;
        }
    }
}
