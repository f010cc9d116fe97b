//! Writes the text that stands in place of a document, and its account. Between `extract` and the patched body.

mod manifest;
mod settings;

pub use manifest::{KeptSpan, Manifest, PackSize, Range, Source, SpanKind, WorkerTiming};
pub use settings::Settings;
