//! Specs of proxies, with values on the limits of the rules and between them.

use liquid_contract::Provider;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// Numbers on the limits of the rules, and between them.
fn number(values: &'static [f64]) -> impl Strategy<Value = Value> {
    select(values).prop_map(|value| json!(value))
}

fn whole(values: &'static [i64]) -> impl Strategy<Value = Value> {
    select(values).prop_map(|value| json!(value))
}

fn word(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    select(values).prop_map(|value| json!(value))
}

fn budget() -> impl Strategy<Value = Value> {
    let ratio = number(&[1.0, 1.5, 5.5, 999.5, 1000.0]).prop_map(|ratio| json!({ "ratio": ratio }));
    let tokens = whole(&[50, 1500, 1_000_000]).prop_map(|tokens| json!({ "maxTokens": tokens }));
    let floor = number(&[0.01, 0.95, 1.0]);
    let ratio_limit = || number(&[1.0, 2.0, 20.0, 1000.0]);
    let auto = (floor, ratio_limit(), ratio_limit()).prop_map(
        |(floor, min, max)| json!({ "auto": { "floor": floor, "minRatio": min, "maxRatio": max } }),
    );
    let further = prop::option::of(number(&[1.0, 20.0, 999.5, 1000.0]));
    (prop_oneof![ratio, tokens, auto], further).prop_map(|(mut budget, further)| {
        if let (Some(further), Some(budget)) = (further, budget.as_object_mut()) {
            budget.insert("furtherRatio".into(), further);
        }
        budget
    })
}

fn extraction() -> impl Strategy<Value = Value> {
    (
        word(&["Auto", "Lexical", "Static", "Encoder", "Ranker"]),
        budget(),
        whole(&[0, 1, 2_000, i64::MAX]),
        whole(&[50, 10_000, 60_000]),
        whole(&[0, 1, 60_000]),
    )
        .prop_map(|(tier, budget, least, deadline, more)| {
            json!({
                "tier": tier, "budget": budget, "minDocumentTokens": least, "deadlineMilliseconds": deadline,
                "deadlinePerMebibyteMilliseconds": more,
            })
        })
}

fn cached_prefix() -> impl Strategy<Value = Value> {
    (
        any::<bool>(),
        number(&[0.01, 1.0, 1.25, 10.0, 100.0]),
        number(&[0.0, 0.01, 0.1, 100.0]),
        word(&["Pass", "Coverage"]),
        whole(&[1, 86_400]),
    )
        .prop_map(|(enabled, write, read, instead, ttl)| {
            json!({ "enabled": enabled, "write": write, "read": read, "instead": instead, "ttlSeconds": ttl })
        })
}

/// What happens to documents that would leave whole or unread, and paths on the limits of their rule.
fn leaving() -> impl Strategy<Value = (Value, Value, Vec<&'static str>)> {
    let path = select(&[
        "/embeddings",
        "/audio/speech",
        "/a.b-c_d~e/1",
        "/.",
        "/a/../b",
        "a",
        "/",
        "/a b",
        "/a/",
    ]);
    (
        word(&["Forward", "Coverage", "Refuse"]),
        word(&["Forward", "Refuse"]),
        prop::collection::vec(path, 0..2),
    )
}

/// Names of tools on the limits of their rule, and what becomes of their results.
fn tools() -> impl Strategy<Value = Value> {
    let name = select(&[
        "web_search",
        "mcp__*__read.page",
        "*",
        "\"'\\#=[a]",
        "a b",
        "",
        "\u{a0}",
        "suche_für",
    ]);
    let mode = word(&["Auto", "Keep", "Compress"]);
    prop::collection::btree_map(name, mode, 0..3).prop_map(|tools| json!(tools))
}

fn policy() -> impl Strategy<Value = Value> {
    (
        word(&["Auto", "Off", "Force"]),
        word(&["Forward", "Reject"]),
        number(&[0.0, 0.2, 0.999]),
        whole(&[0, 500, i64::MAX]),
        (word(&["Pass", "Coverage"]), word(&["Pass", "Coverage"])),
        word(&["Replay", "Untouched"]),
        tools(),
        cached_prefix(),
        leaving(),
    )
        .prop_map(|(mode, unavailable, saving, saved, (question, overview), turns, tools, prefix, leaving)| {
            let (whole, unread, allow) = leaving;
            json!({
                "mode": mode, "onWorkerUnavailable": unavailable, "minSaving": saving, "minSavedTokens": saved,
                "noQuestion": question, "overview": overview, "earlierTurns": turns, "cachedPrefix": prefix,
                "whole": whole, "unread": unread, "unreadAllow": allow, "tools": tools,
            })
        })
}

