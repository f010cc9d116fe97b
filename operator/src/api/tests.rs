#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod gateway_and_scaling;

use std::collections::BTreeSet;

use kube::core::DeserializeGuard;
use kube::core::cel::{validate_cel, validate_cel_update};
use serde_json::{Value, json};

use super::definition::yaml;
use super::extraction::Tier;
use super::policy::Mode;
use super::synthesis::Provider;
use super::{LiquidMemoryProxy, reference};

fn folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds")
}

fn proxy(spec: Value) -> LiquidMemoryProxy {
    let object = json!({
        "apiVersion": "liquidmemory.dev/v1alpha1",
        "kind": "LiquidMemoryProxy",
        "metadata": { "name": "docs", "namespace": "legal" },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

#[test]
fn the_definition_is_not_stale() {
    let stored = std::fs::read_to_string(folder().join("liquidmemoryproxies.yaml")).unwrap_or_default();
    assert!(
        stored == yaml().unwrap(),
        "run `cargo xtask crds` and commit crds/"
    );
}

#[test]
fn the_reference_is_not_stale() {
    let stored = std::fs::read_to_string(folder().join("README.md")).unwrap_or_default();
    assert!(
        stored == reference::markdown(),
        "run `cargo xtask crds` and commit crds/"
    );
}

#[test]
fn an_empty_spec_has_every_default() {
    let proxy = proxy(json!({}));
    assert_eq!(proxy.spec, super::LiquidMemoryProxySpec::default());
    // What the schema gives by default is the same.
    let written = serde_json::to_value(&proxy.spec).unwrap();
    assert_eq!(
        written["extraction"]["budget"],
        json!({ "ratio": 5.5, "furtherRatio": 20.0 })
    );
    let definition = serde_json::to_value(super::definition::definition()).unwrap();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    for (group, default) in written.as_object().unwrap() {
        assert_eq!(&schema["properties"][group]["default"], default, "{group}");
    }
}

#[test]
fn numbers_survive_the_guard_of_watches() {
    let text = r#"{"apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "docs"}, "spec": {"extraction": {"budget": {"ratio": 7.25}}}}"#;
    let guard: DeserializeGuard<LiquidMemoryProxy> = serde_json::from_str(text).unwrap();
    let ratio = guard.0.unwrap().spec.extraction.budget.ratio.unwrap();
    assert!((ratio.value() - 7.25).abs() < 1e-9);
}

#[test]
fn a_resource_that_does_not_fit_keeps_its_name() {
    let text = r#"{"apiVersion": "liquidmemory.dev/v1alpha1", "kind": "LiquidMemoryProxy",
        "metadata": {"name": "docs"}, "spec": {"workers": {"replicas": "three"}}}"#;
    let guard: DeserializeGuard<LiquidMemoryProxy> = serde_json::from_str(text).unwrap();
    let invalid = guard.0.unwrap_err();
    assert_eq!(invalid.metadata.name.as_deref(), Some("docs"));
}

fn rules(new: &LiquidMemoryProxy, old: Option<&LiquidMemoryProxy>) -> Result<(), String> {
    let checked = match old {
        Some(old) => validate_cel_update(new, old),
        None => validate_cel(new),
    };
    checked.map_err(|errors| errors.to_string())
}

/// The messages with which the rules refuse this spec, as the API server would.
fn refused(spec: Value) -> String {
    rules(&proxy(spec), None).err().unwrap_or_default()
}

/// A language model with these fields besides its source.
fn decoder(mut fields: Value) -> Value {
    fields["source"] = json!({"image": {"path": "/models/decoder"}});
    fields
}

#[test]
fn every_rule_refuses_and_names_the_remedy() {
    let cases = [
        (json!({"workers": {"replicas": 101}}), "make a second proxy"),
        (json!({"workers": {"replicas": -1}}), "make a second proxy"),
        (
            json!({"workers": {"gpu": {}, "resourceClaims": [{"name": "gpu"}]}}),
            "keep the one",
        ),
        (json!({"workers": {"startSeconds": 1}}), "reading its model"),
        (json!({"workers": {"drainSeconds": 0}}), "running extractions"),
        (json!({"workers": {"gpu": {"count": 0}}}), "leave gpu out"),
        (
            json!({"workers": {"gpu": {"resourceName": "gpu"}}}),
            "kubectl describe node",
        ),
        (json!({"extraction": {"minDocumentTokens": -1}}), "every document"),
        (json!({"extraction": {"deadlineMilliseconds": 1}}), "50 to 60000"),
        (
            json!({"extraction": {"deadlinePerMebibyteMilliseconds": -1}}),
            "0 to 60000",
        ),
        (json!({"extraction": {"budget": {}}}), "remove the others"),
        (
            json!({"extraction": {"budget": {"ratio": 2, "maxTokens": 100}}}),
            "remove the others",
        ),
        (json!({"extraction": {"budget": {"ratio": 0.5}}}), "1 to 1000"),
        (
            json!({"extraction": {"budget": {"maxTokens": 1}}}),
            "50 to 1000000",
        ),
        (
            json!({"extraction": {"budget": {"ratio": 2, "furtherRatio": 0.5}}}),
            "one word in twenty or more",
        ),
        (json!({"extraction": {"budget": {"furtherRatio": 9}}}), "set one"),
        (
            json!({"extraction": {"budget": {"auto": {"floor": 1.5}}}}),
            "above 0, at most 1",
        ),
        (
            json!({"extraction": {"budget": {"auto": {"minRatio": 9, "maxRatio": 3}}}}),
            "swap or correct",
        ),
        (json!({"model": {"sha256": "abc"}}), "sha256sum manifest.json"),
        (json!({"model": {"source": {}}}), "remove the others"),
        (
            json!({"model": {"ranker": {"path": ""}}}),
            "such as /models/liquid-ranker",
        ),
        (
            json!({"model": {"ranker": {"path": "liquid-ranker"}}}),
            "an absolute folder where",
        ),
        (
            json!({"model": {"ranker": {"path": "/a", "sha256": "abc"}}}),
            "prints for the ranker's folder",
        ),
        (
            json!({"model": {"ranker": {"path": "/a"}, "source": {"ociImage": {"reference": "a"}}}}),
            "without the first '/'",
        ),
        (
            json!({"model": {"source": {"image": {}, "ociImage": {"reference": "a"}}}}),
            "remove the others",
        ),
        (
            json!({"model": {"source": {"image": {"path": "models"}}}}),
            "absolute folder",
        ),
        (
            json!({"model": {"source": {"persistentVolumeClaim": {"claimName": ""}}}}),
            "name a claim",
        ),
        (
            json!({"model": {"source": {"persistentVolumeClaim": {"claimName": "a", "path": "../b"}}}}),
            "below the volume's root",
        ),
        (
            json!({"model": {"source": {"ociImage": {"reference": ""}}}}),
            "name an image",
        ),
        (
            json!({"model": {"source": {"ociImage": {"reference": "a", "path": "/b"}}}}),
            "below the image's root",
        ),
        (json!({"policy": {"minSaving": 1}}), "below 1"),
        (json!({"policy": {"minSavedTokens": -1}}), "takes every saving"),
        (json!({"policy": {"tools": {"": "Keep"}}}), "read_* for several"),
        (
            json!({"policy": {"tools": {"web_search": "Auto", "read file": "Keep"}}}),
            "read_* for several",
        ),
        (json!({"policy": {"cachedPrefix": {"read": 2}}}), "price list"),
        (
            json!({"policy": {"cachedPrefix": {"ttlSeconds": 0}}}),
            "keeps a prefix",
        ),
        (
            json!({"synthesis": {"fallbacks": [{"provider": "vllm", "model": "a"}]}}),
            "need spec.synthesis.model",
        ),
        (json!({"synthesis": {"provider": "azure"}}), "API's version"),
        (
            json!({"synthesis": {"provider": "local", "secretRef": {"name": "a"}}}),
            "remove baseURL",
        ),
        (
            json!({"synthesis": {"baseURL": "llm.example"}}),
            "https:// or http://",
        ),
        (
            json!({"synthesis": {"baseURL": "https://user:password@llm.example/v1"}}),
            "no user, password or query",
        ),
        (
            json!({"synthesis": {"baseURL": "https://llm.example/v1?version=1"}}),
            "no user, password or query",
        ),
        (
            json!({"synthesis": {"secretRef": {"name": ""}}}),
            "fill in name and key",
        ),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [{"provider": "azure", "model": "a"}]}}),
            "fallbacks[].baseURL is needed",
        ),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [
                {"provider": "vllm", "model": "a", "baseURL": "x"},
            ]}}),
            "fallbacks[].baseURL starts",
        ),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [
                {"provider": "vllm", "model": "a", "baseURL": "https://user@llm.example/v1"},
            ]}}),
            "fallbacks[].baseURL starts",
        ),
        (
            json!({"synthesis": {"provider": "liquid", "baseURL": "http://llm/v1"}, "decoder": decoder(json!({}))}),
            "no server of its own",
        ),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [
                {"provider": "liquid", "model": "m", "secretRef": {"name": "a"}},
            ]}, "decoder": decoder(json!({"name": "m"}))}),
            "fallbacks[].provider liquid",
        ),
        (json!({"synthesis": {"provider": "liquid"}}), "add spec.decoder"),
        (json!({"extraction": {"packStyle": "Facts"}}), "add spec.decoder"),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [{"provider": "liquid", "model": "m"}]}}),
            "add spec.decoder",
        ),
        (
            json!({"synthesis": {"provider": "liquid", "model": "a"}, "decoder": decoder(json!({"name": "m"}))}),
            "the same name",
        ),
        (
            json!({"synthesis": {"provider": "liquid", "model": "a"}, "decoder": decoder(json!({}))}),
            "the same name",
        ),
        (
            json!({"synthesis": {"model": "a", "fallbacks": [{"provider": "liquid", "model": "a"}]},
                "decoder": decoder(json!({"name": "m"}))}),
            "the same name",
        ),
        (json!({"decoder": {"source": {}}}), "remove the others"),
        (
            json!({"decoder": {"source": {"image": {"path": "m"}}}}),
            "absolute folder",
        ),
        (
            json!({"decoder": {"source": {"image": {"path": "/m"}, "persistentVolumeClaim": {"claimName": "a"}}}}),
            "remove the others",
        ),
        (
            json!({"decoder": {"source": {"persistentVolumeClaim": {"claimName": ""}}}}),
            "name a claim",
        ),
        (json!({"decoder": decoder(json!({"name": ""}))}), "leave it out"),
        (
            json!({"decoder": decoder(json!({"contextTokens": 1}))}),
            "256 to 10000000",
        ),
        (
            json!({"decoder": decoder(json!({"memoryMebibytes": 1}))}),
            "16 to 4000000",
        ),
        (
            json!({"decoder": decoder(json!({"sequences": 5000}))}),
            "1 to 4096",
        ),
        (json!({"decoder": decoder(json!({"queue": 0}))}), "1 to 65536"),
        (
            json!({"decoder": decoder(json!({"kvPrecision": "Fp8"}))}),
            "set spec.workers.gpu",
        ),
        (
            json!({"workers": {"resourceClaims": []}, "decoder": decoder(json!({"precision": "Bf16"}))}),
            "set spec.workers.gpu",
        ),
        (json!({"injection": {"port": 80}}), "without privileges"),
        (json!({"injection": {"port": 9465}}), "two free ports"),
        (json!({"injection": {"drainSeconds": 0}}), "when a pod stops"),
        (json!({"network": {"allowFrom": [{}]}}), "lets nobody in"),
        (
            json!({"price": {"perMillionInputTokens": 0, "currency": "USD"}}),
            "or leave spec.price out",
        ),
        (
            json!({"price": {"perMillionInputTokens": 2e6, "currency": "USD"}}),
            "or leave spec.price out",
        ),
        (
            json!({"price": {"perMillionInputTokens": 2.5, "currency": "usd"}}),
            "three capital letters",
        ),
        (
            json!({"price": {"perMillionInputTokens": 2.5, "currency": "Dollars"}}),
            "three capital letters",
        ),
    ];
    for (spec, remedy) in cases {
        let refusal = refused(spec.clone());
        assert!(refusal.contains(remedy), "{spec}: {refusal}");
    }
}

