//! Faults that platform teams meet. Each is made, found by `kubectl liquid check` with its name, its object and a word of
//! what was seen, and undone; then nothing is found any more.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{LIMIT, NAMESPACE, pod_of, web};
use crate::kubectl::{apply, get, kubectl, patch, rolled_out, text};
use crate::manifest::{self, pod, shell};
use crate::plugin::findings;
use crate::status::until;
use crate::world::{Namespace, OPERATOR, RELEASE, SYSTEM, World, eventually};

/// What a finding must say.
struct Wanted<'a> {
    fault: &'a str,
    /// Name of the object; of a pod, how its name begins.
    object: &'a str,
    /// A part of the message or the remedy.
    says: &'a str,
}

/// Waits until the finding is there.
fn found(world: &World, namespace: &str, wanted: &Wanted<'_>) -> Result<()> {
    let Wanted { fault, object, says } = wanted;
    let finding = eventually(fault, LIMIT, || {
        let findings = findings(world, namespace)?;
        let same = |finding: &&Value| {
            text(finding, "/fault") == *fault && text(finding, "/object/name").starts_with(object)
        };
        let found = findings.iter().find(same).cloned();
        ensure!(found.is_some(), "{findings:?}");
        Ok(found)
    })?;
    let words = format!("{}\n{}", text(&finding, "/message"), text(&finding, "/remedy"));
    ensure!(words.contains(says), "{fault} does not say {says:?}: {words}");
    ensure!(!text(&finding, "/remedy").is_empty(), "{fault} has no remedy");
    println!("    {fault}: {}", text(&finding, "/message"));
    Ok(())
}

/// Waits until nothing is found.
fn well(world: &World, namespace: &str) -> Result<()> {
    eventually("nothing to be found", Duration::from_secs(120), || {
        let findings = findings(world, namespace)?;
        ensure!(findings.is_empty(), "{findings:?}");
        Ok(Some(()))
    })
}

fn scale_operator(replicas: u8) -> Result<()> {
    let (deployment, replicas) = (format!("deployment/{OPERATOR}"), format!("--replicas={replicas}"));
    kubectl(&["scale", &deployment, "--namespace", SYSTEM, &replicas])?;
    rolled_out(SYSTEM, &deployment, Duration::from_secs(60))
}

/// An object without what the API server adds: it can be created again.
fn bare(mut object: Value) -> Value {
    if let Some(meta) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for field in [
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "managedFields",
            "generation",
        ] {
            meta.remove(field);
        }
    }
    object
}

fn cluster_patch(what: &str, change: &Value) -> Result<()> {
    kubectl(&["patch", what, "--type=json", "--patch", &change.to_string()]).map(|_| ())
}

pub(super) fn installation(world: &World) -> Result<()> {
    definition(world)?;
    rights(world)?;
    second_operator(world)?;
    operator_down(world)
}

/// A field that a later version added is not in the definition that is installed.
fn definition(world: &World) -> Result<()> {
    let name = "crd/liquidmemoryproxies.liquidmemory.dev";
    let field = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/workers/properties/priorityClassName";
    cluster_patch(name, &json!([{"op": "remove", "path": field}]))?;
    let wanted = Wanted {
        fault: "DefinitionOutdated",
        object: "liquidmemoryproxies",
        says: "spec.workers.priorityClassName",
    };
    found(world, NAMESPACE, &wanted)?;
    let chart = world.chart("liquid-memory-crds").display().to_string();
    // What was edited by hand is the editor's, for Helm 4.
    world.helm(&[
        "upgrade",
        "liquid-memory-crds",
        &chart,
        "--namespace",
        SYSTEM,
        "--force-conflicts",
    ])?;
    well(world, NAMESPACE)
}

fn rights(world: &World) -> Result<()> {
    let name = format!("clusterrole/{SYSTEM}-{OPERATOR}");
    let before = get(SYSTEM, &[&name])?;
    let rules = before
        .pointer("/rules")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let without = rules
        .iter()
        .filter(|rule| !rule.to_string().contains("limitranges"));
    let without: Vec<&Value> = without.collect();
    ensure!(
        without.len() + 1 == rules.len(),
        "no rule for limit ranges: {before}"
    );
    cluster_patch(
        &name,
        &json!([{"op": "replace", "path": "/rules", "value": without}]),
    )?;
    let wanted = Wanted {
        fault: "RightsMissing",
        object: OPERATOR,
        says: "list limitranges",
    };
    found(world, NAMESPACE, &wanted)?;
    cluster_patch(
        &name,
        &json!([{"op": "replace", "path": "/rules", "value": rules}]),
    )?;
    well(world, NAMESPACE)
}

