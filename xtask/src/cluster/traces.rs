//! What of a cluster is on the machine: nothing once it is down.

use std::fs;

use anyhow::Result;

use super::cgroup::Cgroups;
use super::down::mounts_below;
use super::layout::Layout;

/// Its processes, cgroups, network namespaces, mounts and files, in words.
pub(crate) fn traces(layout: &Layout) -> Result<Vec<String>> {
    let cgroups = Cgroups::new(&layout.prefix())?;
    let mut found = Vec::new();
    let processes = cgroups.processes();
    found.extend(processes.iter().map(|process| format!("process {process}")));
    let folders = cgroups.folders();
    found.extend(
        folders
            .iter()
            .map(|folder| format!("cgroup {}", folder.display())),
    );
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if layout.owns_netns(&name) {
            found.push(format!("network namespace {name}"));
        }
    }
    let mounts = mounts_below(layout.folder())?;
    found.extend(mounts.iter().map(|mount| format!("mount {}", mount.display())));
    if layout.folder().exists() {
        found.push(format!("folder {}", layout.folder().display()));
    }
    Ok(found)
}
