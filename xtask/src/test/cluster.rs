//! The tests that need a Kubernetes with a kubelet: start one, load the images, run them inside its network.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use liquid_signing::PrivateKey;

use super::Wanted;
use super::cases::is_case;
use crate::bundle::Order;
use crate::cluster::{self, Binaries, Layout, Owner, Place, Shape};
use crate::command::{output, root, run, this_program, watch};
use crate::console::{log, say, warn, write_into};
use crate::count::Count;
use crate::images::{self, Ingredients, Name, Profile, Programs};
use crate::model::Weights;
use crate::{graph, model, tools};

/// The cases: they install the charts and test what an administrator and a user see.
const CASES: &str = "liquid-cluster-tests";
/// The operator's parts in a process of their own; they need a cluster on which no operator runs.
const PARTS: &str = "real_api";
/// The plugin for kubectl, which the cases run.
const PLUGIN: &str = "kubectl-liquid";
/// No such host: an image that is not on the nodes cannot come from anywhere.
const REGISTRY: &str = "liquid.test";
/// Where the operator's image lies a second time, and no other: the release after this one.
const NEXT_REGISTRY: &str = "liquid.test/next";
const SHAPE: Shape = Shape {
    nodes: 2,
    kubernetes: None,
};
/// The cases that carry a bundle into the cluster.
const BUNDLE_CASES: &str = "bundle::";
/// The one case that is here, because it is about a cluster's own end.
const CRASH: &str = "cluster::down_removes_what_a_crash_left";
/// How long a cluster may take to have its first processes.
const STARTING: Duration = Duration::from_secs(60);

/// All cases, or all of them skipped by name where no cluster can run.
pub(super) fn cluster(wanted: &Wanted) -> Result<Count> {
    let mut count = run_named(wanted, &wanted.names)?;
    if wanted.names.is_empty() || wanted.names.iter().any(|name| CRASH.contains(name)) {
        count.add(&match cluster::missing() {
            Some(reason) => Count::skipped(format!("{CRASH}: {reason}")),
            None => crash()?,
        });
    }
    Ok(count)
}

/// Runs the faults from public reports that need a cluster.
pub(super) fn cases(wanted: &Wanted) -> Result<Count> {
    let built = graph::built()?;
    let mut names = tests(built.test(PARTS)?)?;
    names.extend(tests(built.program(CASES)?)?);
    names.retain(|test| is_case(test) && is_selected(test, &wanted.names));
    if names.is_empty() {
        return Ok(Count::default());
    }
    // One selection for all: each brings what its cases use.
    let all = vec!["case_".to_owned()];
    run_named(wanted, if wanted.names.is_empty() { &all } else { &names })
}

/// Returns whether a test's name contains one of these, or there are none.
fn is_selected(test: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|name| test.contains(name))
}

/// Runs all tests, or those whose names contain one of these.
fn run_named(wanted: &Wanted, names: &[String]) -> Result<Count> {
    let built = graph::built()?;
    let (parts, cases) = (built.test(PARTS)?, built.program(CASES)?);
    if let Some(reason) = cluster::missing() {
        warn(format!("no cluster: {reason}"));
        let mut count = skipped(parts, names, &reason)?;
        count.add(&skipped(cases, names, &reason)?);
        return Ok(count);
    }
    let carried = tests(cases)?
        .iter()
        .any(|test| test.starts_with(BUNDLE_CASES) && is_selected(test, names));
    let (parts, cases) = (selection(parts, names)?, selection(cases, names)?);
    let mut count = Count::default();
    // Images are made while the cluster starts and the operator's parts run, which is mostly waiting.
    std::thread::scope(|scope| {
        let log = log();
        let archives = (!cases.is_empty()).then(|| {
            scope.spawn(|| {
                write_into(log);
                archives(carried)
            })
        });
        if parts.is_empty() && cases.is_empty() {
            return Ok(());
        }
        on_cluster(&Stay::of(wanted)?, |inside| {
            for part in &parts {
                // Several at a time: the times between their lines say nothing.
                let outcome = inside.tests(&mut inside.command(&part.program)?, part)?;
                count.add(&Count {
                    times: Vec::new(),
                    ..outcome
                });
            }
            if let Some(archives) = archives {
                let archives = archives
                    .join()
                    .map_err(|_| anyhow!("making the images broke off"))??;
                inside.load(&archives)?;
            }
            for case in &cases {
                count.add(&inside.tests(&mut inside.command(&case.program)?, case)?);
            }
            Ok(())
        })
    })?;
    Ok(count)
}

/// Installs what the test applications need.
pub(super) fn download() -> Result<()> {
    let requirements = root().join("tests/cluster/application/requirements.txt");
    tools::python("application", &requirements)?;
    images::clients();
    Ok(())
}

/// Tests of one program, all or those with a name like this.
struct Selection {
    program: PathBuf,
    name: Option<String>,
}