/// Provider, URL and key: an URL where one is needed, neither for the provider without a server.
fn provider() -> impl Strategy<Value = serde_json::Map<String, Value>> {
    let url = select(&[
        "https://llm.example/v1",
        "http://llm.models.svc:8000/v1/",
        "http://[fd00::1]:8000",
    ]);
    let secret = select(&["llm", "a.b-c"]);
    let chosen = (any::<bool>(), any::<bool>());
    (select(&Provider::ALL), chosen, url, secret).prop_map(|(kind, (with_url, with_secret), url, secret)| {
        let mut entry = serde_json::Map::new();
        entry.insert("provider".into(), json!(kind.name()));
        if kind.needs_base_url() || (with_url && !kind.is_inside()) {
            entry.insert("baseURL".into(), json!(url));
        }
        if with_secret && !kind.is_inside() {
            entry.insert("secretRef".into(), json!({ "name": secret, "key": "k.e-y" }));
        }
        entry
    })
}

fn synthesis() -> impl Strategy<Value = Value> {
    let model = || word(&["m", "org/model:7b", "ü \" \\ '", "/"]);
    let fallback = (provider(), model()).prop_map(|(mut entry, model)| {
        entry.insert("model".into(), model);
        Value::Object(entry)
    });
    let fallbacks = prop::collection::vec(fallback, 0..3);
    (provider(), prop::option::of((model(), fallbacks))).prop_map(|(mut entry, chosen)| {
        if let Some((model, fallbacks)) = chosen {
            entry.insert("model".into(), model);
            entry.insert("fallbacks".into(), fallbacks.into());
        }
        Value::Object(entry)
    })
}

fn model() -> impl Strategy<Value = Value> {
    let source = prop_oneof![
        Just(json!({ "image": { "path": "/models/own" } })),
        Just(json!({ "persistentVolumeClaim": { "claimName": "models" } })),
        Just(json!({ "ociImage": { "reference": "registry.example/m:1", "path": "a/b" } })),
    ];
    let sum = prop::option::of(Just("0a".repeat(32)));
    (source, sum).prop_map(|(source, sum)| match sum {
        Some(sum) => json!({ "source": source, "sha256": sum }),
        None => json!({ "source": source }),
    })
}

/// A language model, all of its numbers on the limits of the rules or none given.
fn decoder() -> impl Strategy<Value = Value> {
    let source = prop_oneof![
        Just(json!({ "image": { "path": "/models/decoder" } })),
        Just(json!({ "persistentVolumeClaim": { "claimName": "models", "path": "small" } })),
        Just(json!({ "ociImage": { "reference": "registry.example/llm:1" } })),
    ];
    let numbers = (
        whole(&[256, 8192, 10_000_000]),
        whole(&[16, 1024, 4_000_000]),
        whole(&[1, 16, 4096]),
        whole(&[1, 64, 65_536]),
    );
    // A model that the first choice or a fallback names is the decoder's.
    let name = prop::option::of(word(&["m", "org/model:7b"]));
    let precision = || word(&["Bf16", "Fp8"]);
    let precisions = prop::option::of((precision(), precision()));
    (source, name, prop::option::of(numbers), precisions).prop_map(|(source, name, numbers, precisions)| {
        let mut decoder = json!({ "source": source });
        if let Some(name) = name {
            decoder["name"] = name;
        }
        if let Some((tokens, memory, sequences, queue)) = numbers {
            decoder["contextTokens"] = tokens;
            decoder["memoryMebibytes"] = memory;
            decoder["sequences"] = sequences;
            decoder["queue"] = queue;
        }
        if let Some((precision, kv_precision)) = precisions {
            decoder["precision"] = precision;
            decoder["kvPrecision"] = kv_precision;
        }
        decoder
    })
}

/// Makes the spec of a proxy; the definition refuses some of them.
pub(super) fn spec() -> impl Strategy<Value = Value> {
    let ports = (whole(&[1024, 8787, 65_535]), whole(&[1024, 9465, 65_535]));
    let drains = (whole(&[1, 25, 3600]), whole(&[1, 25, 3600]));
    (
        extraction(),
        policy(),
        prop::option::of(synthesis()),
        model(),
        prop::option::of(decoder()),
        ports,
        drains,
    )
        .prop_map(
            |(extraction, policy, synthesis, model, decoder, (port, admin), (sidecar, worker))| {
                let mut workers = json!({ "drainSeconds": worker });
                if decoder.as_ref().is_some_and(|decoder| decoder.get("precision").is_some()) {
                    workers["gpu"] = json!({});
                }
                json!({
                    "extraction": extraction, "policy": policy, "synthesis": synthesis, "model": model, "decoder": decoder,
                    "workers": workers,
                    "injection": { "port": port, "adminPort": admin, "drainSeconds": sidecar },
                })
            },
        )
}
