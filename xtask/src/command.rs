//! Running other programs: from the repository's root, visibly, and with errors that name the command.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::console;

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    here.parent().map(Path::to_path_buf).unwrap_or(here)
}

/// What is downloaded or installed for this checkout; git ignores it, and it may be deleted at any time.
pub(crate) fn cache() -> PathBuf {
    root().join(".cache")
}

/// What every checkout of this user shares: tools and programs that take minutes to build.
pub(crate) fn shared_cache() -> Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(home);
    Ok(cache
        .context("neither HOME nor XDG_CACHE_HOME is set")?
        .join("liquid-memory"))
}

/// This program's file, to start it again. Linux marks the name when cargo has put a new build in its place.
pub(crate) fn this_program() -> Result<PathBuf> {
    let path = std::env::current_exe()?;
    let kept = path.to_str().and_then(|name| name.strip_suffix(" (deleted)"));
    Ok(kept.map_or(path.clone(), PathBuf::from))
}

/// The cargo that runs this program, in the repository's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.args(arguments);
    without_our_package(&mut command);
    command
}

/// Runs it in the repository's root, without what `cargo run` has set for this program: ring's build script, for one,
/// reruns when one of these changes, and all that stands on TLS would be built again.
pub(crate) fn without_our_package(command: &mut Command) {
    command.current_dir(root());
    let ours = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for name in std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| ours(name))
    {
        command.env_remove(name);
    }
}

/// A program in the repository's root.
pub(crate) fn program(name: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// Runs with the console's own input and output; fails when the program does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    if let Some(log) = console::log() {
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", describe(command));
    }
    Ok(())
}

/// Runs silently and returns its standard output, without the space around it.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{} ended with {}: {error}", describe(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs with all its output shown line by line and handed to `line`; says whether it succeeded.
pub(crate) fn watch(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    read(command, |text| {
        console::line(text);
        line(text);
    })
}

/// Runs with all its output handed over line by line; says whether it succeeded.
pub(crate) fn read(command: &mut Command, mut line: impl FnMut(&str)) -> Result<bool> {
    let (reader, writer) = std::io::pipe()?;
    let child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn();
    // The command holds the pipe's other end, which has to close when the program ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.with_context(|| format!("cannot start {}", describe(command)))?;
    for text in BufReader::new(reader).split(b'\n') {
        line(String::from_utf8_lossy(&text?).trim_end());
    }
    Ok(child.wait()?.success())
}

/// Whether a program can be started at all.
pub(crate) fn exists(name: &str, argument: &str) -> bool {
    let quiet = Command::new(name)
        .arg(argument)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    quiet.is_ok_and(|status| status.success())
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
