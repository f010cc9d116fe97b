//! A node that is lost, as a machine without power is: nothing answers, and nobody is told so.

use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use super::cgroup::Cgroups;
use super::layout::{Layout, node_name};
use super::process;
use crate::command::output;

/// Packets vanish: a link that is down, or a process that has ended, would refuse connections at once.
const SILENCE: &str = "table inet lost { \
    chain hears { type filter hook prerouting priority -400; iifname \"eth0\" drop; }; \
    chain says { type filter hook postrouting priority 400; oifname \"eth0\" drop; }; }";
/// Also where there is no such table.
const NO_SILENCE: &str = "add table inet lost; delete table inet lost";

/// Silences a node, and kills its kubelet, its kube-proxy and what runs in its pods.
pub(super) fn lose(layout: &Layout, node: u8) -> Result<()> {
    check(layout, node)?;
    nft(layout, node, SILENCE)?;
    for component in components(node) {
        process::signal(layout, &component, Signal::SIGKILL)?;
    }
    Cgroups::new(&layout.prefix())?.kill_pods(&node_name(node))
}

/// Ends the silence and starts kubelet and kube-proxy, which bring back the pods.
pub(super) fn rejoin(layout: &Layout, node: u8) -> Result<()> {
    check(layout, node)?;
    nft(layout, node, NO_SILENCE)?;
    let mut components = components(node).into_iter();
    components.try_for_each(|component| process::start_again(layout, &component))
}

fn check(layout: &Layout, node: u8) -> Result<()> {
    let nodes = layout.nodes()?;
    ensure!(
        (2..=nodes).contains(&node),
        "node {node} cannot be lost: there are 2 to {nodes}; the first one has the control plane"
    );
    Ok(())
}

fn components(node: u8) -> [String; 2] {
    ["kubelet", "kube-proxy"].map(|component| format!("{}-{component}", node_name(node)))
}

fn nft(layout: &Layout, node: u8, rules: &str) -> Result<()> {
    let network = format!("--net={}", layout.netns_path(node).display());
    output(Command::new("nsenter").args([&network, "nft", rules])).map(|_| ())
}
