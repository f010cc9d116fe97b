//! Writes the text that stands in place of a document, and its account. Between `extract` and the patched body.

mod documents;
mod facts;
mod frame;
mod layout;
mod manifest;
mod settings;
mod store;

#[cfg(test)]
mod tests;

pub use documents::DocumentStore;
pub use facts::{Fact, keep};
pub use frame::{
    Addition, MARK, name, write, write_further, write_left_out, write_passages, write_rest, write_with_facts,
};
pub use layout::{Stretch, StretchKind, lay_out};
pub use manifest::{
    ByteRange, FactRecord, KeptSpan, Manifest, ManifestError, PackRecord, PackSize, SourceDocument, SpanKind,
    WorkerTiming, dropped,
};
pub use settings::Settings;
pub use store::ManifestStore;
