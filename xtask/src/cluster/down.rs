//! Taking a cluster down from what is on disk and from its names, whatever state it is in. Does nothing twice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, umount2};

use super::cgroup::Cgroups;
use super::components::FIXED_FOLDERS;
use super::layout::Layout;
use super::network;

/// Ends every process, and removes namespaces, cgroups, mounts and files.
///
/// Nothing is asked to end in good order: all state goes with it.
pub(crate) fn down(layout: &Layout) -> Result<()> {
    let _ = fs::remove_file(layout.ready_mark());
    let cgroups = Cgroups::new(&layout.prefix())?;
    cgroups.kill_all()?;
    network::remove(layout)?;
    cgroups.remove()?;
    // The nodes' mounts ended with their processes; what is mounted here was left by somebody else.
    for mount in mounts_below(layout.folder())? {
        umount2(&mount, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", mount.display()))?;
    }
    if layout.folder().exists() {
        fs::remove_dir_all(layout.folder())
            .with_context(|| format!("cannot remove {}", layout.folder().display()))?;
    }
    // Goes only when it is empty: other clusters and other people's runtimes keep theirs.
    let parents = layout.folder().parent().into_iter();
    for folder in parents.chain(FIXED_FOLDERS.iter().map(Path::new)) {
        let _ = fs::remove_dir(folder);
    }
    Ok(())
}

/// Mount points below a folder, deepest first.
pub(super) fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut points = points
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect::<Vec<_>>();
    points.sort();
    points.reverse();
    Ok(points)
}
