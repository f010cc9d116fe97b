//! The resource type: taken as it is documented, and each of its rules refuses what it is there for.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use crate::kubectl::{apply, get, kubectl, text, trial};
use crate::world::{Namespace, World};

pub(super) const CASES: &[(&str, Case)] = &[
    ("crd::takes_the_smallest_and_the_largest_proxy", takes),
    ("crd::each_rule_refuses", rules),
    ("crd::ports_cannot_change", immutable),
    ("crd::scales", scales),
];

const NAMESPACE: &str = "crd";

/// What is wrong, as a merge patch on `spec`. Every rule of the definition has to refuse at least one of these.
fn wrong() -> Vec<Value> {
    let image = |path: &str| json!({"model": {"source": {"image": {"path": path}}}});
    let budget = |budget: Value| json!({"extraction": {"budget": budget}});
    let synthesis = |synthesis: Value| json!({"synthesis": synthesis});
    let decoder = |decoder: Value| json!({"decoder": decoder});
    let fallback = |fallback: Value| synthesis(json!({"model": "m", "fallbacks": [fallback]}));
    let claim = |name: &str, path: &str| json!({"model": {"source": {"persistentVolumeClaim": {"claimName": name, "path": path}}}});
    let oci = |name: &str, path: &str| json!({"model": {"source": {"ociImage": {"reference": name, "path": path}}}});
    vec![
        budget(json!({"ratio": 5.0, "maxTokens": 500})),
        budget(json!({"ratio": 0.5})),
        budget(json!({"maxTokens": 1})),
        budget(json!({"auto": {"floor": 0.0}})),
        budget(json!({"auto": {"minRatio": 9.0, "maxRatio": 3.0}})),
        json!({"extraction": {"minDocumentTokens": -1}}),
        json!({"extraction": {"deadlineMilliseconds": 1}}),
        json!({"extraction": {"deadlinePerMebibyteMilliseconds": -1}}),
        json!({"extraction": {"packStyle": "Facts"}}),
        json!({"price": {"perMillionInputTokens": 0, "currency": "USD"}}),
        json!({"price": {"perMillionInputTokens": 2.5, "currency": "usd"}}),
        json!({"injection": {"port": 80}}),
        json!({"injection": {"port": 9000, "adminPort": 9000}}),
        json!({"injection": {"drainSeconds": 0}}),
        image("models"),
        claim("", "folder"),
        claim("models", "/folder"),
        oci("", "folder"),
        oci("registry/model:1", "/folder"),
        json!({"model": {"source": {"image": {"path": "/m"}, "ociImage": {"reference": "registry/model:1"}}}}),
        json!({"model": {"sha256": "0123"}}),
        json!({"model": {"ranker": {"path": "/models/../ranker"}}}),
        json!({"model": {"ranker": {"path": "models/ranker"}}}),
        json!({"model": {"ranker": {"path": "/models/ranker", "sha256": "0123"}}}),
        decoder(json!({"source": {}})),
        decoder(json!({"source": {"image": {"path": "/m"}, "ociImage": {"reference": "registry/model:1"}}})),
        decoder(json!({"source": {"image": {"path": "models"}}})),
        decoder(json!({"source": {"persistentVolumeClaim": {"claimName": "", "path": "m"}}})),
        decoder(json!({"source": {"ociImage": {"reference": "registry/model:1", "path": "/m"}}})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "name": ""})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "contextTokens": 1})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "memoryMebibytes": 1})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "sequences": 0})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "queue": 0})),
        decoder(json!({"source": {"image": {"path": "/m"}}, "precision": "Fp8"})),
        json!({"network": {"allowFrom": [{}]}}),
        json!({"policy": {"cachedPrefix": {"write": 1.0, "read": 2.0}}}),
        json!({"policy": {"cachedPrefix": {"ttlSeconds": 0}}}),
        json!({"policy": {"minSaving": 1.0}}),
        json!({"policy": {"minSavedTokens": -1}}),
        json!({"policy": {"unreadAllow": ["embeddings"]}}),
        json!({"policy": {"tools": {"read file": "Keep"}}}),
        json!({"extraction": {"budget": {"ratio": 2, "furtherRatio": 0.5}}}),
        synthesis(json!({"secretRef": {"name": "", "key": "k"}})),
        synthesis(json!({"fallbacks": [{"provider": "openai", "model": "m"}]})),
        synthesis(json!({"provider": "vllm"})),
        synthesis(json!({"provider": "local", "baseURL": "http://host/v1"})),
        synthesis(json!({"provider": "liquid"})),
        json!({"synthesis": {"provider": "liquid", "model": "other"},
            "decoder": {"name": "m", "source": {"image": {"path": "/m"}}}}),
        fallback(json!({"provider": "liquid", "model": "m", "baseURL": "http://host/v1"})),
        synthesis(json!({"baseURL": "host/v1"})),
        synthesis(json!({"baseURL": "https://user:password@host/v1"})),
        fallback(json!({"provider": "azure", "model": "m"})),
        fallback(json!({"provider": "openai", "model": "m", "baseURL": "ftp://host"})),
        json!({"workers": {"gpu": {"count": 0}}}),
        json!({"workers": {"gpu": {"resourceName": "gpu"}}}),
        json!({"workers": {"replicas": 101}}),
        json!({"workers": {"gpu": {}, "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpu"}]}}),
        json!({"workers": {"startSeconds": 1}}),
        json!({"workers": {"drainSeconds": 0}}),
    ]
}

