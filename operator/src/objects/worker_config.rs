//! `worker.toml`: the workers' configuration. They read it at their start, so a change of it is a rollout.

use std::net::SocketAddr;

use liquid_contract::{Tier, files, ports};
use serde::Serialize;

use super::meta::ProxyRef;
use super::models::ModelMount;
use super::{BuildError, Platform};
use crate::api::LiquidMemoryProxy;
use crate::api::decoder::DecoderPrecision;
use crate::names;

/// How long a stopping worker still takes requests, in seconds: until DNS and sidecars have noticed.
pub(super) const NOTICE_SECONDS: i32 = 5;

#[derive(Serialize)]
struct Config<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tiers: &'a [&'a str],
    grpc: Listen,
    admin: Listen,
    tls: Tls,
    model: Option<Model<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decoder: Option<Decoder<'a>>,
    drain: Drain,
    log: Log,
}

#[derive(Serialize)]
struct Listen {
    listen: SocketAddr,
}

#[derive(Serialize)]
struct Tls {
    cert_file: String,
    key_file: String,
    client_ca_file: String,
    client_identities: [String; 1],
}

#[derive(Default, Serialize)]
struct Model<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranker_sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verify: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
}

#[derive(Serialize)]
struct Decoder<'a> {
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequences: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kv_precision: Option<&'static str>,
}

#[derive(Serialize)]
struct Drain {
    notice_ms: i32,
    timeout_ms: i32,
}

#[derive(Serialize)]
struct Log {
    format: &'static str,
}

/// Returns true if the workers read a model.
pub(super) fn uses_model(proxy: &LiquidMemoryProxy) -> bool {
    proxy.spec.extraction.tier.needs_model()
}

/// Renders `worker.toml`.
///
/// # Errors
/// [`BuildError::Toml`], which would be a fault of the writer.
pub(super) fn render_worker_toml(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
) -> Result<String, BuildError> {
    let tls = |file: &str| format!("{}/{file}", files::TLS_FOLDER);
    let listen = |port: u16| Listen {
        listen: SocketAddr::new(platform.any_address, port),
    };
    let model = build_model(proxy);
    let (has_model, model) = (model.is_some(), sign_model(model, proxy, platform));
    let config = Config {
        tiers: match (
            has_model,
            proxy.spec.extraction.pack_style.to_contract().has_facts(),
        ) {
            (true, _) => &[],
            (false, false) => &[Tier::Lexical.name()],
            (false, true) => &[Tier::Lexical.name(), Tier::Decoder.name()],
        },
        grpc: listen(ports::WORKER),
        admin: listen(ports::WORKER_ADMIN),
        tls: Tls {
            cert_file: tls(files::CERTIFICATE),
            key_file: tls(files::KEY),
            client_ca_file: tls(files::AUTHORITIES),
            client_identities: [names::sidecar_identity(owner.namespace, owner.name)],
        },
        model,
        decoder: build_decoder(proxy),
        drain: Drain {
            notice_ms: NOTICE_SECONDS * 1_000,
            timeout_ms: proxy.spec.workers.drain_seconds * 1_000,
        },
        log: Log { format: "json" },
    };
    toml::to_string(&config).map_err(|error| BuildError::Toml("workers", error))
}

fn build_model(proxy: &LiquidMemoryProxy) -> Option<Model<'_>> {
    let (mount, ranker) = (ModelMount::of_model(proxy)?, proxy.spec.model.ranker.as_ref());
    Some(Model {
        folder: Some(mount.model_folder()),
        sha256: proxy.spec.model.sha256.as_deref(),
        ranker: ranker.map(|ranker| mount.folder_of(&ranker.path)),
        ranker_sha256: ranker.and_then(|ranker| ranker.sha256.as_deref()),
        ..Model::default()
    })
}

/// Adds the key that has to have signed what the workers load. It is written only where one has to: workers of earlier
/// versions do not know it.
fn sign_model<'a>(
    model: Option<Model<'a>>,
    proxy: &LiquidMemoryProxy,
    platform: &Platform,
) -> Option<Model<'a>> {
    let Some(key) = platform.model_public_key else {
        return model;
    };
    if model.is_none() && proxy.spec.decoder.is_none() {
        return None;
    }
    Some(Model {
        verify: Some("required"),
        public_key: Some(key.to_string()),
        ..model.unwrap_or_default()
    })
}

/// Builds the section of the language model. What is not set is left to the worker, so that its defaults are its own.
fn build_decoder(proxy: &LiquidMemoryProxy) -> Option<Decoder<'_>> {
    let (mount, decoder) = (ModelMount::of_decoder(proxy)?, proxy.spec.decoder.as_ref()?);
    Some(Decoder {
        folder: mount.model_folder(),
        name: decoder.name.as_deref(),
        context_tokens: decoder.context_tokens,
        memory_bytes: decoder.memory_mebibytes.map(|mebibytes| mebibytes << 20),
        sequences: decoder.sequences,
        queue: decoder.queue,
        precision: decoder.precision.map(DecoderPrecision::name),
        kv_precision: decoder.kv_precision.map(DecoderPrecision::name),
    })
}
