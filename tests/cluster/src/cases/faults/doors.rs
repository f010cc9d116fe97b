//! Pods that are created, for trial, all the time: the webhook's side of a fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::NAMESPACE;
use crate::kubectl::{text, trial};
use crate::manifest;

/// Creates pods until it is asked how many failed.
pub(super) struct Doors {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Doors {
    pub(super) fn open() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut tried, mut failures) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                tried += 1;
                match injected_on_trial() {
                    Ok(true) => {}
                    Ok(false) => failures.push("a pod without sidecar".to_owned()),
                    Err(error) => failures.push(format!("{error:#}")),
                }
                std::thread::sleep(Duration::from_millis(500));
            }
            (tried, failures)
        });
        Self { stop, thread }
    }

    pub(super) fn none_failed(self, fault: &str) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let (tried, failures) = self.thread.join().ok().context("the trial of pods broke off")?;
        println!("\n    {fault}: {tried} pods admitted, {} failed", failures.len());
        let first = failures.first().map(String::as_str).unwrap_or_default();
        ensure!(
            failures.is_empty(),
            "{fault}: {} of {tried}; the first: {first}",
            failures.len()
        );
        ensure!(tried > 0, "no pod was tried");
        Ok(())
    }
}

/// What the API server makes of a new pod; nothing is created.
pub(super) fn trial_pod(namespace: &str) -> Result<Value> {
    let pod = manifest::pod(namespace, "trial", &[manifest::shell("trial", "true")]);
    trial(&pod)
}

fn injected_on_trial() -> Result<bool> {
    let pod = trial_pod(NAMESPACE)?;
    Ok(text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar")
}