/// One for each name that has tests in the program.
fn selection(program: &Path, names: &[String]) -> Result<Vec<Selection>> {
    let select = |name: Option<String>| Selection {
        program: program.to_owned(),
        name,
    };
    if names.is_empty() {
        return Ok(vec![select(None)]);
    }
    let tests = tests(program)?;
    let found = names
        .iter()
        .filter(|name| tests.iter().any(|test| test.contains(*name)));
    Ok(found.map(|name| select(Some(name.clone()))).collect())
}

/// The archives of all images that the cases use. Where a bundle is carried in, it is made too, and the registry.
fn archives(carried: bool) -> Result<Vec<PathBuf>> {
    let images = [&Name::PRODUCT[..], &Name::FIXTURES].concat();
    let folder = images::folder().join("test");
    let built = Programs::build(&images, Profile::Dev)?;
    let mut archives = written(&images, &built, REGISTRY, &folder)?;
    archives.extend(written(
        &[Name::Operator],
        &built,
        NEXT_REGISTRY,
        &folder.join("next"),
    )?);
    if carried {
        bundle(&built)?;
        archives.push(cluster::registry_image(&folder)?);
    }
    Ok(archives)
}

/// Where the bundle, and the key that verifies it, are for the cases.
fn bundle_folder() -> PathBuf {
    images::folder().join("test/bundle")
}

/// Makes a bundle of what is shipped, signed by a key of its own.
fn bundle(programs: &Programs) -> Result<()> {
    let (folder, key) = (bundle_folder(), PrivateKey::generate()?);
    let order = Order {
        names: &Name::PRODUCT,
        ingredients: Ingredients {
            programs,
            registry: REGISTRY,
            key: Some(&key),
        },
        key: &key,
        provenance: None,
    };
    std::fs::rename(order.write(&folder)?, folder.join("bundle.tar"))?;
    std::fs::write(folder.join("key.pub"), key.public_key().to_pem())?;
    Ok(())
}

/// Pods' admission with the operator as it is shipped.
pub(crate) fn bench_admission() -> Result<()> {
    let cases = graph::built()?.program(CASES)?;
    let folder = images::folder().join("bench");
    // Built together, as for the images that are shipped: cargo chooses the features of what they share.
    let built = Programs::build(&Name::PRODUCT, Profile::Release)?;
    let archives = written(&[Name::Operator], &built, REGISTRY, &folder)?;
    let stay = Stay {
        place: Place::named(&cluster::name_for(&root())?),
        keep: false,
    };
    on_cluster(&stay, |inside| {
        inside.load(&archives)?;
        run(inside.command(cases)?.arg("bench-admission"))
    })
}

/// Which cluster is used, and whether it outlasts this run.
struct Stay {
    place: Place,
    keep: bool,
}

impl Stay {
    fn of(wanted: &Wanted) -> Result<Self> {
        let own = cluster::name_for(&root())?;
        Ok(Self {
            place: Place::named(wanted.cluster.as_ref().unwrap_or(&own)),
            keep: wanted.keep || wanted.cluster.is_some(),
        })
    }
}

/// The archives of the images.
fn written(names: &[Name], programs: &Programs, registry: &str, folder: &Path) -> Result<Vec<PathBuf>> {
    let ingredients = Ingredients {
        programs,
        registry,
        key: None,
    };
    let written = images::write(names, &ingredients, folder)?;
    Ok(written.into_iter().map(|image| image.archive).collect())
}

/// A cluster that runs, with the images on its nodes.
struct Inside {
    layout: Layout,
    place: Place,
}

impl Inside {
    /// Puts images on the nodes.
    fn load(&self, archives: &[PathBuf]) -> Result<()> {
        say(format!("loading {} images", archives.len()));
        cluster::load(&self.layout, archives)
    }

    /// Runs tests and counts them.
    fn tests(&self, command: &mut Command, selection: &Selection) -> Result<Count> {
        let mut count = Count::default();
        let mut current = Current::new();
        let success = watch(command.args(&selection.name), |line| {
            count.times.extend(current.read(line));
            count.cargo(line);
        })?;
        Ok(count.ended(success))
    }

