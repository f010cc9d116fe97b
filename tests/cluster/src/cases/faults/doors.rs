//! Pods that are created, for trial, all the time: the webhook's side of a fault.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::{text, trial};
use crate::manifest::{self, shell};
use crate::trials::Trials;
use crate::world::World;

/// How many pods are tried at a time. Each needs a connection of the API server to an operator, which keeps those that
/// are not used.
const AT_A_TIME: u32 = 3;
/// The shortest pause between two pods of a thread. Each pauses longer than the one before, so that connections are used
/// at all distances from each other.
const PAUSE: Duration = Duration::from_millis(70);

/// Creates pods until it is asked how many failed.
pub(in crate::cases) struct Doors {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Outcome>>,
}

#[derive(Default)]
struct Outcome {
    tried: u64,
    slowest: Duration,
    /// What the API server said, when, and after how long.
    failures: Vec<String>,
}

impl Doors {
    pub(in crate::cases) fn open(world: &World, namespace: &'static str) -> Result<Self> {
        let (stop, opened) = (Arc::<AtomicBool>::default(), Instant::now());
        let trials = Arc::new(Trials::open(world, namespace)?);
        let threads = (1..=AT_A_TIME).map(|thread| {
            let (stop, trials) = (Arc::clone(&stop), Arc::clone(&trials));
            std::thread::spawn(move || {
                let mut outcome = Outcome::default();
                while !stop.load(Ordering::Relaxed) {
                    outcome.record(&trials, namespace, opened);
                    std::thread::sleep(PAUSE.saturating_mul(thread));
                }
                outcome
            })
        });
        Ok(Self {
            threads: threads.collect(),
            stop,
        })
    }

    pub(in crate::cases) fn none_failed(mut self, fault: &str) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Outcome::default();
        for thread in self.threads.drain(..) {
            let outcome = thread.join().ok().context("the trial of pods broke off")?;
            all.tried += outcome.tried;
            all.slowest = all.slowest.max(outcome.slowest);
            all.failures.extend(outcome.failures);
        }
        let Outcome {
            tried,
            slowest,
            failures,
        } = all;
        println!(
            "\n    {fault}: {tried} pods tried, {} failed, the slowest took {slowest:.1?}",
            failures.len()
        );
        // At once: what the case itself says is printed when all have ended.
        for failure in &failures {
            println!("    {failure}");
        }
        ensure!(
            failures.is_empty(),
            "{fault}: {} of {tried} pods were not admitted with a sidecar: {}",
            failures.len(),
            failures.join("\n")
        );
        ensure!(tried > 0, "no pod was tried");
        Ok(())
    }
}

impl Drop for Doors {
    /// Where a case fails before it asks: the way to the API server is a process, which would go on and keep the run's output
    /// open.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Outcome {
    fn record(&mut self, trials: &Trials, namespace: &str, opened: Instant) {
        self.tried += 1;
        let (since, asked) = (opened.elapsed(), Instant::now());
        if let Err(error) = injected(trials, namespace) {
            let took = asked.elapsed();
            self.failures
                .push(format!("{since:.1?} in, after {took:.1?}: {error:#}"));
        }
        self.slowest = self.slowest.max(asked.elapsed());
    }
}

/// What the API server makes of a new pod; nothing is created.
pub(in crate::cases) fn trial_pod(namespace: &str) -> Result<Value> {
    trial(&wanted(namespace))
}

fn wanted(namespace: &str) -> Value {
    manifest::pod(namespace, "trial", &[shell("trial", "true")])
}

fn injected(trials: &Trials, namespace: &str) -> Result<()> {
    let pod = trials.create(&wanted(namespace))?.pod;
    let first = text(&pod, "/spec/initContainers/0/name");
    ensure!(first == "liquid-sidecar", "a pod without sidecar");
    Ok(())
}
