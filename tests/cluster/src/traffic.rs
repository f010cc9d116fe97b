//! Constant traffic from an injected application, and its count of failed requests.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::kubectl::{apply, kubectl, list, rolled_out, text};
use crate::manifest;
use crate::world::{World, eventually};

const NAME: &str = "traffic";

/// An application that asks without pause, from one moment on.
pub(crate) struct Traffic {
    namespace: &'static str,
    before: Counts,
}

/// What it has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) compressed: u64,
    /// Those that went on without evidence, for whatever reason.
    pub(crate) passed: u64,
    /// The decisions, and each failure.
    details: Vec<String>,
}

impl Traffic {
    /// Starts the application in a namespace that opts in and has a proxy; returns once calls are compressed.
    pub(crate) fn start(world: &World, namespace: &'static str) -> Result<()> {
        let container = manifest::application(world, NAME, &["traffic.py"]);
        Self::start_as(namespace, &container, &[])
    }

    /// Starts this container, which runs the application, with these volumes.
    pub(crate) fn start_as(namespace: &'static str, container: &Value, volumes: &[Value]) -> Result<()> {
        let mut wanted = manifest::deployment(namespace, NAME, std::slice::from_ref(container));
        let spec = wanted.pointer_mut("/spec/template/spec");
        if let Some(spec) = spec.and_then(Value::as_object_mut) {
            spec.insert("volumes".to_owned(), json!(volumes));
        }
        apply(&wanted)?;
        rolled_out(namespace, "deployment/traffic", Duration::from_secs(90))?;
        eventually("compressed traffic", Duration::from_secs(60), || {
            let counts = counts(namespace)?;
            ensure!(counts.compressed > 2, "{:?}", counts.details);
            Ok(Some(()))
        })
    }

    /// Counts from now on.
    pub(crate) fn from_now(namespace: &'static str) -> Result<Self> {
        let before = counts(namespace).context("no traffic: the case that starts it has failed")?;
        Ok(Self { namespace, before })
    }

    /// Lets it run until it has sent `more` further requests.
    pub(crate) fn another(&self, more: u64) -> Result<Counts> {
        let from = counts(self.namespace)?.sent;
        eventually(
            &format!("{more} further requests"),
            Duration::from_secs(120),
            || {
                let counts = counts(self.namespace)?;
                Ok((counts.sent >= from + more).then_some(counts))
            },
        )
    }

    /// What all pods of a Deployment of this application have counted together.
    pub(crate) fn of_all(namespace: &str, deployment: &str) -> Result<Counts> {
        let selector = format!("app={deployment}");
        let mut sum = Counts::default();
        for pod in list(namespace, &["pods", "--selector", &selector])? {
            let pod = text(&pod, "/metadata/name");
            let log = kubectl(&["logs", "--namespace", namespace, pod, "--container", NAME])?;
            let one = read(&log)?;
            sum.sent += one.sent;
            sum.failed += one.failed;
            sum.compressed += one.compressed;
            sum.passed += one.passed;
            sum.details.extend(one.details);
        }
        Ok(sum)
    }

    /// What was counted since the start.
    pub(crate) fn since(&self) -> Result<Counts> {
        let now = counts(self.namespace)?;
        Ok(Counts {
            sent: now.sent - self.before.sent,
            failed: now.failed - self.before.failed,
            compressed: now.compressed - self.before.compressed,
            passed: now.passed - self.before.passed,
            details: now.details,
        })
    }

    /// Fails unless every request since the start was answered; prints what was counted.
    pub(crate) fn none_failed(&self, fault: &str) -> Result<Counts> {
        self.another(8)?;
        let since = self.since()?;
        println!(
            "\n    {fault}: {} requests, {} failed, {} compressed",
            since.sent, since.failed, since.compressed
        );
        ensure!(
            since.failed == 0,
            "{fault}: {} of {} requests failed: {}",
            since.failed,
            since.sent,
            since.details.join("\n")
        );
        Ok(since)
    }
}

fn counts(namespace: &str) -> Result<Counts> {
    let pod = [
        "--namespace",
        namespace,
        "deployment/traffic",
        "--container",
        NAME,
    ];
    read(&kubectl(&[&["logs"], &pod[..]].concat())?)
}

fn read(log: &str) -> Result<Counts> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.collect::<Vec<_>>();
    let last = lines.iter().rev().find(|line| line.get("sent").is_some());
    let last = last.context("the application has counted nothing yet")?;
    let number = |pointer: &str| last.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let decisions = last.get("decisions").and_then(Value::as_object);
    let decided = decisions.into_iter().flat_map(|all| all.values());
    let decided = decided.filter_map(Value::as_u64).sum::<u64>();
    let failures = lines.iter().filter(|line| line.get("failure").is_some());
    Ok(Counts {
        sent: number("/sent"),
        failed: number("/failed"),
        compressed: number("/decisions/compressed"),
        passed: decided - number("/decisions/compressed"),
        details: failures.chain([last]).map(Value::to_string).collect(),
    })
}
