//! Changes of proxies, until their effect shows, while pods are created for trial beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::fill::{Fill, PROXIES, ProxyName, pod};
use super::operator::Operator;
use super::report::{Load, Quantiles};
use crate::api::Api;
use crate::kubectl::text;
use crate::trials::trial_path;

/// Number of changes.
const CHANGES: usize = 40;
/// Time between two changes.
const BETWEEN: Duration = Duration::from_millis(1_500);
/// Time between two pods that are created for trial.
const TRIAL: Duration = Duration::from_millis(100);
/// Time between two looks at the effect of a change.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time for a change.
const LIMIT: Duration = Duration::from_secs(60);

/// How long a change took to show.
pub(super) struct Change {
    /// In the configuration that sidecars read.
    pub(super) configured: Duration,
    /// In the status, too.
    pub(super) observed: Duration,
}

/// Changes the deadline of a proxy's calls; waits until the sidecars' configuration and the status show it.
pub(super) fn change_proxy(api: &Api, proxy: &ProxyName, value: &Value, limit: Duration) -> Result<Change> {
    let ProxyName { namespace, name } = proxy;
    let path = format!("{PROXIES}/namespaces/{namespace}/liquidmemoryproxies/{name}");
    let config = format!("/api/v1/namespaces/{namespace}/configmaps/{name}-sidecar");
    let since = Instant::now();
    let change = json!({"spec": {"extraction": {"deadlineMilliseconds": value}}});
    let changed = api.merge(&path, &change)?.object;
    let generation = changed.pointer("/metadata/generation");
    let wait = |shows: &dyn Fn() -> Result<bool>| -> Result<Duration> {
        while !shows()? {
            ensure!(
                since.elapsed() < limit,
                "{namespace}/{name} has not followed its change"
            );
            sleep(LOOK);
        }
        Ok(since.elapsed())
    };
    let wanted = value.to_string();
    let configured = wait(&|| {
        let now = api.get(&config)?;
        Ok(text(&now, "/data/sidecar.toml").contains(&wanted))
    })?;
    let observed = wait(&|| Ok(api.get(&path)?.pointer("/status/observedGeneration") == generation))?;
    Ok(Change { configured, observed })
}

/// Changes one proxy after the other, and creates ten pods a second for trial meanwhile.
pub(super) fn measure_load(api: &Api, fill: &Fill, operator: &Operator) -> Result<Load> {
    let (before, since, ended) = (operator.processor_time()?, Instant::now(), AtomicBool::new(false));
    let admissions = std::thread::scope(|scope| {
        let trials = scope.spawn(|| create_trials(api, fill, &ended));
        let changes = change_proxies(api, fill);
        ended.store(true, Ordering::Relaxed);
        let trials = trials.join().map_err(|_| anyhow!("the trials broke off"))??;
        Ok::<_, anyhow::Error>((changes?, trials))
    });
    let (changes, admissions) = admissions?;
    let spent = operator.processor_time()? - before;
    let seconds = |part: fn(&Change) -> Duration| Quantiles::new(changes.iter().map(part));
    Ok(Load {
        configured: seconds(|change| change.configured),
        observed: seconds(|change| change.observed),
        admissions: Quantiles::new(admissions),
        core_percent: 100.0 * spent.as_secs_f64() / since.elapsed().as_secs_f64(),
    })
}

fn change_proxies(api: &Api, fill: &Fill) -> Result<Vec<Change>> {
    let change = |number: usize| {
        let next = Instant::now() + BETWEEN;
        let proxy = fill.proxy(number * fill.proxies / CHANGES);
        let change = change_proxy(api, &proxy, &json!(10_000 + number), LIMIT)?;
        sleep(next.saturating_duration_since(Instant::now()));
        Ok(change)
    };
    (0..CHANGES).map(change).collect()
}

fn create_trials(api: &Api, fill: &Fill, ended: &AtomicBool) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    while !ended.load(Ordering::Relaxed) {
        let next = Instant::now() + TRIAL;
        let proxy = fill.proxy(times.len() % fill.proxies);
        times.push(
            api.create(&trial_path(&proxy.namespace), &pod(&proxy, "trial"))?
                .took,
        );
        sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(times)
}
