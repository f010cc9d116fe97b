//! A node whose disk is full, as its kubelet sees it: it takes no pod any more, and ends those that it has.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::layout::{Layout, node_name};
use super::{client, node, process};
use crate::command::output;

/// The threshold that is met when the disk is full, and one that is always met; at 100% a kubelet takes it for none.
const THRESHOLD: [&str; 2] = ["\"nodefs.available\": \"1%\"", "\"nodefs.available\": \"99%\""];

/// Has the kubelet find too little room, however much there is.
pub(super) fn fill(layout: &Layout, number: u8) -> Result<()> {
    keep_images(layout, number)?;
    let file = layout.node(number, "kubelet.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let [met, always] = THRESHOLD;
    ensure!(text.contains(met), "{} has no {met}", file.display());
    fs::write(&file, text.replace(met, always))?;
    restart_kubelet(layout, number)
}

/// Has the kubelet find room again.
pub(super) fn empty(layout: &Layout, number: u8) -> Result<()> {
    node::configure(layout, number)?;
    restart_kubelet(layout, number)
}

/// A kubelet makes room by removing images, and there is no registry to fetch them from again.
fn keep_images(layout: &Layout, number: u8) -> Result<()> {
    let images = |arguments: &[&str]| {
        let mut ctr = client(layout, "ctr")?;
        ctr.arg("--address").arg(layout.containerd_socket(number));
        output(ctr.args(["--namespace", "k8s.io", "images"]).args(arguments))
    };
    for image in images(&["list", "--quiet"])?.lines() {
        images(&["label", image, "io.cri-containerd.pinned=pinned"])?;
    }
    Ok(())
}

fn restart_kubelet(layout: &Layout, number: u8) -> Result<()> {
    process::restart(layout, &format!("{}-kubelet", node_name(number)), 0)
}