#[test]
fn rules_take_what_is_right() {
    for spec in [
        json!({}),
        json!({"workers": {"replicas": 0, "gpu": {}}}),
        json!({"price": {"perMillionInputTokens": 2.5, "currency": "USD"}}),
        json!({"price": {"perMillionInputTokens": 3, "currency": "EUR"}}),
        json!({"workers": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "one"}]}}),
        json!({"extraction": {"budget": {"auto": {}}}}),
        json!({"extraction": {"budget": {"maxTokens": 1500}}}),
        json!({"extraction": {"budget": {"ratio": 8, "furtherRatio": 40}}}),
        json!({"policy": {"tools": {"mcp__*__read": "Keep", "web.search/v2": "Compress", "*": "Auto"}}}),
        json!({"model": {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "minilm"}}}}),
        json!({"model": {"source": {"persistentVolumeClaim": {"claimName": "models"}}}}),
        json!({"model": {"source": {"ociImage": {"reference": "registry.example/model:1"}}}}),
        json!({"model": {"ranker": {"path": "/models/liquid-ranker"}}}),
        json!({"model": {"ranker": {"path": "ranker"}, "source": {"ociImage": {"reference": "registry.example/model:1"}}}}),
        json!({"synthesis": {"provider": "vllm", "baseURL": "http://llm:8000/v1"}}),
        json!({"synthesis": {"provider": "azure", "baseURL": "https://llm.example"}}),
        json!({"synthesis": {"provider": "vllm", "baseURL": "http://[fd00::7]:8000/v1/"}}),
        json!({"synthesis": {"provider": "liquid"}, "decoder": decoder(json!({}))}),
        json!({"extraction": {"packStyle": "Both"}, "decoder": decoder(json!({}))}),
        json!({"synthesis": {"provider": "liquid", "model": "m"}, "decoder": decoder(json!({"name": "m"}))}),
        json!({"synthesis": {"provider": "liquid", "model": "m", "fallbacks": [{"provider": "openai", "model": "a"}]},
            "decoder": decoder(json!({"name": "m", "contextTokens": 8192, "memoryMebibytes": 512, "sequences": 4, "queue": 9}))}),
        json!({"decoder": {"source": {"ociImage": {"reference": "registry.example/m:1"}}}}),
        json!({"workers": {"gpu": {}}, "decoder": decoder(json!({"precision": "Fp8", "kvPrecision": "Fp8"}))}),
        json!({"workers": {"resourceClaims": [{"name": "gpu", "resourceClaimName": "one"}]},
            "decoder": decoder(json!({"kvPrecision": "Bf16"}))}),
        json!({"network": {"allowFrom": [{"namespaceSelector": {}}]}}),
    ] {
        assert_eq!(refused(spec.clone()), "", "{spec}");
    }
}

