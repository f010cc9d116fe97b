//! Where workers get their model: from a volume that is an OCI image, from a claim; and what is said of a wrong one.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, get, list, text};
use crate::manifest;
use crate::status::{condition, until_reason};
use crate::world::{Namespace, World};

pub(super) const CASES: &[(&str, Case)] = &[
    ("models::from_an_oci_image", oci_image),
    ("models::from_a_claim", claim),
    ("models::a_wrong_sum_is_told", wrong_sum),
];

const LIMIT: Duration = Duration::from_secs(60);

/// A proxy with this model.
fn with(namespace: &str, model: Value) -> Value {
    let mut wanted = manifest::proxy(namespace, "proxy");
    if let Some(spec) = wanted.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.insert("model".to_owned(), model);
    }
    wanted
}

/// The volume `model` of the only worker; its condition says that the model was read.
fn loaded_from(namespace: &str) -> Result<Value> {
    let proxy = get(namespace, &["lmp", "proxy"])?;
    let loaded = condition(&proxy, "ModelLoaded");
    ensure!(
        text(&loaded, "/status") == "True" && text(&loaded, "/reason") == "Loaded",
        "the model was not loaded: {loaded}"
    );
    let pods = list(
        namespace,
        &["pods", "--selector", "app.kubernetes.io/component=worker"],
    )?;
    let volumes = pods
        .first()
        .and_then(|pod| pod.pointer("/spec/volumes")?.as_array());
    let mut volumes = volumes.into_iter().flatten();
    let model = volumes.find(|volume| text(volume, "/name") == "model");
    Ok(model.cloned().unwrap_or_default())
}

fn oci_image(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("model-image")?;
    let name = namespace.0.as_str();
    let reference = world.image("liquid-model-minilm");
    proxy(
        name,
        &with(name, json!({"source": {"ociImage": {"reference": reference}}})),
    )?;
    let volume = loaded_from(name)?;
    ensure!(
        text(&volume, "/image/reference") == reference,
        "not from the image: {volume}"
    );
    Ok(())
}

fn claim(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("model-claim")?;
    let name = namespace.0.as_str();
    // Both nodes are this machine, so a folder of it is on both.
    apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "model-claim"},
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany"], "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": name, "name": "weights"},
            "hostPath": {"path": world.model, "type": "Directory"}},
    }))?;
    apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "weights", "namespace": name},
        "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "", "volumeName": "model-claim",
            "resources": {"requests": {"storage": "1Gi"}}},
    }))?;
    let source = json!({"source": {"persistentVolumeClaim": {"claimName": "weights"}}});
    proxy(name, &with(name, source))?;
    let volume = loaded_from(name)?;
    ensure!(
        text(&volume, "/persistentVolumeClaim/claimName") == "weights",
        "not from the claim: {volume}"
    );
    crate::kubectl::kubectl(&["delete", "pv", "model-claim", "--wait=false"]).map(|_| ())
}

fn wrong_sum(_: &World) -> Result<()> {
    let namespace = Namespace::opted_in("model-wrong")?;
    let name = namespace.0.as_str();
    apply(&with(name, json!({"sha256": "0".repeat(64)})))?;
    let told = until_reason(name, "proxy", "ModelLoaded", "LoadFailed", LIMIT)?;
    ensure!(
        text(&told, "/message").contains("sha256"),
        "the message does not say why: {told}"
    );
    Ok(())
}
