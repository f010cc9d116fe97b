//! A signed bundle is carried in, verified, pushed to a registry that runs in the cluster, and installed from there.
//!
//! Begins and ends without a release. The registry speaks TLS and wants a password; the nodes know its authority, and pods
//! get the password by a pull secret.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::{answer, proxy};
use super::registry::{self, Registry};
use crate::guide::{self, Chapter};
use crate::kubectl::{apply, finished, get, kubectl, list, output, text};
use crate::manifest;
use crate::status::until_reason;
use crate::world::{Namespace, RELEASE, SYSTEM, World};

pub(super) const CASES: &[(&str, Case)] = &[
    ("bundle::a_wrong_byte_or_key_reaches_no_registry", refused),
    ("bundle::is_pushed_and_installed_from_a_registry", installed),
];

const SECRET: &str = "registry";

/// The plugin, with the registry's credentials.
fn push(world: &World, registry: &Registry, bundle: &str, key: &str) -> Result<String> {
    let mut command = Command::new(&world.plugin);
    command
        .args([
            "bundle",
            "push",
            bundle,
            "--key",
            key,
            "--registry",
            &registry.address(),
        ])
        .arg("--ca-file")
        .arg(registry.authority())
        .env("DOCKER_CONFIG", registry.folder());
    output(&mut command)
}

fn refused(world: &World) -> Result<()> {
    let registry = Registry::start(world)?;
    let changed = registry.folder().join("changed.tar");
    let mut bytes = fs::read(world.bundle.join("bundle.tar")).context("no bundle")?;
    let middle = bytes.len() / 2;
    let byte = bytes.get_mut(middle).context("an empty bundle")?;
    *byte ^= 1;
    fs::write(&changed, bytes)?;
    let key = world.bundle.join("key.pub").display().to_string();
    let refusal = push(world, &registry, &changed.to_string_lossy(), &key);
    fs::remove_file(&changed)?;
    let refusal = format!("{:#}", refusal.err().context("a wrong byte was pushed")?);
    ensure!(refusal.contains("sha256 is"), "no file is named: {refusal}");
    let other = registry.folder().join("other.pub");
    fs::write(&other, registry::OTHER_KEY)?;
    let bundle = world.bundle.join("bundle.tar").display().to_string();
    let refusal = push(world, &registry, &bundle, &other.to_string_lossy());
    let refusal = format!("{:#}", refusal.err().context("a wrong key was taken")?);
    ensure!(refusal.contains("another key signed it"), "{refusal}");
    let there = registry.repositories()?;
    ensure!(there.is_empty(), "the registry has {there:?}");
    Ok(())
}

/// The objects that let a namespace's pods pull from the registry.
fn pull_secret(registry: &Registry, namespace: &str) -> Result<()> {
    let file = format!("--from-file=.dockerconfigjson={}", registry.config().display());
    kubectl(&[
        "create",
        "secret",
        "generic",
        SECRET,
        "--namespace",
        namespace,
        "--type=kubernetes.io/dockerconfigjson",
        &file,
    ])
    .map(|_| ())
}

fn installed(world: &World) -> Result<()> {
    if world.helm(&["status", RELEASE, "--namespace", SYSTEM]).is_ok() {
        guide::run(world, Chapter::Uninstall)?;
        guide::run(world, Chapter::RemoveEverything)?;
    }
    // The guide makes it.
    kubectl(&["delete", "namespace", SYSTEM, "--ignore-not-found"])?;
    let registry = Registry::start(world)?;
    let folder = |name: &str| world.bundle.join(name).display().to_string();
    let (bundle, key) = (folder("bundle.tar"), folder("key.pub"));
    let (address, authority) = (registry.address(), registry.authority().display().to_string());
    let login = registry.folder().display().to_string();
    let variables = [
        ("BUNDLE", bundle.as_str()),
        ("KEY", &key),
        ("REGISTRY", &address),
        ("CA", &authority),
        ("DOCKER_CONFIG", &login),
        ("VERSION", &world.version),
    ];
    println!("\n{}", guide::run_with(world, Chapter::AirGap, &variables)?);
    everything_is_from(&registry, SYSTEM)?;
    let again = push(world, &registry, &bundle, &key)?;
    let mut rows = again.lines().skip(1);
    ensure!(
        rows.all(|row| row.split_whitespace().nth(1) == Some("0")),
        "pushed twice: {again}"
    );
    call_is_compressed(world, &registry)?;
    unsigned_model_is_refused(world, &registry)?;
    guide::run(world, Chapter::Uninstall)?;
    guide::run(world, Chapter::RemoveEverything).map(|_| ())
}

/// Every container of a namespace's pods has its image from the registry.
fn everything_is_from(registry: &Registry, namespace: &str) -> Result<()> {
    let pods = list(namespace, &["pods", "--field-selector=status.phase=Running"])?;
    ensure!(!pods.is_empty(), "nothing runs in {namespace}");
    let images = pods.iter().flat_map(|pod| {
        let lists = ["/status/containerStatuses", "/status/initContainerStatuses"];
        lists.into_iter().filter_map(|list| pod.pointer(list)?.as_array())
    });
    let own = registry.address();
    for status in images
        .flatten()
        .filter(|status| text(status, "/name").starts_with("liquid-"))
    {
        ensure!(
            text(status, "/image").starts_with(&own),
            "from elsewhere: {status}"
        );
    }
    Ok(())
}

fn call_is_compressed(world: &World, registry: &Registry) -> Result<()> {
    let namespace = Namespace::opted_in("air-gap")?;
    let name = namespace.0.as_str();
    pull_secret(registry, name)?;
    proxy(name, &manifest::proxy(name, "proxy"))?;
    let application = manifest::application(world, "application", &["ask.py", "whole"]);
    apply(&manifest::pod(name, "asks", &[application]))?;
    let answer = answer(&finished(name, "asks", Duration::from_secs(180))?)?;
    ensure!(
        text(&answer, "/headers/x-liquid-decision") == "compressed",
        "the call was not compressed: {answer}"
    );
    everything_is_from(registry, name)?;
    let config = get(name, &["configmap", "proxy-workers"])?;
    let asks = config.to_string().contains("verify = \\\"required\\\"");
    ensure!(asks, "the workers take any model: {config}");
    Ok(())
}

/// A model that the bundle's key has not signed: the worker ends, and the condition names the file that is missing.
fn unsigned_model_is_refused(world: &World, registry: &Registry) -> Result<()> {
    let namespace = Namespace::opted_in("air-gap-unsigned")?;
    let name = namespace.0.as_str();
    pull_secret(registry, name)?;
    let mut wanted = manifest::proxy(name, "proxy");
    if let Some(spec) = wanted.pointer_mut("/spec").and_then(Value::as_object_mut) {
        let reference = world.image("liquid-model-minilm");
        spec.insert(
            "model".to_owned(),
            json!({"source": {"ociImage": {"reference": reference, "pullPolicy": "Never"}}}),
        );
    }
    apply(&wanted)?;
    let limit = Duration::from_secs(120);
    let told = until_reason(name, "proxy", "ModelLoaded", "LoadFailed", limit)?;
    ensure!(
        text(&told, "/message").contains("SHA256SUMS"),
        "the message does not say why: {told}"
    );
    Ok(())
}
