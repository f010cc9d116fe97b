//! The parts that need nothing but cargo and its tools.

use anyhow::Result;

use super::Wanted;
use crate::command::{cargo, output, program, run, watch};
use crate::console::{say, warn};
use crate::count::Count;
use crate::model::Weights;
use crate::{fuzz, graph, imports, model, nextest, tools};

pub(super) fn download() -> Result<()> {
    tools::cargo_tool("cargo-nextest").map(|_| ())
}

pub(super) fn fmt(_: &Wanted) -> Result<Count> {
    holds(&["fmt", "--all", "--check"])
}

/// One check a crate.
pub(super) fn imports(_: &Wanted) -> Result<Count> {
    let mut count = Count::default();
    for name in imports::crates() {
        count.add(&Count::one(imports::circles(&[name])? == 0));
    }
    Ok(count)
}

/// All that the other parts run. Clippy looks at the code for GPUs; what is compiled without it has no warning either.
pub(super) fn build(_: &Wanted) -> Result<Count> {
    nextest::prepare()?;
    Ok(Count::one(graph::built()?.warnings == 0))
}

/// The workspace with the code for GPUs, which builds without one.
pub(super) fn clippy(_: &Wanted) -> Result<Count> {
    Ok(Count::one(graph::clippy()?))
}

pub(super) fn doc(_: &Wanted) -> Result<Count> {
    let mut count = Count::one(graph::document()?);
    let mut examples = Count::default();
    let mut test = cargo(&["test", "--workspace", "--doc", "--locked"]);
    let success = watch(&mut test, |line| examples.cargo(line))?;
    count.add(&examples.ended(success));
    Ok(count)
}

fn holds(arguments: &[&str]) -> Result<Count> {
    Ok(Count::one(run(&mut cargo(arguments)).is_ok()))
}

/// The workspace's own tests.
pub(super) fn rust(wanted: &Wanted) -> Result<Count> {
    let mut count = weights()?;
    count.add(&nextest::run("all()", &wanted.names)?);
    Ok(count)
}

/// Fetches the encoder's weights. Its tests need them; each says so itself where they are missing.
pub(super) fn weights() -> Result<Count> {
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
    Ok(count)
}

pub(super) fn fuzz(_: &Wanted) -> Result<Count> {
    fuzz::check()
}

/// Four checks; advisories need a database from the network.
pub(super) fn deny(_: &Wanted) -> Result<Count> {
    let deny = tools::cargo_tool("cargo-deny")?;
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
