//! Finds the evidence for a question in a document, and serves a language model.
//!
//! | floor | modules |
//! |---|---|
//! | the program | `cli`; `server`: gRPC, TLS, metrics, drain; `openai`: the language model over HTTP |
//! | concurrency | `runtime`: queue, single flight, cache, the device's thread, the decoder; `requests`: those under way |
//! | one request | `facts`: those that the language model writes; `engine`, which runs the next three |
//! | its steps | `document`: units; `scoring`: a number for each; `select`: those that fit the budget |
//! | ground | `config`; `fold`: one form of a text; `model`: tokenizer, embeddings, encoder; `tier`; `vectors` |
//!
//! Imports go down this table, never up. On one floor `server` imports `openai`, `facts` imports `engine`, `scoring` and `select` import `document`, `config`
//! imports `model` and `tier`, and `model` imports `vectors`.

pub mod cli;
pub mod config;
pub mod document;
pub mod engine;
mod facts;
mod fold;
pub mod model;
mod openai;
mod requests;
pub mod runtime;
pub mod scoring;
pub mod select;
pub mod server;
pub mod tier;
mod vectors;
