//! Runs the workspace's tests with cargo-nextest: each in a process of its own, so that one that hangs can be ended and
//! each has its time. The limits are in `.config/nextest.toml`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::command::{cache, cargo, output, read, root, without_our_package};
use crate::console::{human, line};
use crate::count::Count;
use crate::{graph, tools};

/// What nextest has to know of the build, so that it does not ask cargo, which others may keep busy.
#[derive(Debug)]
struct Plan {
    program: PathBuf,
    binaries: PathBuf,
    metadata: PathBuf,
}

/// Builds the tests; those who run them later need cargo no more.
pub(crate) fn prepare() -> Result<()> {
    plan().map(|_| ())
}

/// Runs the tests that a filter of nextest selects, and of those the ones whose names contain one of `names`.
pub(crate) fn run(filter: &str, names: &[String]) -> Result<Count> {
    let plan = plan()?;
    let mut command = nextest(plan, "run");
    command
        .arg("--binaries-metadata")
        .arg(&plan.binaries)
        .arg("--cargo-metadata")
        .arg(&plan.metadata)
        .args(["--no-tests=pass", "--status-level=skip", "--filterset", filter])
        .args(names)
        // Or each process that compares a snapshot would ask cargo where the workspace is.
        .env("INSTA_WORKSPACE_ROOT", root());
    let mut count = Count::default();
    let success = read(&mut command, |text| {
        if !text.trim_start().starts_with("PASS [") && !text.trim_start().starts_with("SKIP [") {
            line(text);
        }
        count.nextest(text);
    })?;
    // What no name selects counts as skipped there.
    let selected = |test: &String| names.is_empty() || names.iter().any(|name| test.contains(name));
    count.skipped.retain(selected);
    let junit = target_folder()?.join("nextest/default/junit.xml");
    count.times = times(&fs::read_to_string(junit).unwrap_or_default());
    Ok(count.ended(success))
}

fn nextest(plan: &Plan, command: &str) -> Command {
    let mut nextest = Command::new(&plan.program);
    without_our_package(&mut nextest);
    nextest.args(["nextest", command]);
    nextest
}

fn plan() -> Result<&'static Plan> {
    static PLAN: OnceLock<Result<Plan, String>> = OnceLock::new();
    PLAN.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow!(error.clone()))
}

fn make() -> Result<Plan> {
    graph::built()?;
    let folder = cache().join("nextest");
    fs::create_dir_all(&folder)?;
    let plan = Plan {
        program: tools::cargo_tool("cargo-nextest")?,
        binaries: folder.join("binaries.json"),
        metadata: folder.join("metadata.json"),
    };
    let mut list = nextest(&plan, "list");
    list.args([
        "--workspace",
        "--locked",
        "--list-type=binaries-only",
        "--message-format=json",
    ]);
    fs::write(&plan.binaries, output(&mut list)?)?;
    let mut metadata = cargo(&["metadata", "--format-version=1", "--all-features", "--locked"]);
    fs::write(&plan.metadata, output(&mut metadata)?)?;
    Ok(plan)
}

/// Where cargo builds.
fn target_folder() -> Result<PathBuf> {
    let metadata = graph::metadata()?;
    let folder = metadata
        .get("target_directory")
        .and_then(serde_json::Value::as_str);
    Ok(PathBuf::from(
        folder.context("cargo metadata names no target directory")?,
    ))
}

/// Each test and its time, from a report in JUnit's format.
fn times(report: &str) -> Vec<(Duration, String)> {
    let cases = report.split("<testcase ").skip(1);
    let cases = cases.filter_map(|case| {
        let value = |name: &str| case.split_once(&format!("{name}=\""))?.1.split('"').next();
        let seconds = value(" time").or_else(|| value("time"))?.parse::<f64>().ok()?;
        let name = format!(
            "{}::{}",
            value("classname")?,
            case.strip_prefix("name=\"")?.split('"').next()?
        );
        Some((Duration::try_from_secs_f64(seconds).ok()?, name))
    });
    cases.collect()
}

/// The slowest tests, slowest first, one a line.
pub(crate) fn slowest(mut times: Vec<(Duration, String)>, how_many: usize) -> Vec<String> {
    times.sort_by(|a, b| b.cmp(a));
    let slowest = times.into_iter().take(how_many);
    slowest
        .map(|(time, name)| format!("{:>9}  {name}", human(time)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_times_of_a_report() {
        let report = r#"<testsuites><testsuite name="liquid-sidecar" tests="2">
            <testcase name="sse::tests::cr_lf" classname="liquid-sidecar" timestamp="2026-11-29" time="0.021"></testcase>
            <testcase name="limits::body" classname="liquid-sidecar::edge" timestamp="2026-11-29" time="1.5">
            </testcase></testsuite></testsuites>"#;
        let lines = slowest(times(report), 10);
        assert_eq!(
            lines,
            [
                "    1.5 s  liquid-sidecar::edge::limits::body",
                "    21 ms  liquid-sidecar::sse::tests::cr_lf"
            ]
        );
    }
}
