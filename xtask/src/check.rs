//! `cargo xtask check`: a verdict on what has just been edited, in the order in which it comes.
//!
//! Which crates: those named, or those with files that differ from the last commit. Build and lints are those of
//! `cargo xtask test`, of the whole workspace: what did not change is not done again, and what depends on the edit is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output, program, root, run as run_command};
use crate::console::{bold, green, human, red, say, step};
use crate::nextest::slowest;
use crate::{fuzz, graph, imports, nextest};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Packages or their folders; those that have changed since the last commit, if none is named.
    crates: Vec<String>,
    /// Run only tests whose names contain one of these.
    #[arg(last = true, value_name = "NAME")]
    names: Vec<String>,
}

/// A package of the workspace.
struct Package {
    name: String,
    folder: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let start = Instant::now();
    let packages = packages()?;
    let chosen = match arguments.crates.as_slice() {
        [] => changed(&packages)?,
        names => names
            .iter()
            .map(|name| named(&packages, name))
            .collect::<Result<_>>()?,
    };
    if chosen.is_empty() {
        say("no crate has changed since the last commit");
        return Ok(ExitCode::SUCCESS);
    }
    let names = chosen
        .iter()
        .map(|package| package.name.as_str())
        .collect::<Vec<_>>();
    say(names.join(", "));
    let holds = checks(&chosen, &arguments.names)?;
    let verdict = if holds { green("good") } else { red("not good") };
    println!("\n{} after {}", bold(&verdict), human(start.elapsed()));
    Ok(if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is quick comes first; the first that fails is the verdict.
fn checks(packages: &[&Package], names: &[String]) -> Result<bool> {
    step("formatting");
    let mut format = cargo(&["fmt", "--check"]);
    for package in packages {
        format.args(["--package", &package.name]);
    }
    if run_command(&mut format).is_err() {
        return Ok(false);
    }
    step("imports");
    let folders = packages
        .iter()
        .filter_map(|package| package.folder.file_name()?.to_str());
    let folders = folders
        .filter(|folder| imports::crates().contains(folder))
        .collect::<Vec<_>>();
    if imports::circles(&folders)? > 0 {
        return Ok(false);
    }
    step("lock file of the fuzz targets");
    if let Err(error) = fuzz::check_lock() {
        say(format!(
            "{error:#}; `cargo update --workspace --manifest-path fuzz/Cargo.toml` brings it up to date"
        ));
        return Ok(false);
    }
    step("clippy");
    if !graph::clippy()? {
        return Ok(false);
    }
    step("tests");
    let filters = packages
        .iter()
        .map(|package| format!("package(={})", package.name));
    let count = nextest::run(&filters.collect::<Vec<_>>().join(" + "), names)?;
    for line in slowest(count.times, 3) {
        say(line);
    }
    Ok(count.failed == 0)
}

fn packages() -> Result<Vec<Package>> {
    let metadata = graph::metadata()?;
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let text = |package: &Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let packages = packages.filter_map(|package| {
        Some(Package {
            name: text(package, "name")?,
            folder: Path::new(&text(package, "manifest_path")?).parent()?.to_owned(),
        })
    });
    Ok(packages.collect())
}

/// By its name, by its name without `liquid-`, or by its folder.
fn named<'p>(packages: &'p [Package], name: &str) -> Result<&'p Package> {
    let folder = root().join(name);
    let is = |package: &&Package| {
        package.name == name || package.name.strip_prefix("liquid-") == Some(name) || package.folder == folder
    };
    packages.iter().find(is).with_context(|| {
        let all = packages
            .iter()
            .map(|package| package.name.as_str())
            .collect::<Vec<_>>();
        format!("there is no crate {name}; there are {}", all.join(", "))
    })
}

/// The packages with files that git sees as changed or new.
fn changed(packages: &[Package]) -> Result<Vec<&Package>> {
    let git = |arguments: &[&str]| output(&mut program("git", arguments));
    let tracked =
        git(&["diff", "--name-only", "HEAD"]).context("cargo xtask check needs git, or a crate's name")?;
    let new = git(&["ls-files", "--others", "--exclude-standard"])?;
    let files = tracked
        .lines()
        .chain(new.lines())
        .map(|file| root().join(file))
        .collect::<Vec<_>>();
    if files
        .iter()
        .any(|file| file.parent() == Some(&root()) && file.extension().is_some_and(|end| end == "toml"))
    {
        bail!("the whole workspace's settings have changed: name the crates, or run `cargo xtask test`");
    }
    let owns = |package: &&Package| {
        files
            .iter()
            .any(|file| owner(packages, file) == Some(&package.folder))
    };
    Ok(packages.iter().filter(owns).collect())
}

/// The folder of the package in which a file is: the innermost, if they are nested.
fn owner<'p>(packages: &'p [Package], file: &Path) -> Option<&'p PathBuf> {
    let folders = packages.iter().map(|package| &package.folder);
    folders
        .filter(|folder| file.starts_with(folder))
        .max_by_key(|folder| folder.as_os_str().len())
}
