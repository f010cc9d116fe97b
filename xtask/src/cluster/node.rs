//! Configuration of one node's containerd, kubelet and pod network. The comments are what had to be found out.

use std::collections::BTreeMap;
use std::fs;

use anyhow::Result;
use serde_json::json;

use super::cgroup::Cgroups;
use super::layout::{DNS_ADDRESS, Layout, node_name, pod_range};

/// The sandbox of every pod.
pub(super) const PAUSE_IMAGE: &str = "liquid.test/pause:1";

/// Writes everything that a node's programs read.
pub(super) fn configure(layout: &Layout, node: u8) -> Result<()> {
    fs::create_dir_all(layout.node(node, "cni"))?;
    // `ptp` routes between pods, so that connection tracking sees the answers of services too; a bridge would need
    // the module br_netfilter for that.
    let network = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [{
            "type": "ptp",
            "ipMasq": false,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pod_range(node)}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": layout.node(node, "addresses"),
            },
        }],
    });
    fs::write(layout.node(node, "cni/10-pods.conflist"), network.to_string())?;
    fs::write(layout.node(node, "containerd.toml"), containerd(layout, node))?;
    // No name server: what a pod looks up outside the cluster fails at once.
    fs::write(layout.node(node, "resolv.conf"), "nameserver 127.0.0.1\n")?;
    let cgroups = Cgroups::new(&layout.prefix())?;
    fs::write(
        layout.node(node, "kubelet.yaml"),
        kubelet(layout, node, &cgroups)?,
    )?;
    Ok(())
}

fn containerd(layout: &Layout, node: u8) -> String {
    let path = |file: &str| layout.node(node, file).display().to_string();
    format!(
        r#"version = 3
root = "{root}"
state = "{state}"
[grpc]
address = "{socket}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{registries}"
[plugins."io.containerd.cri.v1.runtime"]
# Without CAP_SYS_RESOURCE runc cannot lower the score and dies.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        registries = layout.registries().display(),
        root = path("containerd"),
        state = path("run"),
        socket = path("containerd.sock"),
        cni = path("cni"),
    )
}

fn kubelet(layout: &Layout, node: u8, cgroups: &Cgroups) -> Result<String> {
    let name = node_name(node);
    let gates = layout.kubernetes()?.gates().iter().map(|gate| (*gate, true));
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // From 1.35 kubelet refuses version 1 by default; build machines still have it.
        "failCgroupV1": false,
        "failSwapOn": false,
        "cgroupDriver": "cgroupfs",
        // Two kubelets below one root would remove each other's pods as orphans.
        "cgroupRoot": cgroups.of_node(&name),
        "containerRuntimeEndpoint": format!("unix://{}", layout.containerd_socket(node).display()),
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": layout.pki(&format!("{name}.crt")),
        "tlsPrivateKeyFile": layout.pki(&format!("{name}.key")),
        "clusterDNS": [DNS_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": layout.node(node, "resolv.conf"),
        "podLogsDir": layout.node(node, "podlogs"),
        // There is no registry to fetch an image from again: never evict for disk, never collect images.
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        // Changed ConfigMaps and Secrets reach mounted files in seconds instead of a minute.
        "syncFrequency": "1s",
        "featureGates": gates.collect::<BTreeMap<_, _>>(),
    });
    Ok(serde_json::to_string_pretty(&config)?)
}
