//! The names that users, charts and the parts of the operator share. Names that sidecar or worker know too
//! are in `liquid-contract`.

/// The API group.
pub const GROUP: &str = "liquidmemory.dev";
/// Field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "liquid-operator";

/// Labels of the operator's Deployments and pods, whatever their release is called; the chart sets them.
pub const OPERATOR_LABELS: [(&str, &str); 2] = [
    ("app.kubernetes.io/name", "liquid-memory"),
    ("app.kubernetes.io/component", "operator"),
];

/// Label of a namespace or a pod: `enabled` opts in; on a pod `disabled` opts out, and the pod wins.
pub const INJECT_LABEL: &str = "liquidmemory.dev/inject";
/// Annotation of a pod: which proxy of its namespace to use.
pub const PROXY_ANNOTATION: &str = "liquidmemory.dev/proxy";
/// Annotation of a pod that got the sidecar: the proxy's name.
pub const INJECTED_ANNOTATION: &str = "liquidmemory.dev/injected";
/// Name of the injected container.
pub const SIDECAR_CONTAINER: &str = "liquid-sidecar";
/// The zone of a pod's node, where Kubernetes labels the pod with it: by default from 1.35 on. Empty elsewhere.
pub const ZONE_FIELD: &str = "metadata.labels['topology.kubernetes.io/zone']";

/// Folder of a worker's model that does not come with the image.
pub const MODEL_FOLDER: &str = "/etc/liquid/model";

/// Folder of a worker's language model that does not come with the image.
pub const DECODER_FOLDER: &str = "/etc/liquid/decoder";

/// Folder of a sidecar's provider keys; see [`key_file`].
pub const KEYS_FOLDER: &str = "/etc/liquid/keys";

/// The path at which sidecars ask the operator for a worker.
pub const WAKE_PATH: &str = "/wake";

/// Folder of the certificate that a gateway shows to its clients.
pub const LISTEN_FOLDER: &str = "/etc/liquid/listen";
/// Folder of the tokens of a gateway's clients.
pub const CLIENTS_FOLDER: &str = "/etc/liquid/clients";
/// Folder of the authorities of a gateway's clients.
pub const CLIENT_AUTHORITIES_FOLDER: &str = "/etc/liquid/client-authorities";

/// Annotation of a pod: whether TLS to providers' hosts ends in its sidecar, `true` or `false`.
pub const INTERCEPTION_ANNOTATION: &str = "liquidmemory.dev/tls-interception";
/// Sysctl that says from which port on processes need no privileges.
pub const PORT_START: &str = "net.ipv4.ip_unprivileged_port_start";
/// Folder of the certificate for intercepted hosts, in the sidecar.
pub const INTERCEPTION_FOLDER: &str = "/etc/liquid/interception";
/// Folder of the authorities that the containers of an intercepted pod trust: the interception's own under
/// `AUTHORITIES`, those and the public ones under [`TRUST_BUNDLE`] and [`TRUST_STORE`].
pub const TRUST_FOLDER: &str = "/etc/liquid/trust";
/// File of all authorities that the containers of an intercepted pod trust, PEM.
pub const TRUST_BUNDLE: &str = "bundle.crt";
/// The same for Java, PKCS#12.
pub const TRUST_STORE: &str = "truststore.p12";

/// Annotation of a proxy: any change of its value replaces the workers, with the operator's present image for
/// them.
pub const ROLLOUT_ANNOTATION: &str = "liquidmemory.dev/rollout";
/// Annotation of workers' objects: the checksum of what they were made from.
pub const INPUTS_ANNOTATION: &str = "liquidmemory.dev/inputs";
/// Annotation of pods in Istio: inbound ports that its proxy leaves alone.
pub const ISTIO_EXCLUDED_PORTS_ANNOTATION: &str = "traffic.sidecar.istio.io/excludeInboundPorts";

/// Path at which the sidecar reads a provider's key: the key `key` of Secret `secret`.
pub fn key_file(secret: &str, key: &str) -> String {
    format!("{KEYS_FOLDER}/{secret}/{key}")
}

