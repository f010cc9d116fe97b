//! Many sidecars for a long time: neither they nor the workers may grow.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{NAMESPACE, WORKERS, with_undo};
use crate::cases::faults::{pods, running};
use crate::kubectl::{apply, kubectl, rolled_out};
use crate::machine::Process;
use crate::manifest;
use crate::traffic::Traffic;
use crate::world::World;

const NAME: &str = "soak";
const SIDECARS: usize = 50;
/// How many minutes it takes, unless the environment says otherwise.
const MINUTES: u64 = 10;
const MINUTES_VARIABLE: &str = "LIQUID_SOAK_MINUTES";
/// Until every cache and buffer is as large as this traffic makes it.
const WARM_UP: Duration = Duration::from_secs(120);
/// Asks about another document each time.
const ASK: &str = r#"
sent=0; failed=0
while true; do
    sent=$((sent + 1))
    sed "s/SEED/$HOSTNAME-$sent/g" /call/call.json > /work/call.json
    wget -q -O /work/answer --header 'content-type: application/json' --post-file /work/call.json \
        "$OPENAI_BASE_URL/chat/completions" || failed=$((failed + 1))
    echo "{\"sent\": $sent, \"failed\": $failed}"
    sleep 15
done"#;

/// Memory of what runs, in KiB: of all sidecars, of all workers.
#[derive(Debug)]
struct Memory {
    sidecars: u64,
    workers: u64,
}

fn memory() -> Result<Memory> {
    let sum = |selector: &str, program: &str| -> Result<u64> {
        let pods = pods(NAMESPACE, selector)?;
        let each = pods
            .iter()
            .map(|pod| Process::find(pod, program)?.resident_memory());
        each.sum()
    };
    Ok(Memory {
        sidecars: sum(&format!("app={NAME}"), "/usr/bin/liquid-sidecar")?,
        workers: sum(WORKERS, "/usr/bin/liquid-worker")?,
    })
}

fn start() -> Result<()> {
    let lines = (0..100)
        .map(|number| format!("Paragraph SEED-{number} records that pallets were counted and moved."));
    let document = lines.collect::<Vec<_>>().join("\n");
    let call = json!({"model": "any-model", "messages": [
        {"role": "user", "content": document},
        {"role": "user", "content": "What was moved according to paragraph 17?"},
    ]});
    apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {"call.json": call.to_string()},
    }))?;
    let mut container = manifest::shell("traffic", ASK);
    container["volumeMounts"] =
        json!([{"name": "call", "mountPath": "/call"}, {"name": "work", "mountPath": "/work"}]);
    let mut deployment = manifest::deployment(NAMESPACE, NAME, &[container]);
    deployment["spec"]["replicas"] = json!(SIDECARS);
    deployment["spec"]["template"]["spec"]["volumes"] =
        json!([{"name": "call", "configMap": {"name": NAME}}, {"name": "work", "emptyDir": {}}]);
    apply(&deployment)?;
    rolled_out(NAMESPACE, &format!("deployment/{NAME}"), Duration::from_secs(600))
}

pub(super) fn soak(_: &World) -> Result<()> {
    let minutes = match std::env::var(MINUTES_VARIABLE) {
        Ok(minutes) => minutes
            .parse()
            .with_context(|| format!("{MINUTES_VARIABLE}={minutes}: no number"))?,
        Err(_) => MINUTES,
    };
    let traffic = Traffic::from_now(NAMESPACE)?;
    let lives = running(NAMESPACE)?;
    let soaked = || {
        start()?;
        std::thread::sleep(WARM_UP);
        let before = memory()?;
        std::thread::sleep(Duration::from_secs(minutes * 60));
        let after = memory()?;
        let counts = Traffic::of_all(NAMESPACE, NAME)?;
        println!(
            "\n    {SIDECARS} sidecars, {minutes} min: {} requests, {} failed; sidecars {} KiB, then {} KiB; workers {} KiB, then {} KiB",
            counts.sent, counts.failed, before.sidecars, after.sidecars, before.workers, after.workers
        );
        ensure!(
            counts.failed == 0,
            "{} of {} requests failed",
            counts.failed,
            counts.sent
        );
        let flat = |before: u64, after: u64| after * 20 <= before * 21;
        ensure!(
            flat(before.sidecars, after.sidecars) && flat(before.workers, after.workers),
            "memory grows by more than a twentieth: {before:?}, then {after:?}"
        );
        Ok(())
    };
    with_undo(soaked, || {
        kubectl(&[
            "delete",
            "deployment,configmap",
            NAME,
            "--namespace",
            NAMESPACE,
            "--ignore-not-found",
        ])
        .map(|_| ())
    })?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    traffic.none_failed("soak").map(|_| ())
}
