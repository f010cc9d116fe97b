//! What the test cluster itself runs: the sandbox of pods, name resolution, and a shell to look around.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::binaries::{Kubernetes, module_file};
use super::node::PAUSE_IMAGE;
use crate::command::output;
use crate::images::{Image, Layer, Packing, User};

const COREDNS_IMAGE: &str = "liquid.test/coredns:1";
/// For tests that need a shell.
const BUSYBOX_IMAGE: &str = "liquid.test/busybox:1";
const BUSYBOX: &str = "/bin/busybox";
/// None that looks up names or addresses: the static glibc in it crashes on those.
const APPLETS: [&str; 6] = ["sh", "cat", "env", "sleep", "true", "ls"];

/// Archives of all of them, kept beside the cluster's programs.
pub(super) fn base(kubernetes: Kubernetes, programs: &Path) -> Result<Vec<PathBuf>> {
    let folder = programs.join("images");
    let archives = ["pause", "coredns", "busybox"].map(|name| folder.join(format!("{name}.tar")));
    if archives.iter().all(|archive| archive.exists()) {
        return Ok(archives.to_vec());
    }
    fs::create_dir_all(&folder)?;
    let pause = pause(kubernetes, &folder)?;
    single(PAUSE_IMAGE, "pause", &pause)?.write(&folder)?;
    single(COREDNS_IMAGE, "coredns", &programs.join("coredns"))?.write(&folder)?;
    let mut busybox = single(BUSYBOX_IMAGE, "busybox", Path::new(BUSYBOX))?;
    for applet in APPLETS {
        for (layer, _) in &mut busybox.layers {
            layer.link(&format!("bin/{applet}"), "busybox");
        }
    }
    busybox.entrypoint = vec!["/bin/sh".to_owned()];
    busybox.write(&folder)?;
    Ok(archives.to_vec())
}

/// Kubernetes' own, from its sources.
fn pause(kubernetes: Kubernetes, folder: &Path) -> Result<PathBuf> {
    let source = module_file(
        kubernetes.module(),
        "k8s.io/kubernetes",
        "build/pause/linux/pause.c",
    )?;
    let program = folder.join("pause");
    let mut cc = Command::new("cc");
    cc.args(["-Os", "-static", "-s", "-DVERSION=1", "-o"])
        .arg(&program)
        .arg(source);
    output(&mut cc).context("cannot compile pause")?;
    Ok(program)
}

/// One static program.
fn single(reference: &str, name: &str, program: &Path) -> Result<Image> {
    let mut layer = Layer::default();
    layer.file(&format!("bin/{name}"), program)?;
    layer.folder("etc", 0o755);
    layer.folder("tmp", 0o1777);
    Ok(Image {
        reference: reference.to_owned(),
        entrypoint: vec![format!("/bin/{name}")],
        environment: vec!["PATH=/bin".to_owned()],
        user: User::Root,
        layers: vec![(layer, Packing::Plain)],
        title: "A part of the test cluster",
    })
}
