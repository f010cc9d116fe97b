//! The cluster's network: a namespace a node, joined by a bridge in the first one. No route leads out.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::layout::{Layout, gateway, node_address, pod_range};
use crate::command::output;

/// Makes the namespaces of all nodes and the routes between them.
pub(super) fn create(layout: &Layout, nodes: u8) -> Result<()> {
    for node in 1..=nodes {
        ip(&["netns", "add", &layout.netns(node)])?;
        inside(layout, node, &["link", "set", "lo", "up"])?;
    }
    inside(layout, 1, &["link", "add", "eth0", "type", "bridge"])?;
    for node in 2..=nodes {
        let (port, space) = (format!("port{node}"), layout.netns(node));
        let pair = [
            "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &space,
        ];
        inside(layout, 1, &pair)?;
        inside(layout, 1, &["link", "set", &port, "master", "eth0", "up"])?;
    }
    if nodes == 1 {
        // A bridge without a port has no carrier, and addresses on it would not answer.
        inside(
            layout,
            1,
            &["link", "add", "port1", "type", "veth", "peer", "name", "end1"],
        )?;
        inside(layout, 1, &["link", "set", "port1", "master", "eth0", "up"])?;
        inside(layout, 1, &["link", "set", "end1", "up"])?;
    }
    for node in 1..=nodes {
        let address = format!("{}/24", node_address(node));
        inside(layout, node, &["addr", "add", &address, "dev", "eth0"])?;
        inside(layout, node, &["link", "set", "eth0", "up"])?;
        inside(
            layout,
            node,
            &["route", "add", "default", "via", &gateway().to_string()],
        )?;
        for other in (1..=nodes).filter(|other| *other != node) {
            let via = node_address(other).to_string();
            inside(layout, node, &["route", "add", &pod_range(other), "via", &via])?;
        }
        forward(layout, node)?;
    }
    Ok(())
}

/// Pods reach each other and the services through their node.
fn forward(layout: &Layout, node: u8) -> Result<()> {
    let mut sysctl = Command::new("nsenter");
    sysctl
        .arg(format!("--net={}", layout.netns_path(node).display()))
        .args(["sysctl", "-qw", "net.ipv4.ip_forward=1"]);
    output(&mut sysctl).map(|_| ())
}

/// Deletes every namespace of this cluster, found by name.
pub(super) fn remove(layout: &Layout) -> Result<()> {
    for entry in fs::read_dir(Path::new("/run/netns"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if layout.owns_netns(&name) {
            ip(&["netns", "del", &name])?;
        }
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    output(Command::new("ip").args(arguments)).map(|_| ())
}

fn inside(layout: &Layout, node: u8, arguments: &[&str]) -> Result<()> {
    ip(&[&["-n", &layout.netns(node)], arguments].concat())
}
