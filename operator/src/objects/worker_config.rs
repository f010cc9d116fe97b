//! `worker.toml`: the workers' configuration. They read it at their start, so a change of it is a rollout.

use std::net::SocketAddr;

use liquid_contract::{Tier, files, ports};
use serde::Serialize;

use super::meta::ProxyRef;
use super::{BuildError, Platform};
use crate::api::LiquidMemoryProxy;
use crate::api::model::ModelSource;
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

#[derive(Serialize)]
struct Model<'a> {
    folder: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ranker_sha256: Option<&'a str>,
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
    let ranker = proxy.spec.model.ranker.as_ref();
    let model = uses_model(proxy).then(|| Model {
        folder: model_folder(proxy),
        sha256: proxy.spec.model.sha256.as_deref(),
        ranker: ranker.map(|ranker| folder_in_source(&proxy.spec.model.source, &ranker.path)),
        ranker_sha256: ranker.and_then(|ranker| ranker.sha256.as_deref()),
    });
    let config = Config {
        tiers: if model.is_some() {
            &[]
        } else {
            &[Tier::Lexical.name()]
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
        drain: Drain {
            notice_ms: NOTICE_SECONDS * 1_000,
            timeout_ms: proxy.spec.workers.drain_seconds * 1_000,
        },
        log: Log { format: "json" },
    };
    toml::to_string(&config).map_err(|error| BuildError::Toml("workers", error))
}

/// Folder of the model in the pod.
fn model_folder(proxy: &LiquidMemoryProxy) -> String {
    let source = &proxy.spec.model.source;
    let path = match (&source.image, &source.persistent_volume_claim, &source.oci_image) {
        (_, Some(claim), _) => claim.path.as_str(),
        (_, _, Some(image)) => image.path.as_str(),
        (Some(image), _, _) => image.path.as_str(),
        // The definition's rules refuse it.
        (None, None, None) => "",
    };
    folder_in_source(source, path)
}

/// Returns a folder of a source in the pod: `path` itself in the workers' image, else below the volume.
fn folder_in_source(source: &ModelSource, path: &str) -> String {
    let volume = source.persistent_volume_claim.is_some() || source.oci_image.is_some();
    match path {
        "" => names::MODEL_FOLDER.to_owned(),
        path if source.image.is_some() && !volume => path.to_owned(),
        path => format!("{}/{path}", names::MODEL_FOLDER),
    }
}
