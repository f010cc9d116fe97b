//! `kubectl liquid packs`: what sidecars have made of the documents of their pods, by kind, decision and reason.
//!
//! The figures are those of the sidecars' metrics since their start, read through the API server. No text is read.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use liquid_contract::metrics::{SIDECAR_SITE_TOKENS_AFTER, SIDECAR_SITE_TOKENS_BEFORE};
use liquid_operator::samples;
use serde::Serialize;

use crate::check::{admin_port_of, sidecar_of};
use crate::output::{Table, print};
use crate::session::Session;
use crate::snapshot::reader::{Gap, PodPort, Reader};
use crate::snapshot::{self, Depth};
use crate::status::render_gaps;

/// Number of pods that are asked at a time.
const AT_A_TIME: usize = 16;

/// Options of `packs`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// One line a pod, in place of sums over the pods of a namespace.
    #[arg(long)]
    pub(crate) pods: bool,
}

/// What was printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    packs: Vec<Line>,
    not_read: Vec<Gap>,
}

/// Documents of one kind with one outcome.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    #[serde(flatten)]
    key: Key,
    tokens_before: u64,
    tokens_after: u64,
}

/// What lines are summed up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Key {
    namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<String>,
    /// Where the document stood in the call.
    kind: String,
    /// What became of it.
    decision: String,
    /// Why, as in `x-liquid-reason`.
    reason: String,
}

/// Prints what became of documents.
///
/// # Errors
/// The cluster cannot be reached.
pub(crate) async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    session.require_cluster().await?;
    let snapshot = snapshot::read(session, Depth::Workloads).await;
    let pods = snapshot
        .namespaces
        .iter()
        .flat_map(|namespace| namespace.pods.iter().flatten());
    let targets: Vec<Target> = pods.filter_map(Target::of_pod).collect();
    let reader = Reader::new(session.client.clone());
    let read = futures::stream::iter(&targets).map(|target| read_pod(&reader, target));
    let texts: Vec<_> = read.buffer_unordered(AT_A_TIME).collect().await;
    let mut sums = BTreeMap::new();
    for (target, text) in texts {
        add(&mut sums, target, &text.unwrap_or_default(), arguments.pods);
    }
    let mut gaps = snapshot.gaps;
    gaps.extend(reader.into_gaps());
    let report = Report {
        packs: sums
            .into_iter()
            .map(|(key, [tokens_before, tokens_after])| Line {
                key,
                tokens_before,
                tokens_after,
            })
            .collect(),
        not_read: gaps,
    };
    print(session.format, &report, render)?;
    Ok(ExitCode::SUCCESS)
}

/// A sidecar's port of metrics.
struct Target {
    namespace: String,
    pod: String,
    port: u16,
}

impl Target {
    /// Returns where the sidecar of a running pod answers.
    fn of_pod(pod: &Pod) -> Option<Self> {
        let running = pod.status.as_ref()?.phase.as_deref() == Some("Running");
        let port = admin_port_of(sidecar_of(pod)?)?;
        running.then(|| Self {
            namespace: pod.namespace().unwrap_or_default(),
            pod: pod.name_any(),
            port,
        })
    }
}

async fn read_pod<'a>(reader: &Reader, target: &'a Target) -> (&'a Target, Option<String>) {
    let port = PodPort {
        namespace: &target.namespace,
        name: &target.pod,
        port: target.port,
    };
    (target, reader.read_metrics(&port).await)
}

/// Adds a pod's samples to the sums: tokens before and after.
fn add(sums: &mut BTreeMap<Key, [u64; 2]>, target: &Target, text: &str, by_pod: bool) {
    for sample in samples::parse(text) {
        let column = match sample.name {
            SIDECAR_SITE_TOKENS_BEFORE => 0,
            SIDECAR_SITE_TOKENS_AFTER => 1,
            _ => continue,
        };
        let Some(value) = sample.number::<u64>() else {
            continue;
        };
        let label = |name: &str| sample.label(name).unwrap_or_default().to_owned();
        let key = Key {
            namespace: target.namespace.clone(),
            pod: by_pod.then(|| target.pod.clone()),
            kind: label("kind"),
            decision: label("decision"),
            reason: label("reason"),
        };
        let sum = sums.entry(key).or_default();
        if let Some(cell) = sum.get_mut(column) {
            *cell = cell.saturating_add(value);
        }
    }
}

fn render(report: &Report) -> String {
    let by_pod = report.packs.iter().any(|line| line.key.pod.is_some());
    let mut heads = vec!["NAMESPACE"];
    heads.extend(by_pod.then_some("POD"));
    heads.extend(["DOCUMENT", "DECISION", "REASON", "TOKENS", "SENT"]);
    let mut table = Table::new(&heads);
    for Line {
        key,
        tokens_before,
        tokens_after,
    } in &report.packs
    {
        let rest = [
            key.kind.clone(),
            key.decision.clone(),
            key.reason.clone(),
            tokens_before.to_string(),
            tokens_after.to_string(),
        ];
        table.cells(
            [key.namespace.clone()]
                .into_iter()
                .chain(key.pod.clone())
                .chain(rest),
        );
    }
    let text = match table.is_empty() {
        true => "No sidecar has seen a document since it started.\n".to_owned(),
        false => table.to_string(),
    };
    text + &render_gaps(&report.not_read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_pods_are_summed_up_by_outcome() {
        let text = format!(
            "{SIDECAR_SITE_TOKENS_BEFORE}{{kind=\"tool\",decision=\"packed\",reason=\"ok\"}} 100\n\
             {SIDECAR_SITE_TOKENS_AFTER}{{kind=\"tool\",decision=\"packed\",reason=\"ok\"}} 20\nother 5\n"
        );
        let target = |pod: &str| Target {
            namespace: "shop".into(),
            pod: pod.into(),
            port: 1,
        };
        let mut sums = BTreeMap::new();
        for pod in ["a", "b"] {
            add(&mut sums, &target(pod), &text, false);
        }
        assert_eq!(sums.into_values().collect::<Vec<_>>(), [[200, 40]]);
        let mut sums = BTreeMap::new();
        for pod in ["a", "b"] {
            add(&mut sums, &target(pod), &text, true);
        }
        assert_eq!(sums.into_values().collect::<Vec<_>>(), [[100, 20], [100, 20]]);
    }
}
