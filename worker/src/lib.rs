//! Finds the evidence for a question in a document. Modules in the order in which data flows.

pub mod cli;
pub mod config;
pub mod server;

pub mod runtime;

pub mod document;
pub mod engine;
pub mod model;
pub mod scoring;
pub mod select;
pub mod tier;
