//! Headers of HTTP between sidecars and workers.

/// What is left of the time that a call to a worker's language model may take, in whole milliseconds: 1 to a day. Sidecars
/// write it, workers end the answer by then. It is what `grpc-timeout` is for calls of gRPC.
pub const TIMEOUT_MS: &str = "x-liquid-timeout-ms";
