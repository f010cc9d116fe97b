//! Building the programs that go into images, and finding where cargo put them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Name;
use crate::command::{cargo, output};

/// A profile of the workspace's Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// What is shipped.
    Release,
    /// What `cargo test` has built.
    Dev,
}

/// Programs by name, without symbols.
pub(crate) struct Programs {
    profile: Profile,
    paths: BTreeMap<String, PathBuf>,
}

impl Programs {
    pub(super) fn get(&self, name: &str) -> Result<&Path> {
        let found = self.paths.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("cargo built no program {name}"))
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// What somebody has built already, taken as it is.
    pub(super) fn within(names: &[Name], folder: &Path) -> Result<Self> {
        let wanted = names.iter().filter_map(|name| program(*name));
        let mut paths = BTreeMap::new();
        for name in wanted {
            let path = folder.join(name);
            if !path.is_file() {
                bail!("--programs: {} is not there", path.display());
            }
            paths.insert(name.to_owned(), path);
        }
        Ok(Self {
            profile: Profile::Release,
            paths,
        })
    }

    /// Builds what the images need, in one go.
    pub(crate) fn build(names: &[Name], profile: Profile) -> Result<Self> {
        Ok(Self {
            profile,
            paths: build(names, profile)?,
        })
    }
}

/// The program of an image.
fn program(name: Name) -> Option<&'static str> {
    match name {
        Name::MockUpstream => Some("mock-upstream"),
        other => package(other),
    }
}

/// The package that has an image's program.
fn package(name: Name) -> Option<&'static str> {
    match name {
        Name::Operator => Some("liquid-operator"),
        Name::Sidecar => Some("liquid-sidecar"),
        Name::Worker => Some("liquid-worker"),
        Name::MockUpstream => Some("liquid-testing"),
        Name::Model | Name::TestApplication => None,
    }
}

fn build(names: &[Name], profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let packages = names.iter().filter_map(|name| package(*name)).collect::<Vec<_>>();
    let mut found = BTreeMap::new();
    if packages.is_empty() {
        return Ok(found);
    }
    let mut build = cargo(&[
        "build",
        "--locked",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    if profile == Profile::Release {
        build.arg("--release");
    }
    for package in packages {
        build.args(["--package", package]);
    }
    let output = build
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the programs do not build");
    }
    for program in executables(&String::from_utf8_lossy(&output.stdout)) {
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let program = match profile {
            Profile::Release => program,
            Profile::Dev => stripped(&program)?,
        };
        found.insert(name, program);
    }
    Ok(found)
}

/// Paths of the programs among cargo's messages, one JSON document a line.
pub(crate) fn executables(messages: &str) -> Vec<PathBuf> {
    let values = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let paths = values.filter_map(|value| Some(PathBuf::from(value.get("executable")?.as_str()?)));
    paths.collect()
}

/// A copy without symbols: the release profile does that itself.
fn stripped(program: &Path) -> Result<PathBuf> {
    let folder = super::folder().join("programs");
    std::fs::create_dir_all(&folder)?;
    let target = folder.join(program.file_name().unwrap_or_default());
    let mut strip = Command::new("strip");
    output(strip.arg("-o").arg(&target).arg(program))?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_programs_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/liquid-sidecar\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        let found = super::executables(messages);
        assert_eq!(found, [std::path::PathBuf::from("/t/release/liquid-sidecar")]);
    }
}