/// The same of gateways and of workers whose number follows the load.
fn wrong_gateways_and_scalings() -> Vec<Value> {
    let gateway = |mut fields: Value| {
        fields["clients"] = json!({"tokenSecret": "clients"});
        json!({"gateway": fields})
    };
    let clients = |clients: Value| json!({"gateway": {"clients": clients}});
    let scaling = |scaling: Value| json!({"workers": {"autoscaling": scaling}});
    vec![
        scaling(json!({"minReplicas": 3, "maxReplicas": 2})),
        scaling(json!({"maxReplicas": 2, "tokensInFlight": 0})),
        scaling(json!({"maxReplicas": 2, "scaleDownSeconds": 1})),
        scaling(json!({"maxReplicas": 2, "holdSeconds": 0})),
        clients(json!({})),
        clients(json!({"tokenSecret": ""})),
        clients(json!({"certificates": {"authoritySecret": ""}})),
        clients(json!({"certificates": {"authoritySecret": "a", "identities": ["shop"]}})),
        json!({"gateway": {"clients": {"certificates": {"authoritySecret": "a"}}, "tls": {"enabled": false}}}),
        gateway(json!({"replicas": 0})),
        gateway(json!({"replicas": 5, "autoscaling": {"maxReplicas": 4}})),
        gateway(json!({"autoscaling": {"maxReplicas": 4}, "resources": {}})),
        gateway(json!({"autoscaling": {"maxReplicas": 4, "cpuUtilization": 5}})),
        gateway(json!({"tls": {"enabled": false, "secretName": "a"}})),
        gateway(json!({"drainSeconds": 0})),
        gateway(json!({"allowFrom": [{}]})),
    ]
}

fn proxy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    })
}

