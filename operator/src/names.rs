//! The names that users, charts and the parts of the operator share.

/// The API group.
pub const GROUP: &str = "liquidmemory.dev";
/// Who owns the fields that the operator applies.
pub const FIELD_MANAGER: &str = "liquid-operator";

/// On a namespace or a pod: `enabled` opts in; on a pod `disabled` opts out, and the pod wins.
pub const INJECT_LABEL: &str = "liquidmemory.dev/inject";
/// On a pod: which proxy of its namespace to use.
pub const PROXY_ANNOTATION: &str = "liquidmemory.dev/proxy";
/// Set on pods that got the sidecar: the proxy's name.
pub const INJECTED_ANNOTATION: &str = "liquidmemory.dev/injected";
/// The injected container.
pub const SIDECAR_CONTAINER: &str = "liquid-sidecar";

/// Where workers serve gRPC.
pub const WORKER_PORT: u16 = 50051;
/// Where workers serve probes and metrics.
pub const WORKER_ADMIN_PORT: u16 = 9464;
/// Where sidecars serve the application, on the loopback address.
pub const SIDECAR_PORT: u16 = 8787;
/// Where sidecars serve probes and metrics.
pub const SIDECAR_ADMIN_PORT: u16 = 9465;

/// Where a pod's configuration file lies.
pub const CONFIG_FOLDER: &str = "/etc/liquid/config";
/// Where a pod's certificate, key and authorities lie: `tls.crt`, `tls.key`, `ca.crt`.
pub const TLS_FOLDER: &str = "/etc/liquid/tls";
/// Where a worker's model lies when it does not come with the image.
pub const MODEL_FOLDER: &str = "/etc/liquid/model";

/// Where a sidecar's provider keys lie; see [`key_file`].
pub const KEYS_FOLDER: &str = "/etc/liquid/keys";

/// On a proxy: any change of its value replaces the workers, with the operator's present image for them.
pub const ROLLOUT_ANNOTATION: &str = "liquidmemory.dev/rollout";
/// On workers' objects: the sum of what they were made from.
pub const INPUTS_ANNOTATION: &str = "liquidmemory.dev/inputs";

/// Where the sidecar reads a provider's key: the volume of Secret `secret` is mounted at its folder.
pub fn key_file(secret: &str, key: &str) -> String {
    format!("{KEYS_FOLDER}/{secret}/{key}")
}

/// The workers' Deployment, Service, PodDisruptionBudget, ServiceAccount, NetworkPolicy and ConfigMap.
pub fn workers(proxy: &str) -> String {
    format!("{proxy}-workers")
}

/// The ConfigMap with the sidecars' configuration, `sidecar.toml`.
pub fn sidecar_config(proxy: &str) -> String {
    format!("{proxy}-sidecar")
}

/// The Secret with the workers' certificate.
pub fn worker_tls(proxy: &str) -> String {
    format!("{proxy}-worker-tls")
}

/// The Secret with the sidecars' certificate.
pub fn sidecar_tls(proxy: &str) -> String {
    format!("{proxy}-sidecar-tls")
}

/// The identity in the workers' certificate.
pub fn worker_identity(namespace: &str, proxy: &str) -> String {
    format!("spiffe://liquid-memory/ns/{namespace}/proxy/{proxy}/worker")
}

/// The identity in the sidecars' certificate.
pub fn sidecar_identity(namespace: &str, proxy: &str) -> String {
    format!("spiffe://liquid-memory/ns/{namespace}/proxy/{proxy}/sidecar")
}

/// The host name under which workers are reached; their certificate carries it.
pub fn worker_host(namespace: &str, proxy: &str, cluster_domain: &str) -> String {
    format!("{}.{namespace}.svc.{cluster_domain}", workers(proxy))
}
