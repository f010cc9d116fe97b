//! The gRPC contract between sidecar and worker, generated from `proto/liquid/worker/v1/worker.proto`.
//!
//! Every field and its unit is documented there; the comments are carried over to the generated types.

#![forbid(unsafe_code)]

mod tier_reason;

/// `liquid.worker.v1`: evidence extraction.
pub mod worker {
    /// Version 1 of the contract. Fields may be added; none changes its meaning.
    #[allow(clippy::all, missing_docs, reason = "generated code")]
    pub mod v1 {
        tonic::include_proto!("liquid.worker.v1");

        /// The service's name in `grpc.health.v1`.
        pub const SERVICE_NAME: &str = "liquid.worker.v1.Worker";
    }
}
