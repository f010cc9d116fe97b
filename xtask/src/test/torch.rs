//! The PyTorch package on a processor: its tests with the extension that the workspace's build made, its types, its style,
//! and its wheel, signed and installed where nothing of the source tree is imported.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use liquid_signing::PrivateKey;

use super::Wanted;
use super::clients::{PYTEST, pytest};
use crate::command::{root, run};
use crate::console::warn;
use crate::count::Count;
use crate::images::Profile;
use crate::{graph, tools, wheel};

/// The extension as cargo and as Python name it.
const BUILT: &str = "libliquid_memory_native.so";
const IMPORTED: &str = "liquid_memory/_native.abi3.so";
/// The tests of the package as its wheel brings it.
const WHEEL_TESTS: &str = "tests/test_wheel.py";
/// pytest's option for the tests that need no GPU.
const WITHOUT_GPU: [&str; 2] = ["-m", "not gpu"];
/// The variable by which the wheel's tests know the public key that has signed it.
const WHEEL_KEY: &str = "LIQUID_MEMORY_WHEEL_KEY";

/// Installs PyTorch: gigabytes, once for all checkouts.
pub(super) fn download() -> Result<()> {
    environment().map(|_| ())
}

fn folder() -> PathBuf {
    root().join("python")
}

/// The Python of PyTorch's environment with transformers over it; without, where that cannot be had: its tests are skipped
/// by name then.
fn environment() -> Result<PathBuf> {
    let torch = wheel::torch_environment()?;
    let requirements = folder().join("requirements-transformers.txt");
    match tools::shared_python_over(&torch, "transformers", &requirements) {
        Ok(python) => Ok(python),
        Err(error) => {
            warn(format!("no transformers: {error:#}"));
            Ok(torch)
        }
    }
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
    let module = |python: &Path, arguments: &[&str]| {
        let mut command = Command::new(python);
        command
            .arg("-m")
            .args(arguments)
            .current_dir(folder())
            .env("PYTHONPATH", ".");
        command
    };
    let mut tests = module(&python, &PYTEST);
    tests.args(WITHOUT_GPU).args(["--ignore", WHEEL_TESTS]);
    let mut count = pytest(&mut tests, &wanted.names)?;
    // Named tests of another file do not wait for a wheel.
    if wanted.names.is_empty() || wanted.names.iter().any(|name| name.contains("wheel")) {
        count.add(&test_wheel(&wanted.names)?);
    }
    if wanted.names.is_empty() {
        let python = wheel::torch_environment()?;
        for check in [
            &["mypy"][..],
            &["ruff", "check", "--no-cache"],
            &["ruff", "format", "--no-cache", "--check"],
        ] {
            count.add(&Count::one(run(&mut module(&python, check)).is_ok()));
        }
    }
    Ok(count)
}

/// Builds a wheel that a new key signs, installs it into a fresh environment and runs its tests there, in a folder from
/// which the source tree is not imported.
fn test_wheel(names: &[String]) -> Result<Count> {
    let key = PrivateKey::generate()?;
    let work = root().join("target/wheel-test");
    let wheel = wheel::build(Profile::Dev, Some(&key), &work.join("dist"))?;
    let python = install(&wheel, &work.join("venv"))?;
    let mut command = Command::new(python);
    command.arg("-m").args(PYTEST).args(WITHOUT_GPU);
    command.arg("-c").arg(folder().join("pyproject.toml"));
    command.arg(folder().join(WHEEL_TESTS));
    command
        .current_dir(&work)
        .env_remove("PYTHONPATH")
        .env(WHEEL_KEY, key.public_key().to_string());
    pytest(&mut command, names)
}

/// Installs a wheel into a new environment that takes PyTorch from the shared one; returns its Python.
fn install(wheel: &Path, folder: &Path) -> Result<PathBuf> {
    let torch = wheel::torch_environment()?;
    let mut make = Command::new("python3");
    run(make.args(["-m", "venv", "--clear", "--without-pip"]).arg(folder))?;
    let python = folder.join("bin/python");
    let mut install = Command::new(&torch);
    install
        .args(["-m", "pip", "--disable-pip-version-check", "--python"])
        .arg(&python);
    install.args(["install", "--quiet", "--no-deps", "--no-index"]);
    run(install.arg(wheel))?;
    tools::import_from(&python, &torch)?;
    Ok(python)
}

/// Puts the extension where Python looks for it; git ignores it.
fn place_extension() -> Result<()> {
    let programs = graph::built()?.program("liquid-sidecar")?;
    let built = programs.with_file_name(BUILT);
    let link = folder().join(IMPORTED);
    drop(std::fs::remove_file(&link));
    symlink(&built, &link).with_context(|| format!("cannot link {} to {}", link.display(), built.display()))
}
