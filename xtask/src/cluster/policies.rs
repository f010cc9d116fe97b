//! `cargo xtask cluster policies`: a running cluster's network that enforces NetworkPolicies, as that of the tests does not.
//!
//! By the firewall of kube-router, one process a node, built from its Go module (`deploy/cluster/policies`). It writes its
//! rules with iptables and ipset. kube-network-policies, of Kubernetes' own network group, asks for nftables' `queue`, which
//! not every kernel has.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::binaries::ModulePrograms;
use super::layout::{Layout, SERVICE_RANGE, node_name};
use super::machine;
use super::process::{self, Mounts, Room, flag, path, start, wait};
use crate::command::exists;
use crate::console::say;

const FIREWALL: &str = "kube-router";
const PROGRAMS: ModulePrograms = ModulePrograms {
    name: FIREWALL,
    module: "policies",
    package: "github.com/cloudnativelabs/kube-router/v2",
    sources: "cmd",
    programs: &[FIREWALL],
    time: "3 minutes",
};
/// The chain through which packets of pods go once the firewall works.
const CHAIN: &str = "KUBE-ROUTER-FORWARD";
const LIMIT: Duration = Duration::from_secs(60);

/// Builds the firewall if that was not done before, and starts it on each node; one that runs is started again.
pub(super) fn enforce(layout: &Layout) -> Result<()> {
    let nodes = layout.nodes()?;
    if !exists("ipset", "--version") {
        machine::install(&["ipset"])?;
    }
    let program = path(&PROGRAMS.ensure()?.join(FIREWALL));
    for node in 1..=nodes {
        let name = format!("{}-{FIREWALL}", node_name(node));
        if process::all(layout).iter().any(|process| process.name == name) {
            process::restart(layout, &name, 0)?;
        } else {
            let room = Room {
                node,
                mounts: Mounts::Machine,
            };
            let command = [
                program.clone(),
                flag("kubeconfig", &layout.kubeconfig("admin")),
                format!("--hostname-override={}", node_name(node)),
                format!("--service-cluster-ip-range={SERVICE_RANGE}"),
                "--run-firewall=true".to_owned(),
                "--run-router=false".to_owned(),
                "--run-service-proxy=false".to_owned(),
            ];
            start(layout, &name, &room, &command)?;
        }
        wait(layout, "the firewall's rules", &name, LIMIT, || {
            has_rules(layout, node)
        })?;
    }
    say("the network enforces NetworkPolicies");
    Ok(())
}

fn has_rules(layout: &Layout, node: u8) -> bool {
    let mut iptables = Command::new("nsenter");
    iptables
        .arg(format!("--net={}", layout.netns_path(node).display()))
        .args(["iptables", "--list-rules", CHAIN]);
    iptables.output().is_ok_and(|output| output.status.success())
}
