//! `cargo xtask fuzz`: the fuzz targets, for a bounded number of executions in the tests, or for a time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cache, cargo, exists, output, program, root, run as run_command};
use crate::console::{say, step};
use crate::count::Count;

/// Enough to try each corpus file and many neighbours, little enough for every test run.
const EXECUTIONS: &str = "20000";
/// What libFuzzer needs to see which branches an input takes.
const COVERAGE: &str = "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The target; all of them, one after the other, if none is named.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let time = format!("-max_total_time={}", arguments.seconds);
    for target in targets()?
        .into_iter()
        .filter(|name| arguments.target.as_ref().is_none_or(|wanted| wanted == name))
    {
        step(&format!("{target}, {} s", arguments.seconds));
        let found = execute(&target, &time)?;
        say(format!(
            "{} executions",
            found.context("libFuzzer did not say how many executions it did")?
        ));
    }
    Ok(())
}

/// The part of the tests: one check a target.
pub(crate) fn check() -> Result<Count> {
    if !exists("c++", "--version") {
        return Ok(Count::skipped(
            "fuzz targets: no C++ compiler for libFuzzer (Debian: apt-get install g++)",
        ));
    }
    let mut count = Count::default();
    for target in targets()? {
        let executed = execute(&target, &format!("-runs={EXECUTIONS}"));
        match &executed {
            Ok(Some(number)) => say(format!("{target}: corpus and {number} executions")),
            Ok(None) => say(format!("{target}: no executions were counted")),
            Err(error) => say(format!("{target}: {error:#}")),
        }
        count.add(&Count::one(matches!(executed, Ok(Some(_)))));
    }
    Ok(count)
}

/// Checks that the targets' own lock file knows what the crates that they use depend on: they are a workspace apart, so
/// no other build brings it up to date.
///
/// # Errors
/// Cargo's, if it does not.
pub(crate) fn check_lock() -> Result<()> {
    let manifest = root().join("fuzz/Cargo.toml");
    let mut metadata = cargo(&["metadata", "--locked", "--format-version", "1", "--manifest-path"]);
    metadata.arg(manifest);
    output(&mut metadata).map(drop)
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = fs::read_dir(&folder)
        .with_context(|| format!("cannot read {}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect::<Vec<_>>();
    names.sort();
    Ok(names)
}

/// Runs one target and returns how many executions it did. New inputs that it finds go below `target`.
fn execute(target: &str, limit: &str) -> Result<Option<u64>> {
    let found = root().join("target/fuzz-corpus").join(target);
    let logs = cache().join("logs");
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&logs)?;
    let program = build(target)?;
    let log = logs.join(format!("fuzz-{target}.log"));
    let status = Command::new(program)
        .current_dir(root().join("fuzz"))
        .args([
            limit,
            "-print_final_stats=1",
            "-rss_limit_mb=2048",
            "-timeout=20",
            "-artifact_prefix=artifacts/",
        ])
        .args([&found, &root().join("fuzz/corpus").join(target)])
        .stderr(fs::File::create(&log)?)
        .status()?;
    let text = fs::read_to_string(&log)?;
    if !status.success() {
        let tail = text
            .lines()
            .rev()
            .take(30)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
            .join("\n");
        bail!("{target} found a failing input:\n{tail}");
    }
    let number = |line: &str| {
        line.strip_prefix("stat::number_of_executed_units:")?
            .trim()
            .parse()
            .ok()
    };
    Ok(text.lines().find_map(number))
}

/// Builds a target as `cargo fuzz build --sanitizer none` does, which works on a stable toolchain and needs no
/// further tool; `cargo fuzz` itself understands the folder too.
fn build(target: &str) -> Result<PathBuf> {
    let host = host()?;
    let folder = root().join("target/fuzz");
    fs::create_dir_all(root().join("fuzz/artifacts"))?;
    let manifest = root().join("fuzz/Cargo.toml");
    let mut build = cargo(&["build", "--locked", "--target", &host, "--bin", target]);
    build
        .arg("--manifest-path")
        .arg(manifest)
        .env("CARGO_TARGET_DIR", &folder)
        .env("RUSTFLAGS", COVERAGE);
    run_command(&mut build)?;
    Ok(folder.join(host).join("debug").join(target))
}

/// The target triple has to be named, or the flags would instrument build scripts too.
fn host() -> Result<String> {
    let version = output(&mut program("rustc", &["-vV"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
