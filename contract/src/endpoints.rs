//! Paths on the admin port of every program. `liquid-process` serves them; the pods that the operator makes, and the
//! operator's own in the chart, are probed there.

/// 200 as long as the process serves the port.
pub const LIVEZ: &str = "/livez";

/// 200 while requests are accepted, else 503 with the reason.
pub const READYZ: &str = "/readyz";

/// Metrics in the OpenMetrics text format. Prometheus reads them; of workers, the operator does too.
pub const METRICS: &str = "/metrics";
