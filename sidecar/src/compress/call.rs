//! What comes in: one LLM call's body, the surface that it was sent to, and what its headers ask for.

use bytes::Bytes;

use crate::api::{Overrides, Surface};

/// One LLM call on its way through.
#[derive(Debug, Clone)]
pub struct Call {
    /// The shape of `body`.
    pub surface: Surface,
    /// The body as it arrived, content encoding already removed.
    pub body: Bytes,
    /// What the caller's `x-liquid-*` headers ask for.
    pub overrides: Overrides,
    /// The request's name towards the worker: at most 128 visible ASCII characters. Without one a name is
    /// made up when a worker is asked.
    pub request_id: Option<String>,
    /// Whether the excerpts are wanted beside the pack: an extractive answer is made of them. A dry run gets
    /// them in any case.
    pub evidence: bool,
    /// Whether the request goes to an upstream; false where the built-in provider or a worker answers it.
    pub leaves: bool,
    /// A dry run is asked for by `?dry_run=1` or `x-liquid-dry-run`. Nothing here depends on it but the
    /// decision's own `dry_run`, which is also true when a `/v1/hybrid_chat` body asks for it.
    pub dry_run: bool,
}