    /// A program in the cluster's network that knows where everything is.
    fn command(&self, program: &Path) -> Result<Command> {
        let Binaries(programs) = cluster::programs(&self.layout)?;
        let mut command = cluster::inside(&self.layout, program);
        command
            .env("LIQUID_CLUSTER_KUBECONFIG", self.layout.kubeconfig("admin"))
            .env("LIQUID_CLUSTER_ROOT", root())
            .env("LIQUID_CLUSTER_PROGRAMS", programs)
            .env("LIQUID_CLUSTER_REGISTRY", REGISTRY)
            .env("LIQUID_CLUSTER_NEXT_REGISTRY", NEXT_REGISTRY)
            .env("LIQUID_CLUSTER_VERSION", env!("CARGO_PKG_VERSION"))
            .env("LIQUID_CLUSTER_PLUGIN", graph::built()?.program(PLUGIN)?)
            .env("LIQUID_CLUSTER_MODEL", model::folder())
            .env("LIQUID_CLUSTER_AUDIT", self.layout.audit_log())
            .env("LIQUID_CLUSTER_XTASK", this_program()?)
            .env("LIQUID_CLUSTER_BUNDLE", bundle_folder())
            .env("LIQUID_CLUSTER_CLIENTS", images::clients().join(" "))
            .env("LIQUID_CLUSTER_REGISTRIES", self.layout.registries())
            .env("LIQUID_CLUSTER_NAME", self.place.name());
        match model::decoder::ensure()? {
            Weights::Ready(folder) => command.env("LIQUID_CLUSTER_DECODER", folder),
            Weights::Missing(_) => command.env_remove("LIQUID_CLUSTER_DECODER"),
        };
        Ok(command)
    }
}

/// The test that runs: one at a time, so each begins where the one before has ended.
struct Current {
    since: Instant,
    name: Option<String>,
}

impl Current {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            name: None,
        }
    }

    /// Reads the runner's next line: `test NAME ... ok`, or, of a test that prints lines of its own, `test NAME ...`, those
    /// lines and `ok`. Returns the time of a test that has ended.
    fn read(&mut self, line: &str) -> Option<(Duration, String)> {
        let outcome = match line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ..."))
        {
            Some((name, outcome)) => {
                self.name = Some(name.trim().to_owned());
                outcome.trim()
            }
            None => line,
        };
        if !["ok", "FAILED"].contains(&outcome) {
            return None;
        }
        let name = self.name.take()?;
        let took = self.since.elapsed();
        self.since = Instant::now();
        Some((took, name))
    }
}

/// Starts a cluster, or takes one that runs. Unless it is kept, it ends with this process, however that ends.
fn on_cluster(stay: &Stay, work: impl FnOnce(&Inside) -> Result<()>) -> Result<()> {
    let owner = (!stay.keep).then(|| Owner::Process(std::process::id()));
    let inside = Inside {
        layout: cluster::up(&stay.place, &SHAPE, owner)?,
        place: stay.place.clone(),
    };
    let outcome = work(&inside);
    if stay.keep {
        let name = stay.place.name();
        say(format!(
            "the cluster stays: `cargo xtask cluster --name {name} down` ends it"
        ));
        return outcome;
    }
    cluster::down(&inside.layout)?;
    let left = cluster::traces(&inside.layout)?;
    ensure!(left.is_empty(), "the cluster has left behind: {left:?}");
    outcome
}

/// Kills the start of a cluster in the middle: `down` removes everything.
fn crash() -> Result<Count> {
    let place = Place::named(&format!("{}-x", cluster::name_for(&root())?));
    let layout = place.layout()?;
    let mut start = Command::new(this_program()?)
        .args(["cluster", "--name", place.name(), "up", "--nodes", "1"])
        .stdout(Stdio::null())
        .spawn()?;
    let (began, mut before) = (Instant::now(), Vec::new());
    let processes = |traces: &[String]| traces.iter().filter(|trace| trace.starts_with("process")).count();
    while processes(&before) < 2 && began.elapsed() < STARTING {
        std::thread::sleep(Duration::from_millis(50));
        before = cluster::traces(&layout)?;
    }
    start.kill()?;
    start.wait()?;
    cluster::down(&layout)?;
    let left = cluster::traces(&layout)?;
    let holds = processes(&before) >= 2 && left.is_empty();
    say(format!(
        "{CRASH}: {} traces of the crash, {} after `down` {left:?}",
        before.len(),
        left.len()
    ));
    Ok(Count::one(holds))
}

/// The names of a program's tests: it lists `NAME: test`, one a line.
fn tests(program: &Path) -> Result<Vec<String>> {
    let list = output(Command::new(program).args(["--list", "--format", "terse"]))?;
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// Counts the selected tests of a program as skipped.
fn skipped(program: &Path, names: &[String], reason: &str) -> Result<Count> {
    let tests = tests(program)?.into_iter();
    Ok(Count {
        skipped: tests
            .filter(|test| is_selected(test, names))
            .map(|name| format!("{name}: {reason}"))
            .collect(),
        ..Count::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_prints_has_its_own_time() {
        let lines = [
            "running 3 tests",
            "test a::quiet   ... ok",
            "test a::prints  ...",
            "    3 requests, 0 failed",
            "ok",
            "test a::fails   ... FAILED",
            "test result: FAILED. 2 passed; 1 failed",
        ];
        let mut current = Current::new();
        let times = lines.iter().filter_map(|line| current.read(line));
        let names = times.map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names, ["a::quiet", "a::prints", "a::fails"]);
    }
}
