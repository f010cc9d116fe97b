#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod changes;
mod gateway;
mod network;
mod scaling;

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use serde_json::{Value, json};

use super::{Inputs, Objects, Platform};
use crate::api::{LiquidMemoryProxy, PodUser, PullPolicy};

fn platform() -> Platform {
    Platform {
        namespace: "liquid-memory".into(),
        sidecar_image: "registry.example/liquid-sidecar:0.1.0".into(),
        worker_image: "registry.example/liquid-worker:0.1.0".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: vec!["registry".into()],
        pod_user: PodUser::Fixed,
        model_public_key: None,
        operator_host: "liquid-operator.liquid-memory.svc.cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        any_address: Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn proxy(spec: Value) -> LiquidMemoryProxy {
    let object = json!({
        "apiVersion": "liquidmemory.dev/v1alpha1",
        "kind": "LiquidMemoryProxy",
        "metadata": { "name": "docs", "namespace": "legal", "uid": "0b8c", "generation": 1 },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn build(spec: Value) -> Objects {
    Objects::build(&proxy(spec), &platform()).unwrap()
}

fn yaml(object: &impl Serialize) -> String {
    serde_saphyr::to_string(object).unwrap()
}

fn file(config: &k8s_openapi::api::core::v1::ConfigMap) -> String {
    config.data.clone().unwrap().into_values().collect()
}

/// A proxy that uses what there is.
fn everything() -> Value {
    json!({
        "workers": {
            "replicas": 3,
            "image": "registry.example/own-worker@sha256:00",
            "resources": { "requests": { "cpu": "4" }, "limits": { "memory": "16Gi" } },
            "gpu": { "count": 2 },
            "nodeSelector": { "pool": "gpu" },
            "tolerations": [{ "key": "spot", "operator": "Exists" }],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "topology.kubernetes.io/zone",
                    "whenUnsatisfiable": "DoNotSchedule",
                },
            ],
            "runtimeClassName": "nvidia",
            "priorityClassName": "high",
            "startSeconds": 900,
            "drainSeconds": 60,
        },
        "extraction": {
            "tier": "Encoder",
            "budget": { "auto": { "floor": 0.9 }, "furtherRatio": 30 },
            "minDocumentTokens": 500,
            "deadlineMilliseconds": 5000,
            "deadlinePerMebibyteMilliseconds": 2000,
        },
        "model": {
            "source": {
                "ociImage": { "reference": "registry.example/liquid-model-minilm:0.1.0", "path": "m" },
            },
            "sha256": "ab".repeat(32),
        },
        "policy": {
            "mode": "Force",
            "onWorkerUnavailable": "Reject",
            "noQuestion": "Coverage",
            "earlierTurns": "Untouched",
            "tools": { "read_*": "Keep", "web_search": "Compress", "*": "Auto" },
            "cachedPrefix": { "enabled": false, "ttlSeconds": 60 },
        },
        "synthesis": {
            "provider": "vllm",
            "model": "qwen/qwen3",
            "baseURL": "http://llm.models.svc:8000/v1",
            "fallbacks": [
                { "provider": "openai", "model": "gpt-5", "secretRef": { "name": "openai" } },
                { "provider": "anthropic", "model": "claude-sonnet-4-5" },
            ],
        },
        "injection": { "port": 9000, "adminPort": 9001, "drainSeconds": 40 },
        "network": {
            "allowFrom": [{ "namespaceSelector": { "matchLabels": { "team": "search" } } }],
            "allowMetricsFrom": [
                { "namespaceSelector": {}, "podSelector": { "matchLabels": { "app": "prometheus" } } },
            ],
        },
    })
}

#[test]
fn an_empty_spec() {
    let objects = build(json!({}));
    insta::assert_snapshot!("empty_deployment", yaml(&objects.deployment));
    insta::assert_snapshot!("empty_worker_toml", file(&objects.worker_config));
    insta::assert_snapshot!("empty_sidecar_toml", file(&objects.sidecar_config));
    insta::assert_snapshot!("empty_service", yaml(&objects.service));
    insta::assert_snapshot!("empty_budget", yaml(&objects.budget));
    insta::assert_snapshot!("empty_network", yaml(&objects.network));
    insta::assert_snapshot!("empty_account", yaml(&objects.service_account));
    insta::assert_snapshot!("empty_worker_config", yaml(&objects.worker_config));
}

#[test]
fn a_spec_with_everything() {
    let objects = build(everything());
    insta::assert_snapshot!("full_deployment", yaml(&objects.deployment));
    insta::assert_snapshot!("full_worker_toml", file(&objects.worker_config));
    insta::assert_snapshot!("full_sidecar_toml", file(&objects.sidecar_config));
    insta::assert_snapshot!("full_network", yaml(&objects.network));
}

#[test]
fn the_model_on_a_claim_is_mounted_read_only() {
    let source = json!({ "persistentVolumeClaim": { "claimName": "models", "path": "minilm" } });
    let objects = build(json!({ "model": { "source": source } }));
    assert!(file(&objects.worker_config).contains("folder = \"/etc/liquid/model/minilm\""));
    let pod = objects.deployment.spec.unwrap().template.spec.unwrap();
    let volume = pod
        .volumes
        .unwrap()
        .into_iter()
        .find(|volume| volume.name == "model")
        .unwrap();
    let claim = volume.persistent_volume_claim.unwrap();
    assert_eq!(
        (claim.claim_name.as_str(), claim.read_only),
        ("models", Some(true))
    );
}

#[test]
fn a_ranker_is_found_where_the_model_is() {
    let claim = json!({ "persistentVolumeClaim": { "claimName": "models", "path": "minilm" } });
    for (source, path, folder) in [
        (claim, "ranker", "/etc/liquid/model/ranker"),
        (
            json!({ "image": {} }),
            "/models/liquid-ranker",
            "/models/liquid-ranker",
        ),
    ] {
        let ranker = json!({ "path": path, "sha256": "ab".repeat(32) });
        let objects = build(json!({ "model": { "source": source, "ranker": ranker } }));
        let text = file(&objects.worker_config);
        assert!(text.contains(&format!("ranker = \"{folder}\"")), "{text}");
        assert!(text.contains("ranker_sha256 = \"abab"), "{text}");
    }
}

#[test]
fn a_decoder_is_mounted_beside_the_model() {
    let model = json!({ "source": { "persistentVolumeClaim": { "claimName": "models", "path": "minilm" } } });
    let image = json!({ "ociImage": { "reference": "registry.example/llm:1", "path": "smollm2" } });
    let decoder = json!({
        "source": image, "name": "small", "contextTokens": 4096, "memoryMebibytes": 512, "sequences": 8, "queue": 20,
        "precision": "Bf16", "kvPrecision": "Fp8",
    });
    let objects = build(json!({
        "workers": { "gpu": {} }, "model": model, "decoder": decoder, "synthesis": { "provider": "liquid" },
    }));
    let text = file(&objects.worker_config);
    let section = "[decoder]\nfolder = \"/etc/liquid/decoder/smollm2\"\nname = \"small\"\ncontext_tokens = 4096\n\
                   memory_bytes = 536870912\nsequences = 8\nqueue = 20\nprecision = \"bf16\"\n\
                   kv_precision = \"fp8\"\n";
    assert!(text.contains(section), "{text}");
    let sidecar = file(&objects.sidecar_config);
    assert!(
        sidecar.contains("[upstream]\nopenai = \"liquid\"\nanthropic = \"liquid\"\n"),
        "{sidecar}"
    );
    let pod = objects.deployment.spec.unwrap().template.spec.unwrap();
    let mounts = pod.containers[0].volume_mounts.clone().unwrap();
    let folders: Vec<&str> = mounts.iter().map(|mount| mount.mount_path.as_str()).collect();
    let models = &folders[folders.len() - 2..];
    assert_eq!(models, ["/etc/liquid/model", "/etc/liquid/decoder"]);
    assert!(mounts.iter().all(|mount| mount.read_only == Some(true)));
    let volume = pod.volumes.unwrap().pop().unwrap();
    let image = volume.image.unwrap();
    assert_eq!(volume.name, "decoder");
    assert_eq!(image.reference.as_deref(), Some("registry.example/llm:1"));
    assert_eq!(image.pull_policy.as_deref(), Some("IfNotPresent"));
}

#[test]
fn a_decoder_of_the_workers_image_needs_no_volume_and_its_sizes_are_the_workers() {
    let decoder = json!({ "source": { "image": { "path": "/models/decoder" } } });
    let objects = build(json!({ "extraction": { "tier": "Lexical" }, "decoder": decoder }));
    let text = file(&objects.worker_config);
    assert!(
        text.contains("[decoder]\nfolder = \"/models/decoder\"\n\n"),
        "{text}"
    );
    assert!(!yaml(&objects.deployment).contains("name: decoder"));
    let policy = |objects: &Objects| yaml(&objects.network);
    assert_eq!(policy(&objects), policy(&build(json!({}))));
}

#[test]
fn the_lexical_tier_needs_no_model() {
    let source = json!({ "persistentVolumeClaim": { "claimName": "models" } });
    let objects = build(json!({ "extraction": { "tier": "Lexical" }, "model": { "source": source } }));
    let text = file(&objects.worker_config);
    assert!(
        text.contains("tiers = [\"lexical\"]") && !text.contains("[model]"),
        "{text}"
    );
    assert!(!yaml(&objects.deployment).contains("persistentVolumeClaim"));
}

#[test]
fn dynamic_resources_are_claimed() {
    let objects =
        build(json!({ "workers": { "resourceClaims": [{ "name": "gpu", "resourceClaimName": "one" }] } }));
    let pod = objects.deployment.spec.unwrap().template.spec.unwrap();
    assert_eq!(
        pod.resource_claims.unwrap()[0].resource_claim_name.as_deref(),
        Some("one")
    );
    let claims = pod.containers[0].resources.clone().unwrap().claims.unwrap();
    assert_eq!(claims[0].name, "gpu");
}

#[test]
fn pods_with_ipv6_addresses_listen_on_those() {
    let platform = Platform {
        any_address: Ipv6Addr::UNSPECIFIED.into(),
        ..platform()
    };
    let objects = Objects::build(&proxy(json!({})), &platform).unwrap();
    let worker = file(&objects.worker_config);
    assert!(worker.contains("[grpc]\nlisten = \"[::]:50051\""), "{worker}");
    assert!(worker.contains("[admin]\nlisten = \"[::]:9464\""), "{worker}");
    let sidecar = file(&objects.sidecar_config);
    assert!(sidecar.contains("admin = \"[::]:9465\""), "{sidecar}");
    // The application's side is the pod's own loopback, which has both families.
    assert!(sidecar.contains("address = \"127.0.0.1:8787\""), "{sidecar}");
}

#[test]
fn one_worker_stops_before_the_next_starts_and_more_give_way_one_by_one() {
    for (replicas, strategy) in [
        (0, "Recreate"),
        (1, "Recreate"),
        (2, "RollingUpdate"),
        (9, "RollingUpdate"),
    ] {
        let spec = build(json!({ "workers": { "replicas": replicas } }))
            .deployment
            .spec
            .unwrap();
        let found = spec.strategy.unwrap();
        assert_eq!(found.type_.as_deref(), Some(strategy), "{replicas}");
        if let Some(rolling) = found.rolling_update {
            let rolling = serde_json::to_value(rolling).unwrap();
            assert_eq!(rolling, json!({ "maxSurge": 0, "maxUnavailable": 1 }));
        }
    }
}

#[test]
fn the_grace_period_holds_notice_and_drain() {
    for drain in [1, 25, 3600] {
        let objects = build(json!({ "workers": { "drainSeconds": drain } }));
        let text = file(&objects.worker_config);
        assert!(text.contains(&format!("timeout_ms = {}", drain * 1000)), "{text}");
        let pod = objects.deployment.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.termination_grace_period_seconds, Some(5 + drain + 5));
    }
}

#[test]
fn no_policy_where_none_is_wanted() {
    assert!(build(json!({ "network": { "policy": false } })).network.is_none());
}

#[test]
fn a_resource_from_nowhere_has_no_objects() {
    let error = Objects::build(&LiquidMemoryProxy::default(), &platform()).unwrap_err();
    assert!(error.to_string().contains("metadata.name"), "{error}");
}

/// The users and groups that a workers' pod template names, and the mode of its certificate's files.
fn users(objects: &Objects) -> (Vec<Option<i64>>, Option<i32>) {
    let pod = objects
        .deployment
        .spec
        .as_ref()
        .unwrap()
        .template
        .spec
        .as_ref()
        .unwrap();
    let context = pod.security_context.as_ref().unwrap();
    assert_eq!(context.run_as_non_root, Some(true));
    let own = pod.containers[0].security_context.as_ref().unwrap();
    assert_eq!((own.run_as_user, own.run_as_group), (None, None));
    let volumes = pod.volumes.as_ref().unwrap();
    let mode = volumes
        .iter()
        .find_map(|volume| volume.secret.as_ref()?.default_mode);
    (
        vec![context.run_as_user, context.run_as_group, context.fs_group],
        mode,
    )
}

#[test]
fn case_34_workers_name_no_user_where_the_platform_assigns_it() {
    let (fixed, assigned) = ((vec![Some(65_532); 3], Some(0o440)), (vec![None; 3], Some(0o444)));
    let openshift = Platform {
        pod_user: PodUser::Platform,
        ..platform()
    };
    let build = |user: Option<&str>, platform: &Platform| {
        let spec = user.map_or_else(|| json!({}), |user| json!({ "workers": { "user": user } }));
        users(&Objects::build(&proxy(spec), platform).unwrap())
    };
    assert_eq!(build(None, &platform()), fixed);
    assert_eq!(build(Some("Platform"), &platform()), assigned);
    assert_eq!(build(None, &openshift), assigned);
    assert_eq!(build(Some("Fixed"), &openshift), fixed);
}

#[test]
fn case_34_a_change_of_the_user_reaches_workers_that_could_not_be_created() {
    let earlier = build(json!({}));
    let openshift = Platform {
        pod_user: PodUser::Platform,
        ..platform()
    };
    let later = Objects::build(&proxy(json!({})), &openshift).unwrap();
    let wanted = later.clone();
    assert_eq!(
        later.keep_live(Some(&earlier.deployment), Some(&earlier.worker_config)),
        wanted
    );
    // To say what holds anyway changes nothing.
    let sum = |spec: Value, pod_user| {
        let platform = Platform {
            pod_user,
            ..platform()
        };
        Inputs::from_proxy(&proxy(spec), &platform).unwrap().sum
    };
    let fixed = json!({ "workers": { "user": "Fixed" } });
    assert_eq!(sum(fixed, PodUser::Fixed), sum(json!({}), PodUser::Fixed));
    let assigned = json!({ "workers": { "user": "Platform" } });
    assert_eq!(sum(assigned, PodUser::Fixed), sum(json!({}), PodUser::Platform));
}
