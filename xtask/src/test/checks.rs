//! The parts that need nothing but cargo and `cargo-deny`.

use anyhow::Result;

use super::Count;
use crate::command::{cargo, output, program, run, watch};
use crate::console::{say, warn};
use crate::model::Weights;
use crate::{model, tools};

pub(super) fn fmt() -> Result<Count> {
    holds(&["fmt", "--all", "--check"])
}

/// The workspace, and the code for GPUs, which builds without one.
pub(super) fn clippy() -> Result<Count> {
    let mut count = Count::default();
    for packages in [
        &["--workspace"][..],
        &["--package", "liquid-worker", "--features", "cuda"],
        &["--package", "liquid-attention", "--features", "cuda"],
    ] {
        let rest = ["--all-targets", "--locked", "--", "--deny", "warnings"];
        count.add(&holds(&[&["clippy"][..], packages, &rest].concat())?);
    }
    Ok(count)
}

pub(super) fn doc() -> Result<Count> {
    let mut doc = cargo(&[
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ]);
    Ok(Count::one(
        run(doc.env("RUSTDOCFLAGS", "--deny warnings")).is_ok(),
    ))
}

fn holds(arguments: &[&str]) -> Result<Count> {
    Ok(Count::one(run(&mut cargo(arguments)).is_ok()))
}

/// The workspace's own tests. The encoder's need the weights; each says so itself where they are missing.
pub(super) fn rust() -> Result<Count> {
    let mut count = Count::default();
    match model::ensure()? {
        Weights::Ready(_) => say("the encoder's weights are there"),
        Weights::Missing(why) => {
            warn(format!("no weights: {why}"));
            count
                .skipped
                .push(format!("tests of the encoder: no weights ({why})"));
        }
    }
    let success = watch(&mut cargo(&["test", "--workspace", "--locked"]), |line| {
        count.cargo(line)
    })?;
    Ok(count.ended(success))
}

/// Four checks; advisories need a database from the network.
pub(super) fn deny() -> Result<Count> {
    let deny = tools::cargo_deny()?;
    let check = |what: &str| {
        run(&mut program(
            &deny,
            &["--locked", "check", "--hide-inclusion-graph", what],
        ))
    };
    let mut count = Count::default();
    for what in ["licenses", "bans", "sources"] {
        count.add(&Count::one(check(what).is_ok()));
    }
    count.add(&match output(&mut program(&deny, &["fetch", "db"])) {
        Ok(_) => Count::one(check("advisories").is_ok()),
        Err(error) => Count::skipped(format!(
            "advisories: the database cannot be fetched ({})",
            last_line(&error)
        )),
    });
    Ok(count)
}

fn last_line(error: &anyhow::Error) -> String {
    format!("{error:#}")
        .lines()
        .last()
        .unwrap_or_default()
        .trim()
        .to_owned()
}
