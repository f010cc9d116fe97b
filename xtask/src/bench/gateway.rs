//! What `bench gateway` needs: worker and sidecar as they are shipped, nginx and wrk from Debian, LiteLLM from PyPI.
//! What cannot be had is left out by name; the benchmark measures the rest.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::target;
use crate::command::{cargo, exists, output, root, run};
use crate::console::{say, step, warn};
use crate::tools;

/// Builds and installs; the arguments that name what is there.
pub(crate) fn set_up() -> Result<Vec<OsString>> {
    step("Setting up the gateway benchmark");
    say("building worker and sidecar as they are shipped");
    run(&mut cargo(&[
        "build",
        "--release",
        "--package",
        "liquid-worker",
        "--package",
        "liquid-sidecar",
    ]))?;
    let built = |name: &str| Some(target().join("release").join(name));
    let programs = [
        ("--sidecar", built("liquid-sidecar")),
        ("--worker", built("liquid-worker")),
        ("--wrk", debian("wrk")),
        ("--nginx", debian("nginx")),
        ("--litellm", litellm()),
    ];
    let there = programs
        .into_iter()
        .filter_map(|(name, path)| Some((name, path?)));
    Ok(there
        .flat_map(|(name, path)| [name.into(), path.into_os_string()])
        .collect())
}

/// A program of the Debian package of that name; installed if it is missing and this user may.
fn debian(name: &str) -> Option<PathBuf> {
    // Both print their version to `-v`; wrk ends with 1 then, which still says that it is there.
    let there = || Command::new(name).arg("-v").output().is_ok();
    if !there() {
        let install = ["install", "--yes", "--no-install-recommends", name];
        let may =
            output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0") && exists("apt-get", "--version");
        if may {
            say(format!("installing {name} with apt-get"));
        }
        let installed = may
            && run(Command::new("apt-get").args(["update", "--quiet"])).is_ok()
            && run(Command::new("apt-get")
                .args(install)
                .env("DEBIAN_FRONTEND", "noninteractive"))
            .is_ok();
        if !installed || !there() {
            warn(format!(
                "no {name}: what needs it is left out; install it (Debian, as root: apt-get install {name})"
            ));
            return None;
        }
    }
    Some(name.into())
}

/// LiteLLM's proxy in an environment of its own.
fn litellm() -> Option<PathBuf> {
    let requirements = root().join("bench/gateway/requirements.txt");
    match tools::python("bench-litellm", &requirements) {
        Ok(python) => python
            .parent()
            .map(Path::to_path_buf)
            .map(|bin| bin.join("litellm")),
        Err(error) => {
            warn(format!("no LiteLLM: {error:#}; it is left out"));
            None
        }
    }
}
