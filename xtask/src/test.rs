//! `cargo xtask test`: every check of the repository in one go, on a fresh machine.
//!
//! Each part says how many checks passed, failed or were skipped and why; the table at the end adds them up.

mod checks;
mod clients;
mod cluster;
mod count;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::console::{bold, green, human, red, step, yellow};
pub(crate) use cluster::bench_admission;
pub(crate) use count::Count;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only these parts.
    #[arg(long, value_name = "PART", value_enum)]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// rustfmt, changing nothing.
    Fmt,
    /// clippy, warnings are errors.
    Clippy,
    /// Licences, bans, sources and advisories of all dependencies.
    Deny,
    /// rustdoc without warnings.
    Doc,
    /// Unit and integration tests of the workspace.
    Rust,
    /// Unmodified Python SDKs against the running pair.
    Python,
    /// Unmodified Node SDKs against the running pair.
    Node,
    /// Every fuzz target on its corpus, then a bounded number of executions.
    Fuzz,
    /// Charts, images and the whole path on a real Kubernetes of its own; needs root.
    Cluster,
}

type Check = fn() -> Result<Count>;

/// In the order in which they run: what is cheap and likely to fail comes first.
const PARTS: [(Part, &str, Check); 9] = [
    (Part::Fmt, "formatting", checks::fmt),
    (Part::Clippy, "clippy", checks::clippy),
    (Part::Rust, "cargo test", checks::rust),
    (Part::Doc, "documentation", checks::doc),
    (Part::Deny, "dependencies", checks::deny),
    (Part::Python, "Python clients", clients::python),
    (Part::Node, "Node clients", clients::node),
    (Part::Fuzz, "fuzz targets", crate::fuzz::check),
    (Part::Cluster, "Kubernetes", cluster::cluster),
];

struct Line {
    name: &'static str,
    count: Count,
    took: Duration,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let wanted = PARTS
        .iter()
        .filter(|(part, ..)| arguments.only.is_empty() || arguments.only.contains(part));
    let lines = wanted.map(|(_, name, part)| one(name, *part)).collect::<Vec<_>>();
    let total = table(&lines);
    println!(
        "{} passed, {} failed, {} skipped",
        total.passed,
        total.failed,
        total.skipped.len()
    );
    Ok(if total.failed == 0 && total.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A part that cannot even run is a failure of it, not of those that follow.
fn one(name: &'static str, part: Check) -> Line {
    step(name);
    let start = Instant::now();
    let count = part().unwrap_or_else(|error| {
        eprintln!("{} {error:#}", red("error:"));
        Count {
            passed: 0,
            failed: 1,
            skipped: Vec::new(),
        }
    });
    Line {
        name,
        count,
        took: start.elapsed(),
    }
}

fn table(lines: &[Line]) -> Count {
    let mut total = Count::default();
    println!(
        "\n{}",
        bold("part              passed  failed  skipped       time")
    );
    for Line { name, count, took } in lines {
        let numbers = format!(
            "{:>6}  {:>6}  {:>7}",
            count.passed,
            count.failed,
            count.skipped.len()
        );
        let colour = if count.failed > 0 { red } else { green };
        println!("{name:<16}  {}  {:>9}", colour(&numbers), human(*took));
        for reason in &count.skipped {
            println!("  {}", yellow(&format!("skipped: {reason}")));
        }
        total.add(count);
    }
    println!();
    total
}
