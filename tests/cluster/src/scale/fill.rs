//! The objects: namespaces, proxies and injected pods, made over several connections at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use serde_json::{Value, json};

use super::workers::make_ready;
use crate::api::Api;
use crate::kubectl::text;
use crate::manifest;
use crate::status::condition;
use crate::world::eventually;

/// Where proxies are.
pub(super) const PROXIES: &str = "/apis/liquidmemory.dev/v1alpha1";
/// Number of proxies in a namespace.
const PER_NAMESPACE: usize = 10;
/// Number of connections over which objects are made.
const AT_A_TIME: usize = 8;
/// Longest time until all that was made is ready.
const READY: Duration = Duration::from_secs(1_800);

/// Namespace and name of a proxy.
pub(super) struct ProxyName {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How many objects there are.
pub(super) struct Fill {
    pub(super) proxies: usize,
    pub(super) pods: usize,
}

/// How long it took to make them.
pub(super) struct Made {
    /// All proxies, until each of them was ready.
    pub(super) proxies: Duration,
    /// All pods, each through the webhook.
    pub(super) pods: Duration,
}

impl Fill {
    pub(super) fn new(proxies: usize, pods: usize) -> Self {
        Self { proxies, pods }
    }

    /// Returns the name of a proxy by its number.
    pub(super) fn proxy(&self, number: usize) -> ProxyName {
        ProxyName {
            namespace: format!("scale-{}", number / PER_NAMESPACE),
            name: format!("proxy-{}", number % PER_NAMESPACE),
        }
    }

    /// Makes everything, and waits until every proxy is ready.
    pub(super) fn run(&self, api: &Api) -> Result<Made> {
        all(self.proxies.div_ceil(PER_NAMESPACE), |number| {
            let namespace = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": {
                    "name": format!("scale-{number}"), "labels": {"liquidmemory.dev/inject": "enabled"},
                },
            });
            api.create("/api/v1/namespaces", &namespace).map(drop)
        })?;
        let since = Instant::now();
        all(self.proxies, |number| {
            let ProxyName { namespace, name } = self.proxy(number);
            let path = format!("{PROXIES}/namespaces/{namespace}/liquidmemoryproxies");
            api.create(&path, &manifest::proxy(&namespace, &name)).map(drop)
        })?;
        eventually("the readiness of all proxies", READY, || {
            ensure!(make_ready(api)? >= self.proxies, "pods of workers are missing");
            let ready = count_ready(api)?;
            ensure!(ready == self.proxies, "{ready} are ready");
            Ok(Some(()))
        })?;
        let proxies = since.elapsed();
        let since = Instant::now();
        all(self.pods, |number| {
            let proxy = self.proxy(number % self.proxies);
            let path = format!("/api/v1/namespaces/{}/pods", proxy.namespace);
            let made = api.create(&path, &pod(&proxy, &format!("pod-{number}")))?.object;
            ensure!(made.to_string().contains("liquid-sidecar"), "no sidecar: {made}");
            Ok(())
        })?;
        Ok(Made {
            proxies,
            pods: since.elapsed(),
        })
    }
}

/// A pod that gets the sidecar of a proxy.
pub(super) fn pod(proxy: &ProxyName, name: &str) -> Value {
    let mut pod = manifest::pod(&proxy.namespace, name, &[manifest::shell("main", "true")]);
    pod["metadata"]["annotations"] = json!({"liquidmemory.dev/proxy": proxy.name});
    pod
}

fn count_ready(api: &Api) -> Result<usize> {
    let list = api.get(&format!("{PROXIES}/liquidmemoryproxies"))?;
    let proxies = list.get("items").and_then(Value::as_array).into_iter().flatten();
    let ready = proxies.filter(|proxy| text(&condition(proxy, "Ready"), "/status") == "True");
    Ok(ready.count())
}

/// Calls for each number below `count`, several at a time; ends with the first error.
fn all(count: usize, make: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            make(number).inspect_err(|_| next.store(count, Ordering::Relaxed))?;
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread broke off"))?)
    })
}
