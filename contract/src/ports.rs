//! Port numbers. Each program listens there unless its configuration says otherwise; others connect there.

/// The sidecar's port for applications, on the loopback address. Base URLs that the operator injects hold it.
pub const SIDECAR: u16 = 8787;

/// The sidecar's port for probes and metrics. The kubelet and Prometheus connect there.
pub const SIDECAR_ADMIN: u16 = 9465;

/// The port of `https` URLs. The sidecar takes it, on the loopback address, where it ends the TLS of providers' hosts.
pub const HTTPS: u16 = 443;

/// The worker's gRPC port. Sidecars connect there; the operator's Service and NetworkPolicy open it.
pub const WORKER: u16 = 50051;

/// The worker's port for probes and metrics. The kubelet, Prometheus and the operator connect there.
pub const WORKER_ADMIN: u16 = 9464;

/// The operator's port for admission reviews. The API server connects there through the chart's Service.
pub const OPERATOR_WEBHOOK: u16 = 9443;

/// The operator's port for probes and metrics. The chart's Deployment and Service name it.
pub const OPERATOR_ADMIN: u16 = 8080;
