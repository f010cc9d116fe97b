//! `cargo xtask test`: every check of the repository in one go, on a fresh machine.
//!
//! One build comes first. Then what keeps time (tests, client tests, Kubernetes) runs with the processor to itself, and
//! what only computes (lints, documentation, fuzz targets) takes at the lowest priority what that leaves, which is most of
//! two cores while the cluster waits. Each part that runs beside another is shown whole when it has ended. The table at the
//! end says how many checks passed, failed or were skipped and why, and which tests took longest.

mod cases;
mod checks;
mod clients;
mod cluster;
mod torch;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::command::cache;
use crate::console::{bold, green, human, line, red, say, step, write_into, yellow};
use crate::count::Count;
use crate::nextest::slowest;
use crate::tools::relative;
pub(crate) use cluster::bench_admission;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run only these parts.
    #[arg(long, value_name = "PART", value_enum)]
    only: Vec<Part>,
    #[command(flatten)]
    wanted: Wanted,
}

/// Which tests of a part, and where.
#[derive(clap::Args)]
struct Wanted {
    /// Leave the cluster up; the next run with --keep uses it, which saves its start.
    #[arg(long)]
    keep: bool,
    /// Run the cluster's tests on this one of `cargo xtask cluster up`, and leave it up.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Run only tests whose names contain one of these: `--only rust -- sse:: limits::`. For rust, python, torch, node,
    /// cluster, cases.
    #[arg(last = true, value_name = "NAME", requires = "only")]
    names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// rustfmt, changing nothing.
    Fmt,
    /// No circle in the imports between the modules of a crate.
    Imports,
    /// The workspace with its tests, without a warning.
    Build,
    /// Unit and integration tests of the workspace.
    Rust,
    /// Unmodified Python SDKs and frameworks against the running pair.
    Python,
    /// The PyTorch package on a processor, and its types.
    Torch,
    /// Unmodified Node SDKs against the running pair.
    Node,
    /// Charts, images and the whole path on a real Kubernetes of its own; needs root.
    Cluster,
    /// The faults from public reports, which are tests of `rust` and `cluster` named `case_NN_...`; the whole run has them
    /// there.
    Cases,
    /// clippy, with the code for GPUs; warnings are errors.
    Clippy,
    /// rustdoc without warnings, and the examples in it.
    Doc,
    /// Licences, bans, sources and advisories of all dependencies.
    Deny,
    /// Every fuzz target on its corpus, then a bounded number of executions.
    Fuzz,
}

impl Part {
    /// Returns whether a run has this part, which names the parts `only`; one that names none has every test once.
    fn runs(self, only: &[Self]) -> bool {
        match only {
            [] => self != Self::Cases,
            only => only.contains(&self),
        }
    }
}

/// When a part runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Before all others, one after the other.
    First,
    /// Then those that keep time, one after the other.
    Timed,
    /// Beside them those that only compute.
    Beside,
}

type Check = fn(&Wanted) -> Result<Count>;

/// In a lane in the order in which they run: what is cheap and likely to fail comes first.
const PARTS: [(Part, &str, Lane, Check); 13] = [
    (Part::Fmt, "formatting", Lane::First, checks::fmt),
    (Part::Imports, "imports", Lane::First, checks::imports),
    (Part::Build, "build", Lane::First, checks::build),
    (Part::Rust, "cargo test", Lane::Timed, checks::rust),
    (Part::Python, "Python clients", Lane::Timed, clients::python),
    (Part::Node, "Node clients", Lane::Timed, clients::node),
    (Part::Cluster, "Kubernetes", Lane::Timed, cluster::cluster),
    (Part::Cases, "cases", Lane::Timed, cases::cases),
    (Part::Torch, "PyTorch package", Lane::Beside, torch::torch),
    (Part::Clippy, "clippy", Lane::Beside, checks::clippy),
    (Part::Doc, "documentation", Lane::Beside, checks::doc),
    (Part::Deny, "dependencies", Lane::Beside, checks::deny),
    (Part::Fuzz, "fuzz targets", Lane::Beside, checks::fuzz),
];

/// How many of the slowest tests the run ends with.
const SLOWEST: usize = 10;

struct Line {
    name: &'static str,
    count: Count,
    took: Duration,
}

