//! The whole path: an unmodified application asks, its sidecar and a worker find the evidence, the provider gets it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::kubectl::{apply, finished, get, kubectl, list, raw, rolled_out, text};
use crate::manifest;
use crate::world::{Namespace, PROVIDER, World, eventually};

/// The case after which the mock provider answers.
pub(super) const PROVIDER_STARTS: &str = "path::provider_starts";

pub(super) const CASES: &[(&str, Case)] = &[
    (PROVIDER_STARTS, provider),
    ("path::application_is_injected_and_its_call_shrinks", whole),
];

const FACT: &str = "The notice period for the Meridian warehouse lease is ninety-three days.";
const FILLER: &str = "were counted, signed for and moved to bay";
pub(super) const QUESTION: &str = "What is the notice period for the Meridian warehouse lease?";

fn provider(world: &World) -> Result<()> {
    std::mem::forget(Namespace::new(
        PROVIDER,
        &json!({"pod-security.kubernetes.io/enforce": "restricted"}),
    )?);
    for object in manifest::provider(world) {
        apply(&object)?;
    }
    rolled_out(PROVIDER, "deployment/mock", Duration::from_secs(60))
}

/// A long document with one fact in it, as document.py writes them; another seed gives another document.
pub(super) fn document(seed: &str) -> String {
    let mut lines: Vec<String> = (0..400)
        .map(|number| {
            format!(
                "Paragraph {seed}-{number} records that pallets {FILLER} {}.",
                number % 41
            )
        })
        .collect();
    lines.insert(lines.len() / 2, FACT.to_owned());
    lines.join("\n")
}

/// What the provider received, oldest first.
pub(super) fn received() -> Result<Vec<Value>> {
    let path = format!("/api/v1/namespaces/{PROVIDER}/services/mock:8080/proxy/mock/requests");
    serde_json::from_str(&raw(&path)?).context("the mock provider did not answer JSON")
}

/// Applies a proxy and waits until its workers are ready.
pub(super) fn proxy(namespace: &str, proxy: &Value) -> Result<()> {
    apply(proxy)?;
    let name = format!("lmp/{}", text(proxy, "/metadata/name"));
    let wait = [
        "wait",
        "--namespace",
        namespace,
        "--for=condition=Ready",
        "--timeout=120s",
        &name,
    ];
    kubectl(&wait).map(|_| ()).map_err(|error| {
        let look = kubectl(&["get", "lmp,pods,events", "--namespace", namespace, "-o", "wide"]);
        error.context(look.unwrap_or_default())
    })
}

/// What ask.py printed, in the log of a pod: there the containers stand in any order, and sidecars write JSON too.
pub(super) fn answer(log: &str) -> Result<Value> {
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .find(|line| line.get("base_url").is_some())
        .with_context(|| format!("the application printed no answer: {log}"))
}

fn whole(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("whole-path")?;
    let name = namespace.0.as_str();
    proxy(name, &manifest::proxy(name, "proxy"))?;
    let application = manifest::application(world, "application", &["ask.py", "whole"]);
    apply(&manifest::pod(name, "asks", &[application]))?;
    let log = finished(name, "asks", Duration::from_secs(90))?;

    let pod = get(name, &["pod", "asks"])?;
    ensure!(
        text(&pod, "/spec/initContainers/0/name") == "liquid-sidecar",
        "no sidecar: {pod}"
    );
    ensure!(
        text(&pod, "/spec/initContainers/0/restartPolicy") == "Always",
        "no native sidecar"
    );

    let answer = answer(&log)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the call was not compressed: {answer}"
    );
    let chunks = answer.get("chunks").and_then(Value::as_u64);
    ensure!(
        chunks > Some(2) && text(&answer, "/finish") == "stop",
        "no stream: {answer}"
    );

    provider_got_the_pack()?;
    shows_what_was_saved(name)
}

/// The fact is in it, word for word; the filler, by and large, is not.
pub(super) fn provider_got_the_pack() -> Result<()> {
    let requests = received()?;
    let last = requests.last().context("the provider received nothing")?;
    let body = last.get("json").context("no body")?.to_string();
    ensure!(
        body.contains(FACT),
        "the evidence is not in what the provider received: {body}"
    );
    let kept = body.matches(FILLER).count();
    ensure!(kept < 200, "{kept} of 400 sentences of filler went out");
    let headers = last.get("headers").map(Value::to_string).unwrap_or_default();
    ensure!(
        headers.contains("key-of-the-application"),
        "the application's key is gone"
    );
    Ok(())
}

/// `kubectl get lmp` as a person reads it.
fn shows_what_was_saved(namespace: &str) -> Result<()> {
    eventually("a figure of what was saved", Duration::from_secs(60), || {
        let table = kubectl(&["get", "lmp", "--namespace", namespace])?;
        let (head, row) = table.split_once('\n').context("no table")?;
        let columns = ["NAME", "READY", "WORKERS", "TIER", "SAVED", "AGE"];
        ensure!(head.split_whitespace().eq(columns), "other columns: {head}");
        let cells = row.split_whitespace().collect::<Vec<_>>();
        ensure!(
            cells.get(1) == Some(&"True") && cells.get(2) == Some(&"1/1"),
            "not ready: {row}"
        );
        let saved = cells.get(4).and_then(|cell| cell.strip_suffix('%'));
        let figure = saved.and_then(|saved| saved.parse::<f64>().ok());
        if figure.is_some() {
            println!("\n    {row}");
        }
        Ok(figure.filter(|saved| *saved > 0.0))
    })?;
    let events = list(namespace, &["events"])?;
    let reasons = events.iter().map(|event| text(event, "/reason").to_owned());
    let reasons = reasons.collect::<Vec<_>>();
    ensure!(
        reasons.iter().any(|reason| reason == "Injected"),
        "no Event Injected: {reasons:?}"
    );
    Ok(())
}
