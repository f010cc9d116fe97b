//! Interception of TLS: applications with `https://api.openai.com` in their code, in pods under Pod Security "restricted".

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{QUESTION, answer, document, provider_got_the_pack, proxy};
use crate::kubectl::{apply, finished, get, kubectl, text, trial};
use crate::manifest::{self, shell};
use crate::world::{Namespace, SYSTEM, World};

/// The case that makes what the others use.
pub(super) const PREPARE: &str = "intercept::namespace_and_proxy";

pub(super) const CASES: &[(&str, Case)] = &[
    (PREPARE, prepare),
    ("intercept::a_url_in_the_code_is_compressed", compressed),
    (NODE, node),
    (ANTHROPIC, anthropic),
    (GO, go),
    (JAVA, java),
    ("intercept::other_hosts_are_reached_unread", passed_on),
    ("intercept::who_pins_certificates_is_said", pinned),
    ("intercept::who_does_not_ask_is_left_alone", left_alone),
    ("intercept::no_key_but_the_certificates_is_in_reach", keys),
    ("intercept::namespace_ends", end),
];

const NODE: &str = "intercept::openais_sdk_for_node_is_compressed";
const ANTHROPIC: &str = "intercept::anthropics_sdk_for_node_is_compressed";
const GO: &str = "intercept::openais_sdk_for_go_is_compressed";
const JAVA: &str = "intercept::openais_sdk_for_java_is_compressed";

/// Cases of applications that are made where their language's tools are, and those languages.
pub(super) const CLIENTS: [(&str, &str); 4] =
    [(NODE, "node"), (ANTHROPIC, "node"), (GO, "go"), (JAVA, "java")];

const NAMESPACE: &str = "intercept";
/// A host of this cluster that serves TLS at the port of `https`.
const OTHER: &str = "kubernetes.default.svc.cluster.local";

fn prepare(_: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    let mut wanted = manifest::proxy(NAMESPACE, "proxy");
    wanted["spec"]["injection"] = json!({"tlsInterception": {}});
    proxy(NAMESPACE, &wanted)
}

/// A pod that asks to be intercepted.
fn asking(name: &str, container: Value) -> Value {
    let mut pod = manifest::pod(NAMESPACE, name, &[container]);
    pod["metadata"]["annotations"] = json!({"liquidmemory.dev/tls-interception": "true"});
    pod
}

/// Runs intercepted.py in a pod that asks to be intercepted; its log.
fn run(world: &World, name: &str, arguments: [&str; 2]) -> Result<String> {
    let [what, with] = arguments;
    let container = manifest::application(world, "application", &["intercepted.py", what, with]);
    apply(&asking(name, container))?;
    finished(NAMESPACE, name, Duration::from_secs(120))
}

/// By OpenAI's SDK with a base URL of its own, and by what Python brings.
fn compressed(world: &World) -> Result<()> {
    for what in ["sdk", "standard"] {
        let log = run(world, what, [what, &format!("intercept-{what}")])?;
        let answer = answer(&log)?;
        ensure!(
            text(&answer, "/headers/x-liquid-decision") == "compressed",
            "{what}: not compressed: {answer}"
        );
        provider_got_the_pack()?;
    }
    Ok(())
}

/// Runs an application in another language in a pod that asks to be intercepted, and checks that its call was compressed.
/// Returns what it printed. The pod may name an upstream for Anthropic's API, which its sidecar takes over.
fn run_client(world: &World, name: &str, command: &[&str], upstream: Option<&str>) -> Result<Value> {
    let mut container = json!({
        "name": "application",
        "image": world.image("test-clients"),
        "imagePullPolicy": "Never",
        "command": command,
        "env": [
            {"name": "DOCUMENT", "value": document(name)},
            {"name": "QUESTION", "value": QUESTION},
        ],
        "securityContext": manifest::container_security(),
    });
    if let (Some(url), Some(env)) = (upstream, container["env"].as_array_mut()) {
        env.push(json!({"name": "ANTHROPIC_BASE_URL", "value": url}));
    }
    let mut pod = asking(name, container);
    pod["metadata"]["annotations"]["liquidmemory.dev/adopt-upstream"] = upstream.is_some().to_string().into();
    apply(&pod)?;
    let answer = answer(&finished(NAMESPACE, name, Duration::from_secs(120))?)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "{name}: not compressed: {answer}"
    );
    provider_got_the_pack()?;
    Ok(answer)
}

