//! The licences of everything in an image as one text: each text once, below the names of what it is for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::packages::Content;
use crate::command::root;

/// How the names of files begin that hold a licence, or what it asks to pass on.
const NAMES: [&str; 6] = [
    "LICENSE",
    "LICENCE",
    "COPYING",
    "NOTICE",
    "UNLICENSE",
    "COPYRIGHT",
];
const RULE: &str = "================================================================================";

/// Returns the text.
pub(super) fn write(content: &Content) -> Result<String> {
    let own = fs::read_to_string(root().join("LICENSE")).context("cannot read LICENSE")?;
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    let mut add = |text: String, name: String| {
        names.entry(text.trim_end().to_owned()).or_default().insert(name);
    };
    add(own.clone(), "Liquid Memory".to_owned());
    let mut unwritten = Vec::new();
    for package in content
        .packages
        .values()
        .filter(|package| package.checksum.is_some())
    {
        let name = format!("{} {}", package.name, package.version);
        let texts = texts(&package.folder)?;
        if texts.is_empty() {
            let license = package.license.as_deref().unwrap_or("unknown");
            unwritten.push(format!("{name}: {license}"));
        }
        for text in texts {
            add(text, name.clone());
        }
    }
    for package in &content.system {
        let name = format!("{} {}", package.name, package.version);
        match &package.copyright {
            Some(text) => add(text.clone(), name),
            None => unwritten.push(format!("{name}: see the system's documentation")),
        }
    }
    for wheel in content.wheels {
        let package = &wheel.package;
        add(wheel.license()?, format!("{} {}", package.name, package.version));
    }
    for model in &content.models {
        add(own.clone(), format!("the model {} (Apache-2.0)", model.name));
    }
    let mut text = String::new();
    for (license, names) in &names {
        for name in names {
            writeln!(text, "{name}")?;
        }
        writeln!(text, "\n{license}\n\n{RULE}")?;
    }
    writeln!(text, "Published without the text of a licence:")?;
    for line in unwritten {
        writeln!(text, "{line}")?;
    }
    Ok(text)
}

/// Texts in a package's folder, in the order of their files' names.
fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .to_uppercase();
        if path.is_file() && NAMES.iter().any(|wanted| name.starts_with(wanted)) {
            paths.push(path);
        }
    }
    paths.sort();
    let texts = paths.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
    Ok(texts
        .iter()
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect())
}
