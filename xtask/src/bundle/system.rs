//! The packages of the build machine whose libraries are in an image, where it has Debian's package manager.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{exists, output};
use crate::images::libraries_of;
use crate::model::sha256;

/// A package of the system, or a single library that no package has.
pub(super) struct SystemPackage {
    pub(super) name: String,
    /// Version of the package; of a single library the SHA-256.
    pub(super) version: String,
    /// Debian's architecture; none of a single library.
    pub(super) architecture: Option<String>,
    /// Text of its licence.
    pub(super) copyright: Option<String>,
}

/// Finds the packages of the libraries that a program needs.
pub(super) fn packages(program: &Path) -> Result<Vec<SystemPackage>> {
    let mut found = BTreeMap::new();
    let debian = exists("dpkg-query", "--version");
    for library in libraries_of(program)? {
        let package = match owner(&library).filter(|_| debian) {
            Some(owner) => debian_package(&owner)?,
            None => SystemPackage {
                name: library.display().to_string(),
                version: sha256(&library)?,
                architecture: None,
                copyright: None,
            },
        };
        found.insert(package.name.clone(), package);
    }
    Ok(found.into_values().collect())
}

/// The package that has a file: its path may be the one before or after Debian joined `/lib` and `/usr/lib`.
fn owner(library: &Path) -> Option<String> {
    let target = fs::canonicalize(library).ok()?;
    let below_usr = Path::new("/usr").join(library.strip_prefix("/").ok()?);
    let before_usr = target
        .strip_prefix("/usr")
        .ok()
        .map(|rest| PathBuf::from("/").join(rest));
    let places = [
        Some(library.to_owned()),
        Some(target),
        Some(below_usr),
        before_usr,
    ];
    places.into_iter().flatten().find_map(|path| {
        let said = output(Command::new("dpkg-query").arg("--search").arg(path)).ok()?;
        Some(said.lines().next()?.rsplit_once(": ")?.0.to_owned())
    })
}

fn debian_package(name: &str) -> Result<SystemPackage> {
    let format = "--showformat=${Package} ${Version} ${Architecture}";
    let said = output(Command::new("dpkg-query").args(["--show", format, name]))?;
    let mut words = said.split(' ').map(str::to_owned);
    let (name, version) = (words.next(), words.next());
    let name = name.context("dpkg-query names no package")?;
    let copyright = Path::new("/usr/share/doc").join(&name).join("copyright");
    Ok(SystemPackage {
        version: version.context("dpkg-query gives no version")?,
        architecture: words.next(),
        copyright: fs::read_to_string(copyright).ok(),
        name,
    })
}