#[test]
fn ports_cannot_change_and_names_are_short() {
    let (old, new) = (proxy(json!({})), proxy(json!({"injection": {"port": 9000}})));
    let refusal = rules(&new, Some(&old)).unwrap_err();
    assert!(refusal.contains("make a new proxy"), "{refusal}");
    assert_eq!(rules(&old, Some(&old)), Ok(()));
    for name in ["Docs", "1st", "a.b", &"a".repeat(41)] {
        let mut long = proxy(json!({}));
        long.metadata.name = Some(name.into());
        let refusal = rules(&long, None).unwrap_err();
        assert!(refusal.contains("at most 40 lower-case letters"), "{refusal}");
    }
}

#[test]
fn case_36_a_name_that_no_service_can_have_is_refused_with_those_that_are_possible() {
    let refusal = |name: &str| {
        let mut named = proxy(json!({}));
        named.metadata.name = Some(name.into());
        rules(&named, None).err().unwrap_or_default()
    };
    let long = "x".repeat(64);
    for name in [
        "team-finance-quarterly-report-assistant-production-europe-w1",
        "2026-contracts",
        "contracts.v2",
        &long,
        &long[..41],
        "contracts-",
        "-contracts",
        "Contracts",
        "con_tracts",
    ] {
        let refusal = refusal(name);
        assert!(
            refusal.contains("use at most 40 lower-case letters, digits and '-', a letter first"),
            "{name}: {refusal}"
        );
    }
    for name in ["c", "c2", "contracts-2026", &long[..40]] {
        assert_eq!(refusal(name), "", "{name}");
        // The longest of the names that are made of it, and the label.
        let longest = crate::names::sidecar_tls(name)
            .len()
            .max(crate::names::workers(name).len());
        assert!(longest <= 63, "{name}");
    }
}

