//! The one build of the workspace, from which tests, client tests and images take their programs.
//!
//! Cargo chooses the features of what packages share by the packages and the kinds of targets that it is asked for: one
//! package alone, or programs without tests, would compile tokio and all that stands on it once more. So every part asks
//! for the whole workspace with its tests and takes what it needs from what cargo says that it has built.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use crate::command::{cargo, output, read};
use crate::console::line;

/// The programs that tests start.
const PROGRAMS: [&str; 6] = [
    "kubectl-liquid",
    "liquid-cluster-tests",
    "liquid-operator",
    "liquid-sidecar",
    "liquid-worker",
    "mock-upstream",
];

/// The code for GPUs, with all that tests and lints look at: it builds without a GPU and without CUDA.
const CUDA: &str = "liquid-bench/cuda";

/// A program or a test that cargo has built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Executable {
    pub(crate) target: String,
    pub(crate) test: bool,
    pub(crate) path: PathBuf,
}

/// What one build of the workspace gave.
#[derive(Debug)]
pub(crate) struct Built {
    executables: Vec<Executable>,
    /// How many warnings the compiler gave.
    pub(crate) warnings: usize,
}

impl Built {
    /// A program by its name.
    pub(crate) fn program(&self, name: &str) -> Result<&Path> {
        self.find(name, false)
    }

    /// A file of integration tests by its name.
    pub(crate) fn test(&self, name: &str) -> Result<&Path> {
        self.find(name, true)
    }

    fn find(&self, name: &str, test: bool) -> Result<&Path> {
        let found = self
            .executables
            .iter()
            .find(|one| one.target == name && one.test == test);
        let path = found.map(|found| found.path.as_path());
        path.with_context(|| format!("cargo built no {} {name}", if test { "test" } else { "program" }))
    }
}

/// Builds the workspace once in this run.
pub(crate) fn built() -> Result<&'static Built> {
    static BUILT: OnceLock<Result<Built, String>> = OnceLock::new();
    BUILT
        .get_or_init(|| build().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!(error.clone()))
}

fn build() -> Result<Built> {
    let mut build = cargo(&[
        "build",
        "--workspace",
        "--locked",
        "--lib",
        "--tests",
        "--examples",
    ]);
    for name in PROGRAMS {
        build.args(["--bin", name]);
    }
    build.arg("--message-format=json");
    let mut built = Built {
        executables: Vec::new(),
        warnings: 0,
    };
    let success = read(&mut build, |text| match serde_json::from_str::<Value>(text) {
        Ok(message) => {
            built.executables.extend(executable(&message));
            if let Some(rendered) = message.pointer("/message/rendered").and_then(Value::as_str) {
                line(rendered.trim_end());
                let level = message.pointer("/message/level").and_then(Value::as_str);
                built.warnings += usize::from(level == Some("warning"));
            }
        }
        // Cargo's own lines.
        Err(_) => line(text),
    })?;
    ensure!(success, "the workspace does not build");
    Ok(built)
}

/// Lints the workspace with the code for GPUs; true if there is nothing to say.
pub(crate) fn clippy() -> Result<bool> {
    let mut clippy = cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--features",
        CUDA,
    ]);
    shown(clippy.args(["--", "--deny", "warnings"]))
}

/// Documents the workspace with the code for GPUs, from what clippy has built of the dependencies: cargo chooses the same
/// features if it is asked for examples too. True if there is nothing to say.
pub(crate) fn document() -> Result<bool> {
    let mut doc = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ]);
    doc.args(["--lib", "--examples", "--features", CUDA]);
    // A program beside a library of the same name would overwrite its pages.
    for name in programs_alone()? {
        doc.args(["--bin", &name]);
    }
    shown(doc.env("RUSTDOCFLAGS", "--deny warnings"))
}

fn shown(command: &mut Command) -> Result<bool> {
    crate::command::watch(command, |_| {})
}

/// What cargo knows of the workspace.
pub(crate) fn metadata() -> Result<Value> {
    let mut metadata = cargo(&["metadata", "--format-version=1", "--no-deps", "--locked"]);
    Ok(serde_json::from_str(&output(metadata.stderr(Stdio::null()))?)?)
}

/// Programs of packages that have no library.
fn programs_alone() -> Result<Vec<String>> {
    let metadata = metadata()?;
    let targets = |package: &Value| {
        package
            .get("targets")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let kind = |target: &Value| {
        target
            .pointer("/kind/0")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let packages = metadata
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let alone = packages
        .map(targets)
        .filter(|targets| !targets.iter().any(|it| kind(it).as_deref() == Some("lib")));
    let bins = alone
        .flatten()
        .filter(|target| kind(target).as_deref() == Some("bin"));
    Ok(bins
        .filter_map(|target| Some(target.get("name")?.as_str()?.to_owned()))
        .collect())
}

/// Runs another build than that of the workspace, and returns what it has built. Cargo says itself what is wrong.
pub(crate) fn build_apart(build: &mut Command) -> Result<Vec<Executable>> {
    let output = build
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(output.status.success(), "the programs do not build");
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// The programs and tests among cargo's messages, one JSON document a line.
fn executables(messages: &str) -> Vec<Executable> {
    let values = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    values.filter_map(|message| executable(&message)).collect()
}

fn executable(message: &Value) -> Option<Executable> {
    Some(Executable {
        path: PathBuf::from(message.get("executable")?.as_str()?),
        target: message.pointer("/target/name")?.as_str()?.to_owned(),
        test: message.pointer("/profile/test")?.as_bool()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"liquid-sidecar\"},\
                        \"profile\":{\"test\":false},\"executable\":\"/t/release/liquid-sidecar\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        let found = Executable {
            target: "liquid-sidecar".to_owned(),
            test: false,
            path: PathBuf::from("/t/release/liquid-sidecar"),
        };
        assert_eq!(executables(messages), [found]);
    }
}
