//! The tests that need a real Kubernetes with a kubelet. `cargo xtask test --only cluster` starts the cluster, loads
//! the images and runs this program in the cluster's network; `--list` names the tests without any of it.
//!
//! The cases run one after the other in the order of [`cases::all`]: the first installs the charts, the last
//! uninstalls them, and each of the others has a namespace of its own. A name selects cases, and with them those that
//! make what they use.

#![forbid(unsafe_code)]

mod admission;
mod api;
mod cases;
mod guide;
mod kubectl;
mod machine;
mod manifest;
mod plugin;
mod scale;
mod status;
mod traffic;
mod trials;
mod world;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

use crate::cases::Case;
use crate::world::World;

fn main() -> ExitCode {
    let words = std::env::args().skip(1).collect::<Vec<_>>();
    match words.first().map(String::as_str) {
        Some("bench-admission") => return bench_admission(),
        Some("bench-scale") => {
            return ended(scale::Options::read(&words[1..]).and_then(|it| scale::run(&it)));
        }
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // They share one cluster, and two cores.
    arguments.test_threads = Some(1);
    // What a selected case uses is made first, and is not what libtest-mimic would select.
    let cases = match arguments.filter.take_if(|_| !arguments.list) {
        Some(part) => cases::selected(&part),
        None if arguments.list => [cases::all(), cases::named()].concat(),
        None => cases::all(),
    };
    let listed = arguments.list;
    let trials = cases.into_iter().map(|(name, case)| {
        let trial = Trial::test(name, move || tried(name, case));
        // Where a package index cannot be reached, or a language's tools are missing: skipped by name, as everywhere.
        trial.with_ignored_flag(!listed && cases::is_skipped(name))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Runs a case, and once more if it fails: the cluster shares its machine with whatever else runs there. One that passes
/// then is flaky: what it said first is printed, and listed at the end of a whole run, so that it gets mended.
fn tried(name: &str, case: Case) -> Result<(), Failed> {
    let attempt = || World::get().and_then(case);
    let Err(first) = attempt() else {
        return Ok(());
    };
    let first = format!("{first:#}");
    eprintln!("once more: {name} said: {first}");
    attempt().map_err(|second| Failed::from(format!("{second:#}\nat its first try: {first}")))?;
    println!("\nflaky: {name}: {}", first.lines().next().unwrap_or_default());
    Ok(())
}

fn bench_admission() -> ExitCode {
    let install = cases::all()
        .into_iter()
        .find(|(name, _)| *name == "charts::install");
    ended(World::get().and_then(|world| {
        install.map_or(Ok(()), |(_, install)| install(world))?;
        admission::run(world)
    }))
}

fn ended(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