/// The values of an enum of the definition, by the path of its field below `spec`.
fn values(path: &str) -> Vec<String> {
    let definition = serde_json::to_value(super::definition::definition()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties";
    let values = definition.pointer(&format!("{spec}/{path}/enum")).unwrap();
    serde_json::from_value(values.clone()).unwrap()
}

#[test]
fn providers_are_those_of_the_sidecar() {
    let known = liquid_contract::Provider::ALL.map(|provider| provider.name().to_owned());
    assert_eq!(values("synthesis/properties/provider"), known);
    for name in known {
        let provider: Provider = serde_json::from_value(name.clone().into()).unwrap();
        assert_eq!(provider.to_contract().name(), name);
        let spec = json!({ "synthesis": { "provider": name } });
        let needs_url = provider.to_contract().needs_base_url();
        assert_eq!(refused(spec).contains("baseURL is needed"), needs_url, "{name}");
        let fallback = json!({ "provider": name, "model": "b" });
        let spec = json!({ "synthesis": { "model": "a", "fallbacks": [fallback] } });
        assert_eq!(refused(spec).contains("baseURL is needed"), needs_url, "{name}");
    }
}

#[test]
fn tiers_and_modes_are_those_of_worker_and_sidecar() {
    let names = |path| values(path).into_iter().map(|name| name.to_lowercase());
    let tiers: BTreeSet<String> = names("extraction/properties/tier").collect();
    let known = liquid_contract::Tier::EVIDENCE.map(|tier| tier.name().to_owned());
    assert_eq!(tiers, known.into_iter().chain(["auto".to_owned()]).collect());
    let modes: BTreeSet<String> = names("policy/properties/mode").collect();
    let known = liquid_contract::Mode::ALL.map(|mode| mode.name().to_owned());
    assert_eq!(modes, known.into());
    for tier in [Tier::Lexical, Tier::Static, Tier::Encoder, Tier::Ranker] {
        let name = serde_json::to_value(tier).unwrap();
        let found = tier.to_contract().map(|tier| tier.name().to_owned());
        assert_eq!(found, name.as_str().map(str::to_lowercase));
    }
    for mode in [Mode::Auto, Mode::Off, Mode::Force] {
        let name = serde_json::to_value(mode).unwrap();
        assert_eq!(
            Some(mode.to_contract().name()),
            name.as_str().map(str::to_lowercase).as_deref()
        );
    }
}

/// The ranges that the rules and the sidecar allow, and the message shows.
#[test]
fn ratios_are_those_that_the_sidecar_takes() {
    let (least, most) = liquid_contract::defaults::BUDGET_RATIOS.into_inner();
    let ratio = |ratio: f64| refused(json!({ "extraction": { "budget": { "ratio": ratio } } }));
    assert_eq!((ratio(least), ratio(most)), (String::new(), String::new()));
    for outside in [least - 0.1, most + 0.1] {
        assert!(
            ratio(outside).contains(&format!("{least} to {most}")),
            "{outside}"
        );
    }
}