/// Another release, of another version, that was forgotten.
fn second_operator(world: &World) -> Result<()> {
    let namespace = Namespace::new("forgotten", &json!({}))?;
    let mut other = bare(get(SYSTEM, &["deployment", OPERATOR])?);
    other["metadata"]["namespace"] = json!(namespace.0);
    other["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.0.9");
    other["spec"]["replicas"] = json!(0);
    other["spec"]["template"]["spec"]["containers"][0]["image"] = json!("liquid.test/liquid-operator:0.0.9");
    apply(&other)?;
    // The first by name is taken as the installation: both are said.
    let wanted = Wanted {
        fault: "OperatorTwice",
        object: OPERATOR,
        says: "liquid.test/liquid-operator:0.0.9",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&["delete", "deployment", OPERATOR, "--namespace", &namespace.0])?;
    well(world, NAMESPACE)
}

/// Nobody repairs: what the operator would put right at once is there to be found.
fn operator_down(world: &World) -> Result<()> {
    scale_operator(0)?;
    let webhook = format!("mutatingwebhookconfiguration/{SYSTEM}-{OPERATOR}");
    let wanted = |fault, object, says| Wanted { fault, object, says };
    found(
        world,
        NAMESPACE,
        &wanted("OperatorNotReady", OPERATOR, "spec.replicas is 0"),
    )?;
    found(
        world,
        NAMESPACE,
        &wanted("WebhookWithoutEndpoints", OPERATOR, "failurePolicy Fail"),
    )?;

    let authority = get(SYSTEM, &["secret", "liquid-memory-ca"])?;
    let bundle = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ""}]);
    cluster_patch(&webhook, &bundle)?;
    found(
        world,
        NAMESPACE,
        &wanted("WebhookBundle", "liquid-memory-liquid-operator", "has no bundle"),
    )?;

    kubectl(&["delete", "secret", "liquid-memory-ca", "--namespace", SYSTEM])?;
    found(
        world,
        NAMESPACE,
        &wanted("AuthorityMissing", "liquid-memory-ca", "does not exist"),
    )?;
    apply(&bare(authority))?;

    let lost = json!({"data": {"ca.crt": ""}});
    patch(NAMESPACE, "secret/proxy-sidecar-tls", "merge", &lost)?;
    found(
        world,
        NAMESPACE,
        &wanted("CertificatesDisagree", "proxy-sidecar-tls", "do not trust"),
    )?;

    let configuration = get(SYSTEM, &[&webhook])?;
    kubectl(&["delete", &webhook])?;
    found(
        world,
        NAMESPACE,
        &wanted(
            "WebhookMissing",
            "liquid-memory-liquid-operator",
            "does not exist",
        ),
    )?;
    apply(&bare(configuration))?;

    scale_operator(2)?;
    well(world, NAMESPACE)?;
    world
        .helm(&["status", RELEASE, "--namespace", SYSTEM])
        .map(|_| ())
}

pub(super) fn pods(world: &World) -> Result<()> {
    labels(world)?;
    images(world)?;
    base_urls(world)?;
    refused(world)?;
    policy(world)
}

fn label(value: &str) -> Result<()> {
    let label = format!("liquidmemory.dev/inject{value}");
    kubectl(&["label", "namespace", NAMESPACE, &label, "--overwrite"]).map(|_| ())
}

/// A label that was mistyped, one that was forgotten, and a pod that was created meanwhile.
fn labels(world: &World) -> Result<()> {
    let wanted = |fault, object, says| Wanted { fault, object, says };
    label("=true")?;
    found(world, NAMESPACE, &wanted("LabelUnknown", NAMESPACE, "\"true\""))?;
    label("-")?;
    found(
        world,
        NAMESPACE,
        &wanted("NamespaceNotOptedIn", NAMESPACE, "kubectl label namespace plugin"),
    )?;
    apply(&web("early"))?;
    rolled_out(NAMESPACE, "deployment/early", LIMIT)?;
    label("=enabled")?;
    found(
        world,
        NAMESPACE,
        &wanted(
            "PodNotInjected",
            "early-",
            "kubectl rollout restart deployment/early",
        ),
    )?;
    kubectl(&[
        "delete",
        "deployment",
        "early",
        "--namespace",
        NAMESPACE,
        "--cascade=foreground",
    ])?;
    let lonely = Namespace::opted_in("plugin-lonely")?;
    found(
        world,
        &lonely.0,
        &wanted("NamespaceWithoutProxy", &lonely.0, "no LiquidMemoryProxy"),
    )?;
    well(world, NAMESPACE)
}

