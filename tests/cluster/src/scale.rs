//! What the operator takes in a large cluster, and how fast it is there: `cargo xtask bench scale`.
//!
//! The API server, its store and the controllers of Deployments are real; there is no node. This program plays the kubelets,
//! for the workers alone: it says that they are ready, and answers for all of them when their figures are read. The operator
//! runs as a process, with the account and the environment that the chart gives its pods.

mod change;
mod fill;
mod operator;
mod report;
mod workers;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::api::Api;
use change::{change_proxy, measure_load};
use fill::Fill;
use operator::{Installation, Operator, count_requests};
use report::{Calm, Report, Start};

/// Time after the objects are made until the operator counts as calm.
const SETTLING: Duration = Duration::from_secs(90);
/// Time for which the calm operator is measured: twice as long as its slowest rounds, and its figures' four times.
const CALM: Duration = Duration::from_secs(120);
/// Longest time for all to be as asked for after a start.
const STARTING: Duration = Duration::from_secs(600);

/// What `cargo xtask bench scale` hands over.
pub(crate) struct Options {
    proxies: usize,
    pods: usize,
    /// The operator's program.
    operator: PathBuf,
    /// The cluster's programs.
    programs: PathBuf,
    /// The API server's audit log.
    audit: PathBuf,
    /// Whether JSON is printed instead of a table.
    json: bool,
}

impl Options {
    /// Reads `PROXIES PODS OPERATOR PROGRAMS AUDIT [json]`.
    pub(crate) fn read(words: &[String]) -> Result<Self> {
        let [proxies, pods, operator, programs, audit, rest @ ..] = words else {
            anyhow::bail!("start it with `cargo xtask bench scale`");
        };
        Ok(Self {
            proxies: proxies.parse()?,
            pods: pods.parse()?,
            operator: operator.into(),
            programs: programs.into(),
            audit: audit.into(),
            json: rest.iter().any(|word| word == "json"),
        })
    }
}

/// Measures and prints; fails where a target is missed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let api = Api::open(&options.programs)?;
    let installation = Installation::read(&api, &options.operator)?;
    workers::serve()?;
    let operator = installation.start()?;
    operator.wait_until_ready(STARTING)?;
    let idle = operator.memory()?;

    let fill = Fill::new(options.proxies, options.pods);
    let made = fill.run(&api)?;
    eprintln!("{} proxies and {} pods are there", fill.proxies, fill.pods);
    sleep(SETTLING);
    let calm = measure_calm(options, &operator)?;
    eprintln!("calm: {:.1} % of a core", calm.core_percent);
    let load = measure_load(&api, &fill, &operator)?;
    let peak = operator.memory()?.peak;
    operator.kill()?;
    let start = measure_start(&api, &fill, &installation)?;

    let report = Report {
        proxies: fill.proxies,
        pods: fill.pods,
        idle: idle.present,
        peak,
        made,
        calm,
        load,
        start,
    };
    match options.json {
        true => println!("{:#}", report.to_json()),
        false => report.print(),
    }
    let missed = report.list_missed();
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Measures what the operator takes when nothing changes.
fn measure_calm(options: &Options, operator: &Operator) -> Result<Calm> {
    let log = std::fs::metadata(&options.audit)
        .with_context(|| format!("cannot read {}", options.audit.display()))?;
    let (before, since) = (operator.processor_time()?, Instant::now());
    sleep(CALM);
    let (spent, seconds) = (operator.processor_time()? - before, since.elapsed().as_secs_f64());
    let requests = count_requests(&options.audit, log.len())?.into_iter();
    Ok(Calm {
        core_percent: 100.0 * spent.as_secs_f64() / seconds,
        requests_per_minute: requests
            .map(|(name, count)| (name, count as f64 * 60.0 / seconds))
            .collect(),
        memory: operator.memory()?.present,
    })
}

/// Starts the operator where all objects are there, and measures how long it takes until everything works.
fn measure_start(api: &Api, fill: &Fill, installation: &Installation) -> Result<Start> {
    let since = Instant::now();
    let operator = installation.start()?;
    let proxy = fill.proxy(fill.proxies / 2);
    let value = json!(19_000);
    let times = std::thread::scope(|scope| {
        let change = scope.spawn(|| change_proxy(api, &proxy, &value, STARTING));
        operator.wait_until_ready(STARTING)?;
        let ready = since.elapsed();
        change
            .join()
            .map_err(|_| anyhow::anyhow!("the change broke off"))??;
        Ok::<_, anyhow::Error>((ready, since.elapsed()))
    });
    let (ready, served) = times?;
    operator.wait_until_reconciled(fill.proxies, STARTING)?;
    Ok(Start {
        ready,
        change_served: served,
        all_reconciled: since.elapsed(),
        processor_time: operator.processor_time()?,
        peak: operator.memory()?.peak,
    })
}
