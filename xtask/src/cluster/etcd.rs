//! A copy of what etcd holds, and the way back to it, as Kubernetes documents it: no API server while the data is
//! replaced; then everything that remembers more than the copy is started again.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::layout::{Layout, node_name};
use super::process::{restart, start_again, stop};
use crate::command::output;

const ETCD: &str = "etcd";
const API_SERVER: &str = "kube-apiserver";

/// Copies the data while etcd is down, so that the copy is whole.
pub(super) fn back_up(layout: &Layout) -> Result<()> {
    stop(layout, ETCD)?;
    let copied = copy(&layout.etcd(), &layout.etcd_copy());
    start_again(layout, ETCD)?;
    copied
}

/// Puts the copy in the place of the data.
pub(super) fn restore(layout: &Layout) -> Result<()> {
    ensure!(
        layout.etcd_copy().is_dir(),
        "no copy is there: `cargo xtask cluster backup` makes one"
    );
    for component in [API_SERVER, ETCD] {
        stop(layout, component)?;
    }
    let copied = copy(&layout.etcd_copy(), &layout.etcd());
    for component in [ETCD, API_SERVER] {
        start_again(layout, component)?;
    }
    copied?;
    for component in ["kube-controller-manager", "kube-scheduler"] {
        restart(layout, component, 0)?;
    }
    for node in 1..=layout.nodes()? {
        for component in ["kubelet", "kube-proxy"] {
            restart(layout, &format!("{}-{component}", node_name(node)), 0)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("cannot remove {}", to.display()))?;
    }
    output(Command::new("cp").arg("--archive").args([from, to])).map(|_| ())
}
