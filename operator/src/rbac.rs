//! Every verb that the operator uses on the cluster, and what for. The chart's roles say exactly this; a test
//! compares. That each is used and none is missing is shown on a cluster:
//! `tests/cluster/src/cases/rights.rs`.

#[cfg(test)]
mod tests;

/// What may be done with a kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// The kind's plural, with a subresource where one is meant.
    pub resource: &'static str,
    /// Sorted.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
}

const fn rule(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Rule {
    Rule {
        group,
        resource,
        verbs,
        why,
    }
}

/// To apply an object, watch it, see whose it is, and remove it where the resource no longer wants it.
const KEEP: &[&str] = &["create", "delete", "get", "list", "patch", "watch"];

/// In all namespaces.
pub const CLUSTER: &[Rule] = &[
    rule(
        "",
        "configmaps",
        KEEP,
        "worker.toml and sidecar.toml, the authorities of gateways and of interception; and keys of what an injected container's envFrom names",
    ),
    rule(
        "",
        "namespaces",
        &["list", "watch"],
        "which ones opt in, to find pods that should have the sidecar",
    ),
    rule("", "limitranges", &["list"], "which one refuses workers' pods"),
    rule(
        "",
        "pods",
        &["list", "watch"],
        "why workers are not ready, and where their figures are; which opted-in pods have no sidecar",
    ),
    rule(
        "",
        "secrets",
        &["create", "delete", "get", "patch"],
        "certificates of workers, sidecars, gateways and intercepted hosts; whether a Secret that the resource names is there",
    ),
    rule(
        "",
        "serviceaccounts",
        KEEP,
        "the accounts of workers and gateways",
    ),
    rule("", "services", KEEP, "the addresses of workers and gateways"),
    rule(
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["delete", "get", "list", "patch", "watch"],
        "the webhook's bundle; its removal before the release goes; only the release's own",
    ),
    rule("apps", "deployments", KEEP, "workers and gateways"),
    rule(
        "autoscaling",
        "horizontalpodautoscalers",
        KEEP,
        "gateways that grow under load",
    ),
    rule(
        "events.k8s.io",
        "events",
        &["create", "patch"],
        "Events on proxies and on owners of injected pods",
    ),
    rule(
        "liquidmemory.dev",
        "liquidmemoryproxies",
        &["list", "watch"],
        "what is asked for",
    ),
    rule(
        "liquidmemory.dev",
        "liquidmemoryproxies/status",
        &["patch"],
        "what has become of it",
    ),
    rule(
        "networking.k8s.io",
        "networkpolicies",
        KEEP,
        "who may reach workers and gateways",
    ),
    rule(
        "policy",
        "poddisruptionbudgets",
        KEEP,
        "drains stop one pod at a time",
    ),
];

/// In all namespaces, where the installation has the operator evict opted-in pods without a sidecar.
pub const EVICTION: &[Rule] = &[rule(
    "",
    "pods/eviction",
    &["create"],
    "opted-in pods without a sidecar are created again",
)];

/// In the operator's own namespace.
pub const OWN: &[Rule] = &[
    rule(
        "",
        "secrets",
        &["create", "delete", "get", "list", "update", "watch"],
        "the certificate authorities; removed when the release goes",
    ),
    rule(
        "apps",
        "deployments/scale",
        &["patch"],
        "the operator's own end before the release goes",
    ),
    rule(
        "coordination.k8s.io",
        "leases",
        &["create", "delete", "get", "update"],
        "the election; removed when the release goes",
    ),
];
