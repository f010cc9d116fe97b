//! Answers that never leave: the workers' own language model, from each source that a resource can name, and what is
//! said of a wrong one.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use crate::kubectl::{apply, finished, get, kubectl, list, metrics, text};
use crate::manifest;
use crate::status::{condition, event, until_reason};
use crate::world::{Namespace, World};

/// The case that needs real weights, to answer in words.
pub(super) const NEEDS_DECODER: &str = "synthesis::an_answer_never_leaves_the_cluster";

pub(super) const CASES: &[(&str, Case)] = &[
    (NEEDS_DECODER, whole),
    ("synthesis::a_decoder_comes_from_an_image", images),
    ("synthesis::a_broken_decoder_is_named", broken),
];

const LIMIT: Duration = Duration::from_secs(60);

/// A proxy whose workers answer themselves, with a decoder from this source, and need no other model.
fn liquid(namespace: &str, name: &str, source: &Value) -> Value {
    let mut wanted = manifest::proxy(namespace, name);
    wanted["spec"]["extraction"]["tier"] = json!("Lexical");
    wanted["spec"]["synthesis"] = json!({"provider": "liquid"});
    wanted["spec"]["decoder"] = json!({"source": source, "memoryMebibytes": 128, "contextTokens": 256});
    wanted
}

/// A volume with a folder of this machine, which both nodes are, and a claim on it. It goes with the value.
struct Claim {
    name: &'static str,
}

impl Claim {
    fn of(namespace: &str, name: &'static str, folder: &Path) -> Result<Self> {
        apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "",
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": namespace, "name": name},
                "hostPath": {"path": folder, "type": "Directory"}},
        }))?;
        apply(&json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
            "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": name,
                "resources": {"requests": {"storage": "1Gi"}}},
        }))?;
        Ok(Self { name })
    }

    fn source(&self) -> Value {
        json!({"persistentVolumeClaim": {"claimName": self.name}})
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = kubectl(&["delete", "pv", self.name, "--wait=false", "--ignore-not-found"]);
    }
}

fn whole(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("answers-inside")?;
    let name = namespace.0.as_str();
    let folder = world.decoder.as_deref().context("no language model")?;
    let claim = Claim::of(name, "decoder-smollm2", folder)?;
    let mut wanted = liquid(name, "proxy", &claim.source());
    wanted["spec"]["decoder"]["contextTokens"] = json!(2048);
    wanted["spec"]["decoder"]["name"] = json!("smollm2");
    wanted["spec"]["extraction"]["budget"] = json!({"maxTokens": 300});
    proxy(name, &wanted)?;
    let application = manifest::application(world, "application", &["ask_inside.py"]);
    apply(&manifest::pod(name, "asks", &[application]))?;
    let answer = answer(&finished(name, "asks", Duration::from_secs(120))?)?;
    for which in ["first", "second"] {
        answered(answer.get(which).context("no answer")?)?;
    }
    let number = |path: &str| answer.pointer(path).and_then(Value::as_u64);
    let cached = number("/second/usage/prompt_tokens_details/cached_tokens");
    ensure!(
        cached >= Some(64),
        "the second call's prompt was read again: {answer}"
    );
    println!(
        "\n    {} tokens of the document, {} read by the model, {} of them remembered at the second call: {:?}",
        text(&answer, "/first/headers/x-liquid-tokens-before"),
        number("/first/usage/prompt_tokens").unwrap_or_default(),
        cached.unwrap_or_default(),
        text(&answer, "/first/text"),
    );
    nothing_left(name, &answer)?;
    event(name, "proxy", "ModelLoaded")?;
    worker_wrote(name)
}

/// A document was packed, and an answer came in pieces.
fn answered(answer: &Value) -> Result<()> {
    ensure!(
        text(answer, "/headers/x-liquid-decision") == "compressed",
        "the document was not packed: {answer}"
    );
    let pieces = answer.get("pieces").and_then(Value::as_u64);
    ensure!(
        pieces > Some(2) && ["stop", "length"].contains(&text(answer, "/finish")),
        "no stream: {answer}"
    );
    Ok(())
}

/// The pods of a proxy's workers.
fn workers(namespace: &str, proxy: &str) -> Result<Vec<Value>> {
    let labels = format!("app.kubernetes.io/component=worker,app.kubernetes.io/instance={proxy}");
    list(namespace, &["pods", "--selector", &labels])
}