/// The parts of one lane.
struct Plan<'w> {
    parts: Vec<(&'static str, Check)>,
    wanted: &'w Wanted,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { only, wanted } = arguments;
    let named = [
        Part::Rust,
        Part::Python,
        Part::Torch,
        Part::Node,
        Part::Cluster,
        Part::Cases,
    ];
    if !wanted.names.is_empty() && !only.iter().all(|part| named.contains(part)) {
        bail!("names select tests of rust, python, torch, node, cluster and cases alone");
    }
    let start = Instant::now();
    let plan = |wanted_lane: Lane| {
        let parts = PARTS
            .iter()
            .filter(|(part, _, lane, _)| *lane == wanted_lane && part.runs(only));
        Plan {
            parts: parts.map(|(_, name, _, check)| (*name, *check)).collect(),
            wanted,
        }
    };
    let lines = lanes(
        &plan(Lane::First),
        &plan(Lane::Timed),
        &plan(Lane::Beside),
        only.is_empty(),
    );
    let total = table(&lines, start.elapsed());
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

fn lanes(first: &Plan, timed: &Plan, beside: &Plan, everything: bool) -> Vec<Line> {
    std::thread::scope(|scope| {
        // Downloads, while cargo compiles.
        let downloads = everything.then(|| scope.spawn(download));
        let mut lines = first.run(false);
        drop(downloads.map(|thread| thread.join()));
        let both = !timed.parts.is_empty() && !beside.parts.is_empty();
        let others = both.then(|| {
            scope.spawn(|| {
                lowest_priority();
                beside.run(true)
            })
        });
        lines.extend(timed.run(both));
        let others = others.map(|thread| thread.join().unwrap_or_default());
        lines.extend(others.unwrap_or_else(|| beside.run(false)));
        lines
    })
}

impl Plan<'_> {
    /// One part after the other; `whole` shows each when it has ended.
    fn run(&self, whole: bool) -> Vec<Line> {
        let parts = self.parts.iter();
        parts
            .map(|(name, check)| {
                if whole {
                    self.aside(name, *check)
                } else {
                    self.one(name, *check)
                }
            })
            .collect()
    }

    fn aside(&self, name: &'static str, check: Check) -> Line {
        let log = log(name);
        match File::create(&log) {
            Ok(file) => {
                say(format!("{name} begins; {} has what it says", relative(&log)));
                write_into(Some(file));
            }
            Err(error) => say(format!("{}: {error}", log.display())),
        }
        let line = self.one(name, check);
        write_into(None);
        let said = fs::read(&log).unwrap_or_default();
        // In one piece: another part may end at the same time.
        print!("{}", String::from_utf8_lossy(&said));
        line
    }

    /// A part that cannot even run is a failure of it, not of those that follow.
    fn one(&self, name: &'static str, check: Check) -> Line {
        step(name);
        let start = Instant::now();
        let count = check(self.wanted).unwrap_or_else(|error| {
            line(&format!("{} {error:#}", red("error:")));
            Count::one(false)
        });
        Line {
            name,
            count,
            took: start.elapsed(),
        }
    }
}

fn log(name: &str) -> PathBuf {
    let logs = cache().join("logs");
    // Where it cannot be made, the file cannot either, and that is told.
    let _ = fs::create_dir_all(&logs);
    logs.join(format!("test-{}.log", name.replace(' ', "-").to_lowercase()))
}

/// Fetches what the parts will need. What fails is tried again by the part that needs it, which then says why.
fn download() {
    write_into(File::create(log("downloads")).ok());
    drop(crate::model::ensure());
    drop(crate::model::decoder::ensure());
    drop(checks::download());
    drop(clients::download());
    drop(torch::download());
    drop(cluster::download());
}

/// For this thread and the programs that it starts.
fn lowest_priority() {
    let thread = nix::unistd::gettid().to_string();
    let renice = Command::new("renice")
        .args(["-n", "19", "-p", &thread])
        .stdout(Stdio::null())
        .status();
    if !renice.is_ok_and(|status| status.success()) {
        say("renice is not there: lints compete with tests for the processor");
    }
}

fn table(lines: &[Line], took: Duration) -> Count {
    let mut total = Count::default();
    println!(
        "\n{}",
        bold("part              passed  failed  skipped          time")
    );
    for Line { name, count, took } in lines {
        let numbers = format!(
            "{:>6}  {:>6}  {:>7}",
            count.passed,
            count.failed,
            count.skipped.len()
        );
        let colour = if count.failed > 0 { red } else { green };
        println!("{name:<16}  {}  {:>12}", colour(&numbers), human(*took));
        for reason in &count.skipped {
            println!("  {}", yellow(&format!("skipped: {reason}")));
        }
        total.add(count);
    }
    println!("{:<16}  {:>37}", "in all", human(took));
    if !total.times.is_empty() {
        println!("\n{}", bold("slowest tests"));
    }
    for line in slowest(std::mem::take(&mut total.times), SLOWEST) {
        println!("{line}");
    }
    for said in &total.flaky {
        println!("\n{}", yellow(&format!("passed at its second try: {said}")));
    }
    for failure in &total.failures {
        println!("\n{}", red(&format!("failed: {}", failure.name)));
        for line in &failure.said {
            println!("  {line}");
        }
    }
    println!();
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_run_has_the_cases_in_their_other_parts_alone() {
        let whole = PARTS.iter().filter(|(part, ..)| part.runs(&[]));
        assert_eq!(whole.count(), PARTS.len() - 1);
        assert!(!Part::Cases.runs(&[]) && !Part::Cases.runs(&[Part::Rust]));
        assert!(Part::Cases.runs(&[Part::Fmt, Part::Cases]) && !Part::Rust.runs(&[Part::Cases]));
    }
}
