//! What the machine must offer before a cluster can start, and installing what Debian has.

use std::process::Command;

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::binaries::Kubernetes;
use crate::command::{exists, output, run};
use crate::console::say;

/// A program that is needed, an argument with which it ends at once, and the Debian package that has it.
const PROGRAMS: [(&str, &str, &str); 9] = [
    ("curl", "--version", "curl"),
    ("runc", "--version", "runc"),
    ("nft", "--version", "nftables"),
    ("iptables", "--version", "iptables"),
    ("conntrack", "--version", "conntrack"),
    ("ip", "-V", "iproute2"),
    ("busybox", "true", "busybox-static"),
    ("cc", "--version", "gcc"),
    ("strip", "--version", "binutils"),
];

const NETWORK_PLUGINS: &str = "/usr/lib/cni";
const NETWORK_PACKAGE: &str = "containernetworking-plugins";

/// Why no cluster can run here, if so; changes nothing.
pub(crate) fn missing() -> Option<String> {
    if !Uid::effective().is_root() {
        return Some("needs root".to_owned());
    }
    if super::binaries::present(Kubernetes::default()).is_err() && !exists("go", "version") {
        return Some("Go is not installed (1.26, https://go.dev/dl)".to_owned());
    }
    if !exists("unshare", "--version") || !namespaces() {
        return Some("this machine lets nobody make network and mount namespaces".to_owned());
    }
    let absent = absent();
    if !absent.is_empty() && !exists("apt-get", "--version") {
        return Some(format!("not installed: {}", absent.join(", ")));
    }
    None
}

pub(super) fn root() -> Result<()> {
    if !Uid::effective().is_root() {
        bail!("the cluster needs root: namespaces, cgroups and mounts");
    }
    Ok(())
}

/// Installs what is absent; fails with the reason where no cluster can run.
pub(super) fn ensure() -> Result<()> {
    if let Some(reason) = missing() {
        bail!("no cluster can run here: {reason}");
    }
    let absent = absent();
    if absent.is_empty() {
        return Ok(());
    }
    install(&absent)
}

/// Installs Debian's packages.
pub(super) fn install(packages: &[&str]) -> Result<()> {
    say(format!("installing {}", packages.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["--quiet=2", "--yes", "--no-install-recommends"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    output(&mut apt(&["update"]))?;
    run(apt(&["install"])
        .args(packages)
        .stdout(std::process::Stdio::null()))
}

fn absent() -> Vec<&'static str> {
    let mut packages = PROGRAMS
        .iter()
        .filter(|(program, argument, _)| !exists(program, argument))
        .map(|(.., package)| *package)
        .collect::<Vec<_>>();
    if !std::path::Path::new(NETWORK_PLUGINS).join("ptp").exists() {
        packages.push(NETWORK_PACKAGE);
    }
    packages
}

fn namespaces() -> bool {
    let unshare = Command::new("unshare")
        .args(["--net", "--mount", "true"])
        .output();
    unshare.is_ok_and(|output| output.status.success())
}