/// Name of the workers' Deployment, Service, PodDisruptionBudget, ServiceAccount, NetworkPolicy and ConfigMap.
pub fn workers(proxy: &str) -> String {
    format!("{proxy}-workers")
}

/// Name of the ConfigMap with the sidecars' configuration, `sidecar.toml`.
pub fn sidecar_config(proxy: &str) -> String {
    format!("{proxy}-sidecar")
}

/// Name of the Secret with the workers' certificate.
pub fn worker_tls(proxy: &str) -> String {
    format!("{proxy}-worker-tls")
}

/// Name of the Secret with the sidecars' certificate.
pub fn sidecar_tls(proxy: &str) -> String {
    format!("{proxy}-sidecar-tls")
}

/// Name of the Secret with the certificate for intercepted hosts.
pub fn interception_tls(proxy: &str) -> String {
    format!("{proxy}-interception-tls")
}

/// Name of the ConfigMap with the authorities that the containers of intercepted pods trust.
pub fn interception_authorities(proxy: &str) -> String {
    format!("{proxy}-interception-ca")
}

/// Name of the gateway's Deployment, Service, PodDisruptionBudget, ServiceAccount, NetworkPolicy, HorizontalPodAutoscaler
/// and ConfigMap.
pub fn gateway(proxy: &str) -> String {
    format!("{proxy}-gateway")
}

/// Name of the Secret with the gateway's certificate.
pub fn gateway_tls(proxy: &str) -> String {
    format!("{proxy}-gateway-tls")
}

/// Name of the ConfigMap with the authorities of the gateway's certificate, for its clients.
pub fn gateway_authority(proxy: &str) -> String {
    format!("{proxy}-gateway-ca")
}

/// Host name of the gateway; its certificate carries it.
pub fn gateway_host(namespace: &str, proxy: &str, cluster_domain: &str) -> String {
    format!("{}.{namespace}.svc.{cluster_domain}", gateway(proxy))
}

/// Identity in the workers' certificate.
pub fn worker_identity(namespace: &str, proxy: &str) -> String {
    format!("spiffe://liquid-memory/ns/{namespace}/proxy/{proxy}/worker")
}

/// Identity in the sidecars' certificate.
pub fn sidecar_identity(namespace: &str, proxy: &str) -> String {
    format!("spiffe://liquid-memory/ns/{namespace}/proxy/{proxy}/sidecar")
}

/// The proxy that a sidecar belongs to, as its identity says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SidecarOf<'a> {
    /// Namespace of the proxy.
    pub namespace: &'a str,
    /// Name of the proxy.
    pub proxy: &'a str,
}

/// Reads a [`sidecar_identity`].
pub fn read_sidecar_identity(uri: &str) -> Option<SidecarOf<'_>> {
    let path = uri
        .strip_prefix("spiffe://liquid-memory/ns/")?
        .strip_suffix("/sidecar")?;
    let (namespace, proxy) = path.split_once("/proxy/")?;
    let plain =
        !namespace.is_empty() && !proxy.is_empty() && !namespace.contains('/') && !proxy.contains('/');
    plain.then_some(SidecarOf { namespace, proxy })
}

/// Host name of the workers; their certificate carries it.
pub fn worker_host(namespace: &str, proxy: &str, cluster_domain: &str) -> String {
    format!("{}.{namespace}.svc.{cluster_domain}", workers(proxy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecars_identity_names_its_proxy() {
        let of = SidecarOf {
            namespace: "shop",
            proxy: "docs",
        };
        assert_eq!(read_sidecar_identity(&sidecar_identity("shop", "docs")), Some(of));
        for foreign in [
            worker_identity("shop", "docs"),
            sidecar_identity("shop/x", "docs"),
            sidecar_identity("", "docs"),
            "spiffe://other/ns/shop/proxy/docs/sidecar".to_owned(),
        ] {
            assert_eq!(read_sidecar_identity(&foreign), None, "{foreign}");
        }
    }
}