fn takes(_: &World) -> Result<()> {
    std::mem::forget(Namespace::new(NAMESPACE, &json!({}))?);
    let smallest = trial(&proxy("smallest", &json!({})))?;
    ensure!(
        text(&smallest, "/spec/extraction/tier") == "Auto",
        "no defaults: {smallest}"
    );
    let largest = json!({
        "workers": {"replicas": 3, "gpu": {"resourceName": "nvidia.com/gpu", "count": 2}, "nodeSelector": {"gpu": "yes"},
            "tolerations": [{"operator": "Exists"}], "runtimeClassName": "nvidia", "priorityClassName": "high"},
        "extraction": {"tier": "Encoder", "budget": {"auto": {"floor": 0.9}}, "minDocumentTokens": 500},
        "model": {"source": {"ociImage": {"reference": "registry/model:1", "path": "model"}}},
        "policy": {"mode": "Force", "onWorkerUnavailable": "Reject", "overview": "Coverage"},
        "synthesis": {"provider": "azure", "model": "m", "baseURL": "https://host/openai/v1",
            "secretRef": {"name": "keys", "key": "azure"}, "fallbacks": [{"provider": "anthropic", "model": "n"}]},
        "price": {"perMillionInputTokens": 0.15, "currency": "USD"},
        "injection": {"port": 9001, "adminPort": 9002, "resources": {"limits": {"memory": "1Gi"}}},
        "network": {"allowFrom": [{"podSelector": {}}], "allowMetricsFrom": [{"namespaceSelector": {}}]},
    });
    trial(&proxy("largest", &largest)).map(|_| ())
}

/// Every message of a rule in the definition.
fn messages(schema: &Value, found: &mut BTreeSet<String>) {
    let rules = schema.get("x-kubernetes-validations").and_then(Value::as_array);
    for rule in rules.into_iter().flatten() {
        // Rules about a change need two versions of a proxy: a case of their own.
        if !text(rule, "/rule").contains("oldSelf") {
            found.insert(text(rule, "/message").to_owned());
        }
    }
    match schema {
        Value::Object(map) => map.values().for_each(|value| messages(value, found)),
        Value::Array(list) => list.iter().for_each(|value| messages(value, found)),
        _ => {}
    }
}

fn rules(_: &World) -> Result<()> {
    let crd = get("default", &["crd", "liquidmemoryproxies.liquidmemory.dev"])?;
    let mut open = BTreeSet::new();
    messages(crd.pointer("/spec/versions").context("no versions")?, &mut open);
    ensure!(open.len() > 20, "only {} rules", open.len());
    let rules = open.len();
    let wrong = [wrong(), wrong_gateways_and_scalings()].concat();
    let mut objects = wrong.iter().map(|spec| proxy("wrong", spec)).collect::<Vec<_>>();
    objects.push(proxy(&"x".repeat(41), &json!({})));
    for object in objects {
        let refusal = trial(&object).err().map(|error| error.to_string());
        let refusal = refusal.with_context(|| format!("accepted: {object}"))?;
        let before = open.len();
        open.retain(|message| !refusal.contains(message.as_str()));
        ensure!(
            before >= open.len() && refusal.contains("is invalid"),
            "not a rule: {refusal}"
        );
    }
    println!("\n    {} of {rules} rules refused something", rules - open.len());
    ensure!(open.is_empty(), "these rules refused nothing: {open:?}");
    Ok(())
}

fn immutable(_: &World) -> Result<()> {
    apply(&proxy("fixed", &json!({"workers": {"replicas": 0}})))?;
    let change = apply(&proxy("fixed", &json!({"injection": {"port": 9001}})));
    let refusal = change.err().map(|error| error.to_string()).unwrap_or_default();
    ensure!(
        refusal.contains("cannot change"),
        "the port could change: {refusal}"
    );
    Ok(())
}

/// `kubectl scale` and what autoscalers use.
fn scales(_: &World) -> Result<()> {
    let scale = ["scale", "lmp/fixed", "--namespace", NAMESPACE, "--replicas=1"];
    kubectl(&scale)?;
    let path =
        format!("/apis/liquidmemory.dev/v1alpha1/namespaces/{NAMESPACE}/liquidmemoryproxies/fixed/scale");
    let scale = serde_json::from_str::<Value>(&crate::kubectl::raw(&path)?)?;
    ensure!(
        scale.pointer("/spec/replicas") == Some(&json!(1)),
        "no scale: {scale}"
    );
    crate::kubectl::delete_namespace(NAMESPACE)
}
