//! Tools the tests need beyond cargo, each at a pinned version, installed below `.cache` so that nothing of the
//! machine changes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cache, cargo, exists, output, program, root, run};
use crate::console::say;
use crate::model::sha256;

const CARGO_DENY: &str = "0.20.2";

/// `cargo-deny`, built if it is not there yet.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    installed("cargo-deny", CARGO_DENY)
}

fn installed(name: &str, version: &str) -> Result<PathBuf> {
    let tools = cache().join("tools");
    let path = tools.join("bin").join(name);
    let wanted = format!("{name} {version}");
    if output(&mut program(&path, &["--version"])).is_ok_and(|found| found == wanted) {
        return Ok(path);
    }
    say(format!("building {wanted} (once, two minutes on two cores)"));
    // Unoptimised: they run for seconds, and an optimised build takes minutes longer.
    let mut install = cargo(&[
        "install",
        "--locked",
        "--debug",
        "--force",
        "--version",
        version,
        name,
        "--root",
    ]);
    run(install.arg(&tools).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(path)
}

/// A Python environment with exactly what a requirements file pins; made again when the file changes.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = cache().join("venv").join(name);
    let python = folder.join("bin/python");
    let stamp = folder.join("requirements.sha256");
    let wanted = sha256(requirements)?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted)
        && exists(&python.to_string_lossy(), "--version")
    {
        return Ok(python);
    }
    if !exists("python3", "--version") {
        bail!("python3 is not installed (Debian: apt-get install python3-venv)");
    }
    say(format!(
        "installing {} into {}",
        relative(requirements),
        relative(&folder)
    ));
    run(program("python3", &["-m", "venv", "--clear"]).arg(&folder))
        .context("python3 cannot make a virtual environment (Debian: apt-get install python3-venv)")?;
    let install = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--no-deps",
        "--requirement",
    ];
    run(Command::new(&python).args(install).arg(requirements))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

/// The packages of a `package-lock.json`, beside it.
pub(crate) fn node(folder: &Path) -> Result<()> {
    let stamp = folder.join("node_modules/.lock.sha256");
    let wanted = sha256(&folder.join("package-lock.json"))?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if !exists("node", "--version") || !exists("npm", "--version") {
        bail!("node and npm are not installed (Debian: apt-get install nodejs npm)");
    }
    say(format!("installing the packages of {}", relative(folder)));
    run(Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(folder))?;
    fs::write(stamp, wanted)?;
    Ok(())
}

/// A path as a person in the repository would write it.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