/// A proxy that brings another image of the sidecar than running pods have; and one whose image does not exist.
fn images(world: &World) -> Result<()> {
    let image = |image: Value| {
        patch(
            NAMESPACE,
            "lmp/proxy",
            "merge",
            &json!({"spec": {"injection": {"image": image}}}),
        )
    };
    image(json!("liquid.test/liquid-sidecar:2"))?;
    let wanted = Wanted {
        fault: "SidecarOutdated",
        object: &pod_of("web")?,
        says: "liquid.test/liquid-sidecar:2",
    };
    found(world, NAMESPACE, &wanted)?;
    apply(&web("late"))?;
    let wanted = Wanted {
        fault: "SidecarNotReady",
        object: "late-",
        says: "liquid.test/liquid-sidecar:2",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&[
        "delete",
        "deployment",
        "late",
        "--namespace",
        NAMESPACE,
        "--cascade=foreground",
    ])?;
    image(Value::Null)?;
    well(world, NAMESPACE)
}

fn base_urls(world: &World) -> Result<()> {
    for (name, url, fault) in [
        ("direct", "https://api.openai.com/v1", "BaseUrlKept"),
        ("astray", "http://localhost:9999/v1", "BaseUrlElsewhere"),
    ] {
        let mut container = shell("main", "sleep 100000");
        container["env"] = json!([{"name": "OPENAI_BASE_URL", "value": url}]);
        apply(&pod(NAMESPACE, name, &[container]))?;
        let says = if fault == "BaseUrlKept" {
            "OPENAI_BASE_URL"
        } else {
            url
        };
        found(
            world,
            NAMESPACE,
            &Wanted {
                fault,
                object: name,
                says,
            },
        )?;
        kubectl(&["delete", "pod", name, "--namespace", NAMESPACE, "--wait=true"])?;
    }
    well(world, NAMESPACE)
}

/// A quota that leaves no room for another pod.
fn refused(world: &World) -> Result<()> {
    apply(&json!({
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "tight", "namespace": NAMESPACE},
        "spec": {"hard": {"pods": "1"}},
    }))?;
    apply(&web("surplus"))?;
    let wanted = Wanted {
        fault: "PodsRefused",
        object: "surplus",
        says: "exceeded quota: tight",
    };
    found(world, NAMESPACE, &wanted)?;
    kubectl(&[
        "delete",
        "deployment/surplus",
        "resourcequota/tight",
        "--namespace",
        NAMESPACE,
    ])?;
    well(world, NAMESPACE)
}

fn policy(world: &World) -> Result<()> {
    let policy = |egress: Value| {
        apply(&json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"name": "tight", "namespace": NAMESPACE},
            "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"], "egress": egress},
        }))
    };
    policy(json!([{"ports": [{"port": 53, "protocol": "UDP"}]}]))?;
    let wanted = Wanted {
        fault: "PolicyBlocksWorkers",
        object: "tight",
        says: "egress: [{to:",
    };
    found(world, NAMESPACE, &wanted)?;
    // With the line that the remedy gives it is well.
    policy(json!([{
        "to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "worker", "app.kubernetes.io/instance": "proxy"}}}],
        "ports": [{"port": 50051}],
    }]))?;
    well(world, NAMESPACE)?;
    kubectl(&["delete", "networkpolicy", "tight", "--namespace", NAMESPACE]).map(|_| ())
}

pub(super) fn workers(world: &World) -> Result<()> {
    keys(world)?;
    let claim = |name: &str| json!({"model": {"source": {"persistentVolumeClaim": {"claimName": name}}}});
    let claimed = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "unserved", "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadOnlyMany"], "storageClassName": "nowhere", "resources": {"requests": {"storage": "1Gi"}}},
    });
    apply(&claimed)?;
    let broken: [(&str, Value, Wanted<'_>); 6] = [
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
    ];
    let mut names = Vec::new();
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
    let names = names.iter().map(String::as_str);
    let delete = [
        "delete",
        "--namespace",
        NAMESPACE,
        "--cascade=foreground",
        "persistentvolumeclaim/unserved",
    ];
    kubectl(&delete.into_iter().chain(names).collect::<Vec<_>>())?;
    well(world, NAMESPACE)
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
