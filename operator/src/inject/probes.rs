//! The sidecar's probes: by HTTP, or by its own program inside the pod where a mesh's proxy guards the ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use liquid_contract::endpoints::{LIVEZ, READYZ};
use serde_json::{Value, json};

/// The program in the sidecar's image, and its option that asks a running sidecar.
const COMMAND: [&str; 2] = ["/usr/bin/liquid-sidecar", "--probe"];
/// How long the sidecar may take to listen, in seconds.
const START_SECONDS: u32 = 60;

/// How the kubelet asks the sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeMethod {
    /// From the node, at the pod's address.
    Http,
    /// From inside the pod, at its loopback address, which no mesh guards.
    Exec,
}

/// Builds the probes, by the names of their fields. They ask the admin listener, which answers without a worker, so
/// a missing worker never holds up an application.
pub(super) fn build_probes(method: ProbeMethod, admin: SocketAddr) -> [(&'static str, Value); 3] {
    let build = |path: &str, period: u32, failures: u32| build_probe(method, admin, path, period, failures);
    [
        ("startupProbe", build(LIVEZ, 1, START_SECONDS)),
        ("livenessProbe", build(LIVEZ, 10, 3)),
        ("readinessProbe", build(READYZ, 5, 3)),
    ]
}

fn build_probe(method: ProbeMethod, admin: SocketAddr, path: &str, period: u32, failures: u32) -> Value {
    match method {
        ProbeMethod::Http => json!({
            "httpGet": { "path": path, "port": admin.port(), "scheme": "HTTP" },
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        }),
        ProbeMethod::Exec => {
            let [program, option] = COMMAND;
            let target = format!("{}{path}", SocketAddr::new(loopback(admin.ip()), admin.port()));
            json!({
                "exec": { "command": [program, option, target] },
                "periodSeconds": period,
                // A process has to start.
                "timeoutSeconds": 5,
                "failureThreshold": failures,
            })
        }
    }
}

fn loopback(any_address: IpAddr) -> IpAddr {
    match any_address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    }
}

/// Returns true if a container's probe asks over the pod's network.
pub(super) fn asks_over_network(probe: &Value) -> bool {
    ["httpGet", "tcpSocket", "grpc"]
        .iter()
        .any(|kind| probe.get(kind).is_some_and(|value| !value.is_null()))
}
