//! `kubectl liquid`, run by kubectl as a user runs it.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::text;
use crate::world::World;

/// What a command printed.
pub(crate) struct Printed {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Printed {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("no JSON: {} {}", self.stdout, self.stderr))
    }
}

/// Runs `kubectl liquid` with these words.
pub(crate) fn liquid(world: &World, words: &[&str]) -> Result<Printed> {
    let folder = world.plugin.parent().context("the plugin is in no folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut kubectl = Command::new(world.programs.join("kubectl"));
    kubectl.arg("liquid").args(words).stdin(Stdio::null());
    kubectl.env("PATH", format!("{}:{path}", folder.display()));
    let Output {
        status,
        stdout,
        stderr,
    } = kubectl.output().context("cannot start kubectl")?;
    Ok(Printed {
        success: status.success(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// The findings of `check` about a namespace and the installation; the exit code has to agree with them.
pub(crate) fn findings(world: &World, namespace: &str) -> Result<Vec<Value>> {
    let printed = liquid(world, &["check", "--namespace", namespace, "-o", "json"])?;
    let report = printed.json()?;
    let findings = report.pointer("/findings").and_then(Value::as_array);
    let findings = findings.cloned().unwrap_or_default();
    let errors = findings
        .iter()
        .filter(|finding| text(finding, "/severity") == "error");
    ensure!(
        printed.success == (errors.count() == 0),
        "the exit code does not agree: {}",
        printed.stdout
    );
    Ok(findings)
}
