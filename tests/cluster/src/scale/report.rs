//! What was measured, beside what is wanted: as a table for people, as JSON, and what was missed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::fill::Made;

/// What the operator may take of a core when nothing changes, in percent.
const CORE_PERCENT: f64 = 5.0;
/// What it may take of memory then, in MiB.
const MEMORY: f64 = 150.0;
/// Longest time until a change of a proxy shows, in seconds.
const CHANGE: f64 = 2.0;
/// Longest time until an operator that starts serves everything, in seconds.
const START: f64 = 60.0;
/// Longest time for the admission of a pod, of 99 in 100, in milliseconds.
const ADMISSION: f64 = 50.0;

/// Order statistics of times, in seconds.
pub(super) struct Quantiles {
    count: usize,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Quantiles {
    pub(super) fn new(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let last = times.len().saturating_sub(1);
        let at = |percent: usize| times.get((times.len() * percent / 100).min(last)).copied();
        let [p50, p99, max] = [50, 99, 100].map(|percent| at(percent).unwrap_or(f64::NAN));
        Self {
            count: times.len(),
            p50,
            p99,
            max,
        }
    }
}

/// What the operator takes when nothing changes.
pub(super) struct Calm {
    pub(super) core_percent: f64,
    /// By verb and kind.
    pub(super) requests_per_minute: BTreeMap<String, f64>,
    pub(super) memory: f64,
}

/// What it does while proxies change and pods are created.
pub(super) struct Load {
    /// Until the sidecars' configuration shows a change.
    pub(super) configured: Quantiles,
    /// Until the status shows it.
    pub(super) observed: Quantiles,
    pub(super) admissions: Quantiles,
    pub(super) core_percent: f64,
}

/// How it starts where all objects are there and the one before was killed.
pub(super) struct Start {
    pub(super) ready: Duration,
    /// Until a change made at the start shows in configuration and status.
    pub(super) change_served: Duration,
    pub(super) all_reconciled: Duration,
    pub(super) processor_time: Duration,
    pub(super) peak: f64,
}

/// Everything that was measured.
pub(super) struct Report {
    pub(super) proxies: usize,
    pub(super) pods: usize,
    /// Memory before there is any object, in MiB.
    pub(super) idle: f64,
    pub(super) peak: f64,
    pub(super) made: Made,
    pub(super) calm: Calm,
    pub(super) load: Load,
    pub(super) start: Start,
}

/// A line of the table.
struct Row {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// The largest value that is wanted.
    limit: Option<f64>,
}

impl Report {
    fn rows(&self) -> Vec<Row> {
        let row = |name, value, unit, limit| Row {
            name,
            value,
            unit,
            limit,
        };
        let Self {
            made,
            calm,
            load,
            start,
            ..
        } = self;
        let seconds = |time: Duration| time.as_secs_f64();
        let objects = (self.proxies + self.pods).max(1) as f64;
        let per_object = (calm.memory - self.idle) * 1024.0 / objects;
        vec![
            row("proxies made and ready", seconds(made.proxies), "s", None),
            row("pods made and injected", seconds(made.pods), "s", None),
            row(
                "calm: processor",
                calm.core_percent,
                "% of a core",
                Some(CORE_PERCENT),
            ),
            row("calm: memory", calm.memory, "MiB", Some(MEMORY)),
            row("calm: memory per object", per_object, "KiB", None),
            row(
                "calm: requests to the API server",
                calm.requests_per_minute.values().sum(),
                "a minute",
                None,
            ),
            row("memory without objects", self.idle, "MiB", None),
            row("memory at most", self.peak, "MiB", None),
            row("change in sidecar.toml, p50", load.configured.p50, "s", None),
            row(
                "change in sidecar.toml, max",
                load.configured.max,
                "s",
                Some(CHANGE),
            ),
            row("change in the status, p50", load.observed.p50, "s", None),
            row("change in the status, max", load.observed.max, "s", Some(CHANGE)),
            row("admission meanwhile, p50", 1e3 * load.admissions.p50, "ms", None),
            row(
                "admission meanwhile, p99",
                1e3 * load.admissions.p99,
                "ms",
                Some(ADMISSION),
            ),
            row("processor meanwhile", load.core_percent, "% of a core", None),
            row("start: ready", seconds(start.ready), "s", None),
            row(
                "start: a change shows",
                seconds(start.change_served),
                "s",
                Some(START),
            ),
            row(
                "start: all reconciled",
                seconds(start.all_reconciled),
                "s",
                Some(START),
            ),
            row("start: processor time", seconds(start.processor_time), "s", None),
            row("start: memory at most", start.peak, "MiB", None),
        ]
    }

    /// Prints the table.
    pub(super) fn print(&self) {
        println!("{} proxies, {} injected pods", self.proxies, self.pods);
        println!(
            "{} changes, {} admissions beside them\n",
            self.load.observed.count, self.load.admissions.count
        );
        println!("{:<36} {:>10}  {:<12} {:>8}", "", "measured", "", "at most");
        for Row {
            name,
            value,
            unit,
            limit,
        } in self.rows()
        {
            let limit = limit.map_or_else(String::new, |limit| format!("{limit:.0}"));
            println!("{name:<36} {value:>10.2}  {unit:<12} {limit:>8}");
        }
        println!("\ncalm: requests a minute");
        for (request, count) in &self.calm.requests_per_minute {
            println!("{request:<36} {count:>10.2}");
        }
    }

    /// Returns the same as JSON.
    pub(super) fn to_json(&self) -> Value {
        let rows = self
            .rows()
            .into_iter()
            .map(|row| json!({"name": row.name, "value": row.value, "unit": row.unit, "limit": row.limit}));
        json!({
            "proxies": self.proxies, "pods": self.pods, "measured": rows.collect::<Vec<_>>(),
            "calm_requests_per_minute": self.calm.requests_per_minute,
        })
    }

    /// Lists what is larger than wanted.
    pub(super) fn list_missed(&self) -> Vec<String> {
        let rows = self.rows().into_iter();
        let missed = rows.filter_map(|row| {
            let limit = row.limit.filter(|limit| row.value > *limit)?;
            Some(format!(
                "{}: {:.2} {}, not {limit}",
                row.name, row.value, row.unit
            ))
        });
        missed.collect()
    }
}
