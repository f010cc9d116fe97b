//! Writes the text that stands in place of a document, and its account. Between `extract` and the patched body.

mod frame;
mod layout;
mod manifest;
mod settings;
mod store;

#[cfg(test)]
mod tests;

pub use frame::{Addition, write, write_further, write_left_out};
pub use layout::{Stretch, StretchKind, lay_out};
pub use manifest::{
    ByteRange, KeptSpan, Manifest, ManifestError, PackRecord, PackSize, SourceDocument, SpanKind,
    WorkerTiming, dropped,
};
pub use settings::Settings;
pub use store::ManifestStore;
