//! Faults of proxies and their workers: keys, claims, images, models, nodes.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Wanted, found, well};
use crate::cases::plugin::{LIMIT, NAMESPACE};
use crate::kubectl::{apply, kubectl, patch};
use crate::manifest;
use crate::status::until;
use crate::world::World;
pub(in super::super) fn check(world: &World) -> Result<()> {
    keys(world)?;
    apply(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unserved", "namespace": NAMESPACE},
        "spec": {
            "accessModes": ["ReadOnlyMany"], "storageClassName": "nowhere",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }))?;
    let broken = broken();
    let mut names = vec!["persistentvolumeclaim/unserved".to_owned()];
    for (name, spec, _) in &broken {
        let mut object = manifest::proxy(NAMESPACE, name);
        merge(&mut object["spec"], spec);
        apply(&object)?;
        names.push(format!("lmp/{name}"));
    }
    for (name, _, wanted) in &broken {
        found(
            world,
            NAMESPACE,
            &Wanted {
                object: name,
                ..*wanted
            },
        )?;
    }
    let delete = ["delete", "--namespace", NAMESPACE, "--cascade=foreground"];
    kubectl(
        &delete
            .into_iter()
            .chain(names.iter().map(String::as_str))
            .collect::<Vec<_>>(),
    )?;
    well(world, NAMESPACE)
}

/// Proxies whose workers cannot be ready: name, what is different about their spec, and what has to be found.
fn broken() -> [(&'static str, Value, Wanted<'static>); 6] {
    let claim = |name: &str| json!({"model": {"source": {"persistentVolumeClaim": {"claimName": name}}}});
    [
        (
            "gpu",
            json!({"workers": {"gpu": {}}}),
            wanted("NoGpu", "nvidia.com/gpu"),
        ),
        (
            "image",
            json!({"workers": {"image": "liquid.test/nowhere:1"}}),
            wanted("ImageNotPulled", "liquid.test/nowhere:1"),
        ),
        (
            "sum",
            json!({"model": {"sha256": "0".repeat(64)}}),
            wanted("LoadFailed", "sha256"),
        ),
        (
            "selector",
            json!({"workers": {"nodeSelector": {"disk": "none"}}}),
            wanted("Unschedulable", "affinity/selector"),
        ),
        ("absent", claim("absent"), wanted("ClaimMissing", "claimName")),
        (
            "unserved",
            claim("unserved"),
            wanted("ClaimPending", "storageClassName nowhere"),
        ),
    ]
}

fn wanted<'a>(fault: &'a str, says: &'a str) -> Wanted<'a> {
    Wanted {
        fault,
        object: "",
        says,
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// The provider's key: no Secret, one with another key, the right one.
fn keys(world: &World) -> Result<()> {
    let reference = |reference: Value| {
        let change = json!({"spec": {"synthesis": {"secretRef": reference}}});
        patch(NAMESPACE, "lmp/proxy", "merge", &change)
    };
    reference(json!({"name": "provider", "key": "api-key"}))?;
    found(
        world,
        NAMESPACE,
        &Wanted {
            fault: "SecretMissing",
            object: "provider",
            says: "kubectl create secret generic provider",
        },
    )?;
    let secret = |key: &str| {
        let literal = format!("--from-literal={key}=sk-test");
        kubectl(&[
            "create",
            "secret",
            "generic",
            "provider",
            "--namespace",
            NAMESPACE,
            &literal,
        ])
    };
    secret("API_KEY")?;
    found(
        world,
        NAMESPACE,
        &Wanted {
            fault: "SecretKeyMissing",
            object: "provider",
            says: "it has API_KEY",
        },
    )?;
    kubectl(&["delete", "secret", "provider", "--namespace", NAMESPACE])?;
    secret("api-key")?;
    well(world, NAMESPACE)?;
    reference(Value::Null)?;
    kubectl(&["delete", "secret", "provider", "--namespace", NAMESPACE])?;
    until(NAMESPACE, "proxy", "Ready", LIMIT)?;
    well(world, NAMESPACE)
}
