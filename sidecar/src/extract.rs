//! Asks the workers for the evidence: one answer for a document and a question, whatever happens to single
//! workers. Between `policy` and `pack`.

mod settings;

pub use settings::{OnWorkerUnavailable, Settings, Tls};
