//! Proxies, what the operator makes of them, and the loaders of sidecar and worker.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::ConfigMap;
use liquid_contract::files;
use liquid_operator::api::{LiquidMemoryProxy, PodUser, PullPolicy};
use liquid_operator::names;
use liquid_operator::objects::{Objects, Platform};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A text of the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn platform() -> Platform {
    Platform {
        namespace: "liquid-memory".into(),
        sidecar_image: "registry.example/liquid-sidecar:0.1.0".into(),
        worker_image: "registry.example/liquid-worker:0.1.0".into(),
        pull_policy: PullPolicy::IfNotPresent,
        pull_secrets: Vec::new(),
        pod_user: PodUser::Fixed,
        model_public_key: None,
        operator_host: "liquid-operator.liquid-memory.svc.cluster.local".into(),
        cluster_domain: "cluster.local".into(),
        any_address: Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// The proxy `docs` in the namespace `legal`, as an API server stores it.
pub(crate) fn proxy(spec: Value) -> LiquidMemoryProxy {
    let object = json!({
        "apiVersion": "liquidmemory.dev/v1alpha1",
        "kind": "LiquidMemoryProxy",
        "metadata": { "name": "docs", "namespace": "legal", "uid": "0b8c", "generation": 1 },
        "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

/// A spec that sets what can be set.
pub(crate) fn everything() -> Value {
    json!({
        "workers": { "replicas": 3, "gpu": { "count": 2 }, "startSeconds": 900, "drainSeconds": 60 },
        "extraction": {
            "tier": "Encoder",
            "budget": { "auto": { "floor": 0.9, "minRatio": 3, "maxRatio": 12.5 }, "furtherRatio": 33 },
            "minDocumentTokens": 500,
            "deadlineMilliseconds": 5000,
            "deadlinePerMebibyteMilliseconds": 2000,
        },
        "model": {
            "source": { "ociImage": { "reference": "registry.example/liquid-model-minilm:0.1.0", "path": "m" } },
            "sha256": "ab".repeat(32),
        },
        "decoder": {
            "source": { "ociImage": { "reference": "registry.example/llm:0.1.0", "path": "small" } },
            "name": "small",
            "contextTokens": 4096,
            "memoryMebibytes": 2048,
            "sequences": 4,
            "queue": 8,
        },
        "policy": {
            "mode": "Force",
            "onWorkerUnavailable": "Reject",
            "minSaving": 0.4,
            "minSavedTokens": 77,
            "noQuestion": "Coverage",
            "overview": "Coverage",
            "earlierTurns": "Untouched",
            "whole": "Refuse",
            "unread": "Refuse",
            "unreadAllow": ["/embeddings", "/audio/speech"],
            "tools": { "read_*": "Keep", "web.search": "Compress", "*": "Auto" },
            "cachedPrefix": { "enabled": false, "write": 2, "read": 0.5, "instead": "Coverage", "ttlSeconds": 60 },
        },
        "synthesis": {
            "provider": "vllm",
            "model": "qwen/qwen3",
            "baseURL": "http://llm.models.svc:8000/v1",
            "secretRef": { "name": "vllm", "key": "token" },
            "fallbacks": [
                { "provider": "openai", "model": "gpt-5", "secretRef": { "name": "openai" } },
                { "provider": "anthropic", "model": "claude-sonnet-4-5" },
                { "provider": "liquid", "model": "small" },
                { "provider": "local", "model": "extractive" },
            ],
        },
        "injection": { "port": 9000, "adminPort": 9001, "drainSeconds": 40 },
    })
}

/// Name of the gateway's configuration here: in its pod it is [`files::SIDECAR_CONFIG`].
const GATEWAY_CONFIG: &str = "gateway.toml";

/// The files of one proxy in a folder, as in the pods, and the keys of its providers.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// What the operator renders for this proxy. Keys, which Secrets would bring, are made here, and the paths to them
    /// in `sidecar.toml` lead here.
    pub(crate) fn render(proxy: &LiquidMemoryProxy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().to_str().unwrap();
        let objects = Objects::build(proxy, &platform()).unwrap();
        let secrets = proxy
            .spec
            .synthesis
            .iter()
            .flat_map(|synthesis| synthesis.list_secrets());
        for secret in secrets {
            let path = names::key_file(&secret.name, &secret.key);
            let path = path.replace(names::KEYS_FOLDER, here);
            std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
            std::fs::write(path, "secret").unwrap();
        }
        let sidecar = entry(&objects.sidecar_config, files::SIDECAR_CONFIG);
        let sidecar = sidecar.replace(names::KEYS_FOLDER, here);
        std::fs::write(folder.path().join(files::SIDECAR_CONFIG), sidecar).unwrap();
        if let Some(gateway) = &objects.gateway {
            let gateway = entry(&gateway.config, files::SIDECAR_CONFIG);
            let gateway = gateway.replace(names::KEYS_FOLDER, here);
            std::fs::write(folder.path().join(GATEWAY_CONFIG), gateway).unwrap();
        }
        let worker = entry(&objects.worker_config, files::WORKER_CONFIG);
        std::fs::write(folder.path().join(files::WORKER_CONFIG), worker).unwrap();
        Self { folder }
    }

    /// The text of `sidecar.toml`.
    pub(crate) fn sidecar_text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join(files::SIDECAR_CONFIG)).unwrap()
    }

    /// The gateway's `sidecar.toml` as the sidecar reads it; none where the proxy has no gateway.
    pub(crate) fn gateway(&self) -> Option<Result<liquid_sidecar::config::Config, String>> {
        let path = self.folder.path().join(GATEWAY_CONFIG);
        let read = || liquid_sidecar::config::load_with(Some(&path), Vec::new());
        path.exists().then(|| read().map_err(|error| error.to_string()))
    }

    /// `sidecar.toml` as the sidecar reads it, with these variables in its environment.
    pub(crate) fn sidecar(
        &self,
        variables: Vec<(String, String)>,
    ) -> Result<liquid_sidecar::config::Config, String> {
        let path = self.folder.path().join(files::SIDECAR_CONFIG);
        liquid_sidecar::config::load_with(Some(&path), variables).map_err(|error| error.to_string())
    }

    /// `worker.toml` as the worker reads it.
    pub(crate) fn worker(&self) -> Result<liquid_worker::config::Config, String> {
        let path = self.folder.path().join(files::WORKER_CONFIG);
        liquid_process::config::load_with(Some(&path), Vec::new()).map_err(|error| error.to_string())
    }
}

/// The one entry of a ConfigMap, which must have this name.
fn entry(config: &ConfigMap, name: &str) -> String {
    let data = config.data.as_ref().unwrap();
    assert_eq!(data.keys().collect::<Vec<_>>(), [name]);
    data[name].clone()
}
