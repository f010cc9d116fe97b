//! Tools the tests need beyond cargo, each at a pinned version, installed below `.cache` so that nothing of the
//! machine changes.
//!
//! Those that are Rust programs come as wheels, in seconds; where there are none for a machine, cargo builds them once
//! for all checkouts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::command::{cache, cargo, exists, output, program, root, run, shared_cache};
use crate::console::{say, warn};
use crate::model::sha256;

/// The wheels, each `PREFIX` and a program's name, pinned.
const WHEELS: &str = "xtask/requirements.txt";
const PREFIX: &str = "astral-dev-toolchain-";

/// The path of `cargo-deny` or `cargo-nextest`, installed if it is not there yet.
pub(crate) fn cargo_tool(name: &str) -> Result<PathBuf> {
    let wheels = root().join(WHEELS);
    let text = fs::read_to_string(&wheels).with_context(|| format!("cannot read {WHEELS}"))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix(PREFIX)?.strip_prefix(name)?.strip_prefix("=="))
        .with_context(|| format!("{WHEELS} does not name {name}"))?;
    match python("tools", &wheels) {
        Ok(python) => Ok(python.with_file_name(name)),
        Err(error) => {
            warn(format!("no wheel of {name}: {error:#}"));
            installed(name, version)
        }
    }
}

fn installed(name: &str, version: &str) -> Result<PathBuf> {
    let tools = shared_cache()?.join("tools").join(format!("{name}-{version}"));
    let path = tools.join("bin").join(name);
    if exists(&path.to_string_lossy(), "--version") {
        return Ok(path);
    }
    say(format!("building {name} {version} (once, minutes on two cores)"));
    // Unoptimised: they run for seconds, and an optimised build takes minutes longer.
    let mut install = cargo(&[
        "install",
        "--locked",
        "--debug",
        "--version",
        version,
        name,
        "--root",
    ]);
    run(install.arg(&tools).env("CARGO_PROFILE_DEV_DEBUG", "0"))?;
    Ok(path)
}

/// One installation at a time: parts that run beside each other may want the same.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A Python environment with exactly what a requirements file pins; made again when the file changes.
pub(crate) fn python(name: &str, requirements: &Path) -> Result<PathBuf> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    environment(&cache().join("venv").join(name), requirements)
}

/// An environment of gigabytes, as [`python`] makes it, once for all checkouts whose requirements are the same.
pub(crate) fn shared_python(name: &str, requirements: &Path) -> Result<PathBuf> {
    let shared = shared_cache()?.join("venv");
    fs::create_dir_all(&shared)?;
    let wanted = sha256(requirements)?;
    let folder = shared.join(format!("{name}-{}", wanted.get(..12).unwrap_or(&wanted)));
    // Another checkout may make the same one.
    let lock = fs::File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    environment(&folder, requirements)
}

/// An environment as [`shared_python`] makes it, which also imports what that of the Python `base` has: little beside
/// gigabytes.
pub(crate) fn shared_python_over(base: &Path, name: &str, requirements: &Path) -> Result<PathBuf> {
    let folder = base.ancestors().nth(2).and_then(Path::file_name);
    let below = folder.context("not in an environment")?.to_string_lossy();
    let python = shared_python(&format!("{below}-{name}"), requirements)?;
    import_from(&python, base)?;
    Ok(python)
}

/// Has the environment of a Python import what that of another one has too.
pub(crate) fn import_from(python: &Path, base: &Path) -> Result<()> {
    let path = packages(python)?.join("base.pth");
    fs::write(&path, format!("{}\n", packages(base)?.display()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The folder of an environment's packages.
pub(crate) fn packages(python: &Path) -> Result<PathBuf> {
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    Ok(output(Command::new(python).args(["-c", script]))?.into())
}

fn environment(folder: &Path, requirements: &Path) -> Result<PathBuf> {
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
        relative(folder)
    ));
    run(program("python3", &["-m", "venv", "--clear"]).arg(folder))
        .context("python3 cannot make a virtual environment (Debian: apt-get install python3-venv)")?;
    let install = [
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        // Python compiles what is imported, which is a part of it.
        "--no-compile",
        "--no-deps",
        "--requirement",
    ];
    run(Command::new(&python).args(install).arg(requirements))?;
    fs::write(stamp, wanted)?;
    Ok(python)
}

/// The packages of a `package-lock.json`, beside it.
pub(crate) fn node(folder: &Path) -> Result<()> {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
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

/// A command of Go in a module's folder.
pub(crate) fn go(folder: &Path, command: &str) -> Command {
    let mut go = Command::new("go");
    go.arg(command)
        .current_dir(folder)
        // Static: nothing of the machine is needed to run them in an image.
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly");
    go
}

/// A path as a person in the repository would write it.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
