//! What an image is made of: packages of cargo, of Debian, and models.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::system::{self, SystemPackage};
use crate::command::{cargo, output, root};
use crate::images::{Name, Programs, Wheel};
use crate::model;

/// What is in an image.
#[derive(Default)]
pub(super) struct Content {
    /// Packages of cargo by `NAME@VERSION`.
    pub(super) packages: BTreeMap<String, Package>,
    pub(super) system: Vec<SystemPackage>,
    pub(super) models: Vec<Model>,
    /// NVIDIA's, whose libraries are in the image.
    pub(super) wheels: &'static [Wheel],
}

/// A package that a program is compiled from.
#[derive(Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// SPDX expression.
    pub(super) license: Option<String>,
    /// SHA-256 of the package in its registry; none of what is in this repository.
    pub(super) checksum: Option<String>,
    /// Folder of its sources.
    pub(super) folder: PathBuf,
    /// What it stands on, as `NAME@VERSION`.
    pub(super) requires: BTreeSet<String>,
}

/// Weights in an image.
pub(super) struct Model {
    pub(super) name: String,
    /// SHA-256 of the weights.
    pub(super) sha256: String,
}

/// Every package that cargo knows of, by `NAME@VERSION`.
pub(super) struct Workspace(BTreeMap<String, Package>);

impl Workspace {
    /// Asks cargo.
    pub(super) fn read() -> Result<Self> {
        let metadata = output(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
        let metadata = serde_json::from_str::<Value>(&metadata)?;
        let checksums = checksums()?;
        let packages = metadata.get("packages").and_then(Value::as_array);
        let packages = packages.context("cargo metadata lists no packages")?;
        let packages = packages.iter().filter_map(|package| {
            let text = |field: &str| package.get(field).and_then(Value::as_str).map(str::to_owned);
            let (name, version) = (text("name")?, text("version")?);
            let id = format!("{name}@{version}");
            let folder = Path::new(&text("manifest_path")?).parent()?.to_owned();
            // Before 2021 a slash meant OR.
            let license = text("license").map(|license| license.replace('/', " OR "));
            let package = Package {
                checksum: checksums.get(&id).cloned(),
                requires: BTreeSet::new(),
                license,
                folder,
                name,
                version,
            };
            Some((id, package))
        });
        Ok(Self(packages.collect()))
    }

    /// What is in an image.
    pub(super) fn content(&self, name: Name, programs: &Programs) -> Result<Content> {
        let mut content = Content::default();
        if let Some(package) = name.package() {
            let mut tree = cargo(&["tree", "--locked", "--edges", "normal,no-proc-macro"]);
            tree.args(["--prefix", "depth", "--format", "{p}", "--package", package]);
            if name == Name::WorkerCuda {
                tree.args(["--features", "cuda"]);
                content.wheels = Wheel::all()?;
            }
            content.packages = self.tree(&output(&mut tree)?)?;
            content.system = system::packages(programs.of(name)?)?;
        }
        content.models = models(name)?;
        Ok(content)
    }

    /// Reads `DEPTHNAME vVERSION ...`, one line a package below what requires it.
    fn tree(&self, text: &str) -> Result<BTreeMap<String, Package>> {
        let mut found = BTreeMap::<String, Package>::new();
        let mut path = Vec::<String>::new();
        for line in text.lines() {
            let start = line.find(|letter: char| !letter.is_ascii_digit());
            let (depth, rest) = line.split_at(start.context("cargo tree: a line without a name")?);
            let mut words = rest.split(' ');
            let (Some(name), Some(version)) = (words.next(), words.next()) else {
                anyhow::bail!("cargo tree: '{line}'");
            };
            let id = format!("{name}@{}", version.trim_start_matches('v'));
            path.truncate(depth.parse::<usize>()?);
            if let Some(parent) = path.last().and_then(|parent| found.get_mut(parent)) {
                parent.requires.insert(id.clone());
            }
            if !found.contains_key(&id) {
                let package = self
                    .0
                    .get(&id)
                    .with_context(|| format!("cargo metadata lacks {id}"))?;
                found.insert(id.clone(), package.clone());
            }
            path.push(id);
        }
        Ok(found)
    }
}

/// Sums of packages in `Cargo.lock`, by `NAME@VERSION`.
fn checksums() -> Result<BTreeMap<String, String>> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let lock = toml::from_str::<toml::Table>(&lock)?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let packages = packages.context("Cargo.lock has no packages")?;
    let checksum = |package: &toml::Value| {
        let text = |field: &str| package.get(field)?.as_str();
        let id = format!("{}@{}", text("name")?, text("version")?);
        Some((id, text("checksum")?.to_owned()))
    };
    Ok(packages.iter().filter_map(checksum).collect())
}

fn models(name: Name) -> Result<Vec<Model>> {
    let folders = match name {
        Name::Worker | Name::WorkerCuda | Name::Model => vec![model::folder(), model::ranker_folder()],
        Name::Decoder => vec![model::decoder::folder()],
        _ => Vec::new(),
    };
    let read = |folder: PathBuf| {
        let path = folder.join("manifest.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let manifest = serde_json::from_slice::<Value>(&text)?;
        let text = |pointer: &str| {
            let value = manifest.pointer(pointer).and_then(Value::as_str);
            let value = value.with_context(|| format!("{} has no {pointer}", path.display()))?;
            anyhow::Ok(value.to_owned())
        };
        Ok(Model {
            name: text("/name")?,
            sha256: text("/files/model.safetensors")?,
        })
    };
    folders.into_iter().map(read).collect()
}
