//! Building the programs that go into images, and finding where cargo put them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Name;
use crate::command::{cargo, output};
use crate::graph;

/// A profile of the workspace's Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// What is shipped.
    Release,
    /// What the tests run, from the one build of the workspace.
    Dev,
}

/// Programs by name, without symbols.
pub(crate) struct Programs {
    profile: Profile,
    paths: BTreeMap<String, PathBuf>,
}

impl Programs {
    pub(crate) fn get(&self, name: &str) -> Result<&Path> {
        let found = self.paths.get(name).map(PathBuf::as_path);
        found.with_context(|| format!("cargo built no program {name}"))
    }

    /// The program of an image.
    pub(crate) fn of(&self, name: Name) -> Result<&Path> {
        let program = program(name).with_context(|| format!("the image {} has no program", name.file()))?;
        self.get(program)
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// What somebody has built already, taken as it is.
    pub(crate) fn within(names: &[Name], folder: &Path) -> Result<Self> {
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
        Name::WorkerCuda => Some(Name::CUDA_PROGRAM),
        other => package(other),
    }
}

/// The package that has an image's program.
pub(super) fn package(name: Name) -> Option<&'static str> {
    match name {
        Name::Operator => Some("liquid-operator"),
        Name::Sidecar => Some("liquid-sidecar"),
        Name::Worker | Name::WorkerCuda | Name::TestWorker => Some("liquid-worker"),
        Name::MockUpstream => Some("liquid-testing"),
        Name::Model | Name::Decoder | Name::TestApplication | Name::TestClients | Name::TestDecoder => None,
    }
}

fn build(names: &[Name], profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    match profile {
        Profile::Release => {
            let mut programs = BTreeMap::new();
            let (cuda, others): (Vec<Name>, Vec<Name>) =
                names.iter().partition(|name| **name == Name::WorkerCuda);
            if !cuda.is_empty() {
                // First: the other worker takes its place in the folder of programs.
                let built = build_release(&cuda, &["--features", "liquid-worker/cuda"])?;
                let path = built.get("liquid-worker").context("cargo built no worker")?;
                programs.insert(Name::CUDA_PROGRAM.to_owned(), copied(path)?);
            }
            programs.extend(build_release(&others, &[])?);
            Ok(programs)
        }
        Profile::Dev if names.contains(&Name::WorkerCuda) => {
            bail!("the worker for NVIDIA GPUs is built with --profile release only")
        }
        Profile::Dev => {
            let programs = names.iter().filter_map(|name| program(*name));
            let stripped =
                programs.map(|name| Ok((name.to_owned(), stripped(graph::built()?.program(name)?)?)));
            stripped.collect()
        }
    }
}

fn build_release(names: &[Name], more: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let packages = names.iter().filter_map(|name| package(*name)).collect::<Vec<_>>();
    if packages.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut build = cargo(&["build", "--locked", "--release", "--bins"]);
    build.args(more);
    for package in packages {
        build.args(["--package", package]);
    }
    let programs = graph::build_apart(&mut build)?;
    Ok(programs
        .into_iter()
        .map(|program| (program.target, program.path))
        .collect())
}

/// A copy under the name of the worker for NVIDIA GPUs.
fn copied(program: &Path) -> Result<PathBuf> {
    let folder = super::folder().join("programs");
    std::fs::create_dir_all(&folder)?;
    let target = folder.join(Name::CUDA_PROGRAM);
    std::fs::copy(program, &target)?;
    Ok(target)
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
