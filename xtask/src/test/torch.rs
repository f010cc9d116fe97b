//! The PyTorch package on a processor: its tests with the extension that the workspace's build made, its types, its style.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::Wanted;
use super::clients::{PYTEST, selection};
use crate::command::{root, run, watch};
use crate::console::warn;
use crate::count::Count;
use crate::{graph, tools};

/// The extension as cargo and as Python name it.
const BUILT: &str = "libliquid_memory_native.so";
const IMPORTED: &str = "liquid_memory/_native.abi3.so";

/// Installs PyTorch: gigabytes, once for all checkouts.
pub(super) fn download() -> Result<()> {
    environment().map(|_| ())
}

fn folder() -> PathBuf {
    root().join("python")
}

fn environment() -> Result<PathBuf> {
    tools::shared_python("torch", &folder().join("requirements-test.txt"))
}

pub(super) fn torch(wanted: &Wanted) -> Result<Count> {
    let python = match environment() {
        Ok(python) => python,
        Err(error) => {
            warn(format!("no PyTorch: {error:#}"));
            return Ok(Count::skipped(format!(
                "tests of the PyTorch package: no PyTorch ({error})"
            )));
        }
    };
    place_extension()?;
    let module = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command
            .arg("-m")
            .args(arguments)
            .current_dir(folder())
            .env("PYTHONPATH", ".");
        command
    };
    let mut count = Count::default();
    let mut pytest = module(&PYTEST);
    pytest.args(["-m", "not gpu"]).args(selection(&wanted.names));
    let success = watch(&mut pytest, |line| count.pytest(line))?;
    let mut count = count.ended(success);
    if wanted.names.is_empty() {
        for check in [
            &["mypy"][..],
            &["ruff", "check", "--no-cache"],
            &["ruff", "format", "--no-cache", "--check"],
        ] {
            count.add(&Count::one(run(&mut module(check)).is_ok()));
        }
    }
    Ok(count)
}

/// Puts the extension where Python looks for it; git ignores it.
fn place_extension() -> Result<()> {
    let programs = graph::built()?.program("liquid-sidecar")?;
    let built = programs.with_file_name(BUILT);
    let link = folder().join(IMPORTED);
    drop(std::fs::remove_file(&link));
    symlink(&built, &link).with_context(|| format!("cannot link {} to {}", link.display(), built.display()))
}
