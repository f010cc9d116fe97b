//! Finds the evidence for a question in a document. Modules in the order in which data flows.

pub mod config;
pub mod document;
pub mod engine;
pub mod model;
pub mod scoring;
pub mod select;