/// Streamed.
fn node(world: &World) -> Result<()> {
    let command = ["/usr/bin/node", "/application/node/ask.mjs", "openai"];
    let answer = run_client(world, "node", &command, None)?;
    let chunks = answer.get("chunks").and_then(Value::as_u64);
    ensure!(
        chunks > Some(2) && text(&answer, "/finish") == "stop",
        "no stream: {answer}"
    );
    Ok(())
}

/// The proxy's provider is OpenAI, so the pod names the mock for Anthropic's API. The application does not read that: its
/// URL is in its code.
fn anthropic(world: &World) -> Result<()> {
    let command = ["/usr/bin/node", "/application/node/ask.mjs", "anthropic"];
    let answer = run_client(world, "anthropic", &command, Some(&manifest::provider_url()))?;
    ensure!(
        text(&answer, "/base_url") == "https://api.anthropic.com",
        "another URL: {answer}"
    );
    Ok(())
}

fn go(world: &World) -> Result<()> {
    run_client(world, "go", &["/application/go/ask"], None).map(|_| ())
}

/// Java has its own store of whom it trusts, which the pod is given.
fn java(world: &World) -> Result<()> {
    let path = "/application/java/classes:/application/java/packages/*";
    run_client(world, "java", &["/opt/java/bin/java", "-cp", path, "Ask"], None).map(|_| ())
}

fn passed_on(world: &World) -> Result<()> {
    let answer = answer(&run(world, "other", ["other", OTHER])?)?;
    let (here, direct) = (text(&answer, "/passed_on"), text(&answer, "/direct"));
    ensure!(
        !here.is_empty() && here == direct,
        "another certificate than the host's own: {answer}"
    );
    Ok(())
}

fn pinned(world: &World) -> Result<()> {
    let log = run(world, "pinned", ["pinned", "-"])?;
    ensure!(!text(&answer(&log)?, "/error").is_empty(), "no error: {log}");
    ensure!(
        log.contains("a client does not trust the certificate") && log.contains("api.openai.com"),
        "the sidecar does not say who does not trust it: {log}"
    );
    Ok(())
}

fn left_alone(_: &World) -> Result<()> {
    let made = trial(&manifest::pod(NAMESPACE, "plain", &[shell("main", "true")]))?;
    let all = made.to_string();
    ensure!(
        all.contains("liquid-sidecar") && made.pointer("/spec/hostAliases").is_none(),
        "intercepted without asking: {made}"
    );
    ensure!(
        !all.contains("interception") && !all.contains("SSL_CERT_FILE"),
        "it gets what it has not asked for: {made}"
    );
    Ok(())
}

/// The key of the authority stays in the operator's namespace; the certificate's is mounted into the sidecar alone.
fn keys(_: &World) -> Result<()> {
    let authority = get(SYSTEM, &["secret", "liquid-memory-interception-ca"])?;
    let key = text(&authority, "/data/tls.key").to_owned();
    ensure!(!key.is_empty(), "no authority: {authority}");
    let here = kubectl(&[
        "get",
        "secrets,configmaps",
        "--namespace",
        NAMESPACE,
        "-o",
        "json",
    ])?;
    ensure!(!here.contains(&key), "the authority's key is in {NAMESPACE}");
    let trust = get(NAMESPACE, &["configmap", "proxy-interception-ca"])?;
    let data = trust.pointer("/data").context("no data")?.to_string();
    ensure!(
        data.contains("BEGIN CERTIFICATE") && !data.contains("PRIVATE KEY"),
        "a key is published"
    );
    let made = trial(&asking("mounts", shell("main", "true")))?;
    let mounts = made.pointer("/spec/containers/0/volumeMounts").cloned();
    let mounts = mounts.unwrap_or_default().to_string();
    ensure!(
        mounts.contains("liquid-memory-trust") && !mounts.contains("liquid-memory-interception"),
        "the application has other mounts: {mounts}"
    );
    Ok(())
}

fn end(_: &World) -> Result<()> {
    crate::kubectl::delete_namespace(NAMESPACE)
}