/// No connection but within the pod and to workers, no upstream, no key, no way out for workers.
fn nothing_left(namespace: &str, answer: &Value) -> Result<()> {
    let workers = workers(namespace, "proxy")?;
    let mut known = workers
        .iter()
        .map(|pod| text(pod, "/status/podIP"))
        .collect::<Vec<_>>();
    ensure!(!known.is_empty(), "no worker");
    known.push("127.0.0.1");
    for which in ["first", "second"] {
        let peers = answer
            .pointer(&format!("/{which}/peers"))
            .and_then(Value::as_array);
        let peers = peers.into_iter().flatten().filter_map(Value::as_str);
        let peers = peers.collect::<Vec<_>>();
        ensure!(
            peers.len() > 1 && peers.iter().all(|peer| known.contains(peer)),
            "the pod was connected with {peers:?}; its workers and itself are {known:?}"
        );
    }
    ensure!(
        answer.pointer("/stats/upstream_connections") == Some(&json!(0)),
        "the sidecar connected to an upstream: {answer}"
    );
    ensure!(answer.get("keys") == Some(&json!([])), "a key: {answer}");
    let secrets = list(namespace, &["secrets"])?;
    let mut names = secrets.iter().map(|secret| text(secret, "/metadata/name"));
    ensure!(
        names.all(|name| ["proxy-sidecar-tls", "proxy-worker-tls"].contains(&name)),
        "a Secret beside the certificates"
    );
    let pod = get(namespace, &["pod", "asks"])?;
    ensure!(!pod.to_string().contains("secretKeyRef"), "a key: {pod}");
    let policy = get(namespace, &["networkpolicy", "proxy-workers"])?;
    let types = policy.pointer("/spec/policyTypes").and_then(Value::as_array);
    ensure!(
        types.is_some_and(|types| types.contains(&json!("Egress")))
            && policy.pointer("/spec/egress").is_none(),
        "workers have a way out: {policy}"
    );
    Ok(())
}

/// The worker's own counts say that the model in it has written the answers.
fn worker_wrote(namespace: &str) -> Result<()> {
    let workers = workers(namespace, "proxy")?;
    let pod = text(workers.first().context("no worker")?, "/metadata/name");
    let metrics = metrics(namespace, pod, 9464)?;
    for line in [
        "liquid_worker_http_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 2",
        "vllm:time_to_first_token_seconds_count{model_name=\"smollm2\"} 2",
    ] {
        ensure!(metrics.lines().any(|found| found == line), "no {line}");
    }
    Ok(())
}

/// From an image that is mounted, and from the workers' own.
fn images(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("decoder-images")?;
    let name = namespace.0.as_str();
    let mounted = world.image("test-decoder");
    let mut own = liquid(name, "own", &json!({"image": {"path": "/models/decoder"}}));
    own["spec"]["workers"]["image"] = json!(world.image("test-worker"));
    apply(&own)?;
    proxy(
        name,
        &liquid(name, "mounted", &json!({"ociImage": {"reference": mounted}})),
    )?;
    until_reason(name, "own", "ModelLoaded", "Loaded", LIMIT)?;
    let volume = |proxy: &str| -> Result<Value> {
        let pods = workers(name, proxy)?;
        let volumes = pods
            .first()
            .and_then(|pod| pod.pointer("/spec/volumes")?.as_array());
        let mut volumes = volumes.into_iter().flatten();
        let found = volumes.find(|volume| text(volume, "/name") == "decoder");
        Ok(found.cloned().unwrap_or_default())
    };
    let (found, none) = (volume("mounted")?, volume("own")?);
    ensure!(
        text(&found, "/image/reference") == mounted && none.is_null(),
        "mounted: {found}, own: {none}"
    );
    let loaded = condition(&get(name, &["lmp", "mounted"])?, "ModelLoaded");
    ensure!(
        text(&loaded, "/reason") == "Loaded",
        "the model was not loaded: {loaded}"
    );
    Ok(())
}

/// A folder without its tokenizer: the status and an Event name the file, and what to do.
fn broken(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("decoder-broken")?;
    let name = namespace.0.as_str();
    let claim = Claim::of(name, "decoder-broken", &world.root.join("decoder/fixtures/llama"))?;
    apply(&liquid(name, "proxy", &claim.source()))?;
    let told = until_reason(name, "proxy", "ModelLoaded", "LoadFailed", LIMIT)?;
    ensure!(
        text(&told, "/message").contains("/etc/liquid/decoder/tokenizer.json"),
        "the message does not name the file: {told}"
    );
    println!("\n    {}", text(&told, "/message"));
    let note = event(name, "proxy", "ModelLoadFailed")?;
    ensure!(
        note.contains("tokenizer.json"),
        "the Event does not either: {note}"
    );
    Ok(())
}
