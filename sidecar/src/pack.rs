//! Writes the text that stands in place of a document, and its account. Between `extract` and the patched body.

mod frame;
mod manifest;
mod settings;
mod store;

#[cfg(test)]
mod tests;

pub use frame::write;
pub use manifest::{
    KeptSpan, Manifest, ManifestError, PackSize, Range, Source, SpanKind, WorkerTiming, dropped,
};
pub use settings::Settings;
pub use store::Store;
