//! What the sidecar reports about calls: response headers, metrics, statistics and traces. Beside the flow;
//! nothing here changes a request or an answer's body, and nothing here holds a key or document text.

mod clients;
pub mod exchange;
pub mod headers;
mod interception;
pub mod metrics;
mod retrievals;
mod site_totals;
pub mod trace;

pub use clients::ClientMetrics;
pub use exchange::Exchange;
pub use interception::InterceptionMetrics;
pub use metrics::{Metrics, Stats};
pub use retrievals::Retrievals;
pub use site_totals::SiteSum;
