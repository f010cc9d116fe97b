//! Values that hold where nobody gives one.
//!
//! The operator shows them in its API (`crds/`) and writes them into `sidecar.toml` and `worker.toml`; the sidecar and
//! the worker use them where their configuration has no such key, so that both ways of running them behave alike.

use std::ops::RangeInclusive;

/// Most words of a document for one that is kept. Sidecar and operator.
pub const BUDGET_RATIO: f64 = 5.5;

/// Further excerpts: a later turn is given one word in so many, or more, of documents of earlier turns. Sidecar and
/// operator.
pub const BUDGET_FURTHER_RATIO: f64 = 20.0;

/// Ratios that may be asked for. Sidecar (configuration and `x-liquid-ratio`) and operator.
pub const BUDGET_RATIOS: RangeInclusive<f64> = 1.0..=1000.0;

/// Automatic budget: the share of the evidence that must be kept, above 0 to 1. Worker, sidecar and operator.
pub const BUDGET_FLOOR: f64 = 0.95;

/// Automatic budget: never keep more than one word in so many. Worker, sidecar and operator.
pub const BUDGET_MIN_RATIO: f64 = 1.25;

/// Automatic budget: never keep less than one word in so many. Worker, sidecar and operator.
pub const BUDGET_MAX_RATIO: f64 = 20.0;

/// Documents of fewer tokens (estimated) pass as they are. Sidecar and operator.
pub const MIN_DOCUMENT_TOKENS: u32 = 2_000;

/// The least share of a document's tokens that a pack must save, 0 to 1. Sidecar and operator.
pub const MIN_SAVING: f64 = 0.2;

/// The fewest tokens that a pack must save. Sidecar and operator.
pub const MIN_SAVED_TOKENS: u32 = 500;

/// Time for one extraction, in milliseconds. Sidecar and operator.
pub const DEADLINE_MS: u32 = 10_000;

/// Time that each MiB of a document adds to [`DEADLINE_MS`], in milliseconds. Sidecar and operator.
pub const DEADLINE_PER_MIB_MS: u32 = 1_000;

/// Price of writing a prefix to a provider's cache, in plain input prices. Sidecar and operator.
pub const CACHED_PREFIX_WRITE: f64 = 1.25;

/// Price of reading a cached prefix, in plain input prices. Sidecar and operator.
pub const CACHED_PREFIX_READ: f64 = 0.1;

/// How long a provider keeps a prefix after its last use, in seconds. Sidecar and operator.
pub const CACHED_PREFIX_TTL_SECONDS: u32 = 1_800;

/// Time for running requests to end after SIGTERM, in seconds. Sidecar, worker and operator.
pub const DRAIN_SECONDS: u32 = 25;
