//! The command line of every component, and the order in which they start.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::audit;
use super::layout::{Layout, POD_RANGE, SERVICE_RANGE, node_address, node_name};
use super::process::{Mounts, Process, Room, flag, path, start, wait};

const LIMIT: Duration = Duration::from_secs(120);

/// Where containerd and kubelet leave files whatever they are told.
pub(super) const FIXED_FOLDERS: &[&str] = &["/run/containerd", "/var/lib/kubelet", "/var/log/containers"];

/// The controllers of a cluster without nodes: those that make pods of Deployments, for many at a time. The others would wait for
/// nodes.
const WITHOUT_NODES: [&str; 5] = [
    "--controllers=deployment-controller,replicaset-controller,serviceaccount-controller",
    "--kube-api-qps=500",
    "--kube-api-burst=500",
    "--concurrent-deployment-syncs=20",
    "--concurrent-replicaset-syncs=20",
];

/// What runs once. Where there are no nodes, there is nothing to schedule either.
pub(super) fn control_plane(layout: &Layout, programs: &Path, nodes: u8) -> Result<()> {
    let room = Room {
        node: 1,
        mounts: Mounts::Machine,
    };
    let run = |name: &str, arguments: Vec<String>| -> Result<Process> {
        let mut command = vec![path(&programs.join(name))];
        command.extend(arguments);
        start(layout, name, &room, &command)
    };
    run("etcd", etcd(layout))?;
    run("kube-apiserver", apiserver(layout)?)?;
    let mut controllers = controller_manager(layout);
    if nodes == 0 {
        controllers.extend(WITHOUT_NODES.map(str::to_owned));
        run("kube-controller-manager", controllers)?;
        return Ok(());
    }
    run("kube-controller-manager", controllers)?;
    run(
        "kube-scheduler",
        vec![
            flag("kubeconfig", &layout.kubeconfig("scheduler")),
            "--leader-elect=false".to_owned(),
        ],
    )?;
    Ok(())
}

fn etcd(layout: &Layout) -> Vec<String> {
    let mut flags = [
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        // The data ends with the cluster.
        "--unsafe-no-fsync",
    ]
    .map(str::to_owned)
    .to_vec();
    flags.push(flag("data-dir", &layout.etcd()));
    flags
}

fn apiserver(layout: &Layout) -> Result<Vec<String>> {
    let files = [
        ("tls-cert-file", "apiserver.crt"),
        ("tls-private-key-file", "apiserver.key"),
        ("client-ca-file", "ca.crt"),
        ("kubelet-client-certificate", "kubelet-client.crt"),
        ("kubelet-client-key", "kubelet-client.key"),
        ("kubelet-certificate-authority", "ca.crt"),
        ("service-account-key-file", "service-accounts.pub"),
        ("service-account-signing-key-file", "service-accounts.key"),
    ];
    let mut flags = files
        .iter()
        .map(|(name, file)| flag(name, &layout.pki(file)))
        .collect::<Vec<_>>();
    flags.push(format!("--advertise-address={}", node_address(1)));
    flags.push(format!("--service-cluster-ip-range={SERVICE_RANGE}"));
    flags.extend(audit::flags(layout));
    let gates = layout.kubernetes()?.gates().iter();
    flags.extend(gates.map(|gate| format!("--feature-gates={gate}=true")));
    flags.extend(
        [
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            // Else exec and logs would look up the node's name.
            "--kubelet-preferred-address-types=InternalIP",
        ]
        .map(str::to_owned),
    );
    Ok(flags)
}

fn controller_manager(layout: &Layout) -> Vec<String> {
    vec![
        flag("kubeconfig", &layout.kubeconfig("controller-manager")),
        flag("root-ca-file", &layout.pki("ca.crt")),
        flag(
            "service-account-private-key-file",
            &layout.pki("service-accounts.key"),
        ),
        flag("cluster-signing-cert-file", &layout.pki("ca.crt")),
        flag("cluster-signing-key-file", &layout.pki("ca.key")),
        "--use-service-account-credentials".to_owned(),
        "--leader-elect=false".to_owned(),
    ]
}

/// containerd of a node; its process holds the mounts that kubelet shares.
pub(super) fn containerd(layout: &Layout, node: u8, programs: &Path) -> Result<Process> {
    let room = Room {
        node,
        mounts: Mounts::New(FIXED_FOLDERS),
    };
    let name = format!("{}-containerd", node_name(node));
    let search = std::env::var("PATH").unwrap_or_default();
    let command = [
        "env".to_owned(),
        // It looks for its shim and for runc there.
        format!("PATH={}:{search}:/usr/sbin:/sbin", programs.display()),
        path(&programs.join("containerd")),
        format!("--config={}", layout.node(node, "containerd.toml").display()),
    ];
    let process = start(layout, &name, &room, &command)?;
    let socket = layout.containerd_socket(node);
    wait(layout, "containerd's socket", &name, LIMIT, || socket.exists())?;
    Ok(process)
}

/// kubelet and kube-proxy of a node.
pub(super) fn node(layout: &Layout, node: u8, containerd: &Process, programs: &Path) -> Result<()> {
    let name = node_name(node);
    let room = Room {
        node,
        mounts: Mounts::Of(containerd.pid),
    };
    let kubelet = [
        path(&programs.join("kubelet")),
        flag("kubeconfig", &layout.kubeconfig(&name)),
        flag("config", &layout.node(node, "kubelet.yaml")),
        flag("root-dir", &layout.node(node, "kubelet")),
        format!("--hostname-override={name}"),
        format!("--node-ip={}", node_address(node)),
    ];
    start(layout, &format!("{name}-kubelet"), &room, &kubelet)?;
    let proxy = [
        path(&programs.join("kube-proxy")),
        flag("kubeconfig", &layout.kubeconfig("proxy")),
        "--proxy-mode=nftables".to_owned(),
        format!("--hostname-override={name}"),
        format!("--cluster-cidr={POD_RANGE}"),
        // Their sysctls cannot be written from a container.
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
    ];
    start(layout, &format!("{name}-kube-proxy"), &room, &proxy)?;
    Ok(())
}
