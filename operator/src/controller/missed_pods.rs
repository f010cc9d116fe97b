//! Opted-in pods without a sidecar: the watchdog finds them, and the statuses of their proxies say so.

use std::collections::HashMap;
use std::sync::Mutex;

use liquid_process::lock;

use super::context::ProxyKey;

/// Number of pods that a status names.
const NAMED: usize = 3;

/// An opted-in pod without a sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissedPod {
    /// Namespace of the pod and of its proxy.
    pub namespace: String,
    /// The proxy that should serve it.
    pub proxy: String,
    /// Name of the pod.
    pub pod: String,
}

/// The missed pods of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MissedCount {
    pub(super) count: usize,
    /// The first of their names.
    pub(super) names: Vec<String>,
}

impl MissedCount {
    /// Names the pods, as far as a message should: `a, b, c and 4 more`.
    pub(super) fn list(&self) -> String {
        let names = self.names.join(", ");
        match self.count.saturating_sub(self.names.len()) {
            0 => names,
            more => format!("{names} and {more} more"),
        }
    }
}

/// What the watchdog has found last, by proxy.
#[derive(Debug, Default)]
pub struct MissedPods(Mutex<Option<HashMap<ProxyKey, MissedCount>>>);

impl MissedPods {
    /// Replaces what was found.
    pub fn replace(&self, mut pods: Vec<MissedPod>) {
        pods.sort_by(|a, b| a.pod.cmp(&b.pod));
        let mut found = HashMap::<ProxyKey, MissedCount>::new();
        for MissedPod {
            namespace,
            proxy,
            pod,
        } in pods
        {
            let key = ProxyKey {
                namespace,
                name: proxy,
            };
            let of = found.entry(key).or_default();
            of.count += 1;
            if of.names.len() < NAMED {
                of.names.push(pod);
            }
        }
        *lock(&self.0) = Some(found);
    }

    /// Returns the missed pods of a proxy; none before all pods were looked at.
    pub(super) fn get(&self, key: &ProxyKey) -> Option<MissedCount> {
        let found = lock(&self.0);
        found
            .as_ref()
            .map(|found| found.get(key).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ProxyKey {
        ProxyKey {
            namespace: "shop".into(),
            name: name.into(),
        }
    }

    #[test]
    fn pods_are_counted_by_proxy_once_all_were_looked_at() {
        let missed = MissedPods::default();
        assert_eq!(missed.get(&key("docs")), None);
        let pods = ["e", "a", "d", "c", "b"].map(|pod| MissedPod {
            namespace: "shop".into(),
            proxy: "docs".into(),
            pod: pod.into(),
        });
        missed.replace(pods.to_vec());
        let list = missed.get(&key("docs")).map(|found| found.list());
        assert_eq!(list.as_deref(), Some("a, b, c and 2 more"));
        assert_eq!(missed.get(&key("other")), Some(MissedCount::default()));
        missed.replace(Vec::new());
        assert_eq!(missed.get(&key("docs")), Some(MissedCount::default()));
    }
}
