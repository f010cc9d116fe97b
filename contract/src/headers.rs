//! Headers of HTTP between sidecars and workers.

/// What is left of the time that a call to a worker's language model may take, in whole milliseconds: 1 to
/// [`MOST_TIMEOUT_MS`]. Sidecars write it, workers end the answer by then. It is what `grpc-timeout` is for calls of gRPC.
pub const TIMEOUT_MS: &str = "x-liquid-timeout-ms";

/// The longest time that [`TIMEOUT_MS`] may give: a day.
pub const MOST_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1000;
