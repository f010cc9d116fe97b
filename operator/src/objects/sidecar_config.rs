//! `sidecar.toml`: the sidecars' configuration, watched by them.
//!
//! Sidecars of earlier versions read it too, and refuse keys that they do not know. So a key that a later
//! version adds is written only where the resource uses it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use liquid_contract::{PackStyle, Unread, Whole, defaults, files, ports};
use serde::Serialize;

use super::meta::ProxyRef;
use super::worker_config::NOTICE_SECONDS;
use super::{BuildError, Platform, short_sum};
use crate::api::extraction::Budget;
use crate::api::synthesis::{Provider, SecretKey, Synthesis};
use crate::api::{Decimal, Gateway, LiquidMemoryProxy};
use crate::names::{self, WAKE_PATH};

/// Who reads the configuration.
#[derive(Clone, Copy)]
pub(super) enum SidecarRole<'a> {
    /// Sidecars in pods, each for its pod alone.
    Injected,
    /// The gateway, for the clients that it names.
    Gateway(&'a Gateway),
}

/// A configuration as it is written.
pub(super) struct Rendered {
    /// The file.
    pub(super) text: String,
    /// Checksum of the sections that are read at the start only.
    pub(super) start: String,
}

#[derive(Serialize)]
struct Config {
    #[serde(flatten)]
    start: Start,
    upstream: Upstream,
    policy: Policy,
    extract: Extract,
    #[serde(skip_serializing_if = "Option::is_none")]
    pack: Option<Pack>,
    log: Log,
}

/// What is read at the start only.
#[derive(Serialize)]
struct Start {
    listen: Listen,
    #[serde(skip_serializing_if = "Option::is_none")]
    access: Option<Access>,
    limits: Limits,
}

#[derive(Serialize)]
struct Access {
    clients_folder: &'static str,
}

#[derive(Serialize)]
struct Pack {
    style: &'static str,
}

#[derive(Serialize)]
struct Listen {
    address: String,
    admin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<ListenTls>,
}

#[derive(Serialize)]
struct ListenTls {
    cert_file: String,
    key_file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ca_file: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    client_identities: Vec<String>,
}

#[derive(Serialize)]
struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    notice_ms: Option<i32>,
    drain_ms: i32,
}

#[derive(Default, Serialize)]
struct Upstream {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fallbacks: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    openai: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anthropic: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    providers: BTreeMap<String, ProviderEntry>,
}

#[derive(Serialize)]
struct ProviderEntry {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_file: Option<String>,
}

#[derive(Serialize)]
struct Policy {
    mode: &'static str,
    min_document_tokens: i64,
    min_saving: f64,
    min_saved_tokens: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<&'static str>,
    no_question: &'static str,
    overview: &'static str,
    earlier_turns: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    whole: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unread_allow: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tools: BTreeMap<String, &'static str>,
    budget: BudgetEntry,
    cached_prefix: CachedPrefix,
}

#[derive(Default, Serialize)]
struct BudgetEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    auto: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    further_ratio: Option<f64>,
}

#[derive(Serialize)]
struct CachedPrefix {
    enabled: bool,
    write: f64,
    read: f64,
    instead: &'static str,
    ttl_s: i64,
}

#[derive(Serialize)]
struct Extract {
    workers: [String; 1],
    on_worker_unavailable: &'static str,
    deadline_ms: i64,
    deadline_per_mib_ms: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    wake: Option<Wake>,
    tls: Tls,
}

#[derive(Serialize)]
struct Wake {
    url: String,
    hold_ms: i64,
}

#[derive(Serialize)]
struct Tls {
    ca_file: String,
    cert_file: String,
    key_file: String,
    server_name: String,
}

#[derive(Serialize)]
struct Log {
    format: &'static str,
}

/// Renders `sidecar.toml` for those who read it.
///
/// # Errors
/// [`BuildError::Toml`], which would be a fault of the writer.
pub(super) fn render_sidecar_toml(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
    role: SidecarRole<'_>,
) -> Result<Rendered, BuildError> {
    let start = match role {
        SidecarRole::Injected => build_injected(proxy, platform),
        SidecarRole::Gateway(gateway) => build_gateway(gateway, platform),
    };
    let written = |error| BuildError::Toml("sidecars", error);
    let sum = short_sum(toml::to_string(&start).map_err(written)?.as_bytes());
    let config = Config {
        start,
        upstream: proxy
            .spec
            .synthesis
            .as_ref()
            .map(build_upstream)
            .unwrap_or_default(),
        policy: build_policy(proxy),
        extract: build_extract(proxy, owner, platform),
        pack: Some(proxy.spec.extraction.pack_style.to_contract())
            .filter(|style| *style != PackStyle::default())
            .map(|style| Pack { style: style.name() }),
        log: Log { format: "json" },
    };
    Ok(Rendered {
        text: toml::to_string(&config).map_err(written)?,
        start: sum,
    })
}

fn build_injected(proxy: &LiquidMemoryProxy, platform: &Platform) -> Start {
    let injection = &proxy.spec.injection;
    Start {
        listen: Listen {
            address: format!("127.0.0.1:{}", injection.port),
            admin: format_socket(platform.any_address, injection.admin_port),
            tls: None,
        },
        access: None,
        limits: Limits {
            notice_ms: None,
            drain_ms: injection.drain_seconds * 1_000,
        },
    }
}

fn build_gateway(gateway: &Gateway, platform: &Platform) -> Start {
    let certificates = gateway.clients.certificates.as_ref();
    let listen = |file: &str| format!("{}/{file}", names::LISTEN_FOLDER);
    Start {
        listen: Listen {
            address: format_socket(platform.any_address, ports::SIDECAR.into()),
            admin: format_socket(platform.any_address, ports::SIDECAR_ADMIN.into()),
            tls: gateway.tls.enabled.then(|| ListenTls {
                cert_file: listen(files::CERTIFICATE),
                key_file: listen(files::KEY),
                client_ca_file: certificates
                    .map(|_| format!("{}/{}", names::CLIENT_AUTHORITIES_FOLDER, files::AUTHORITIES)),
                client_identities: certificates
                    .map(|certificates| certificates.identities.clone())
                    .unwrap_or_default(),
            }),
        },
        access: gateway.clients.token_secret.as_ref().map(|_| Access {
            clients_folder: names::CLIENTS_FOLDER,
        }),
        limits: Limits {
            notice_ms: Some(NOTICE_SECONDS * 1_000),
            drain_ms: gateway.drain_seconds * 1_000,
        },
    }
}

/// Formats `address:port`, an IPv6 address in brackets. The definition's rules keep ports in their range.
fn format_socket(address: IpAddr, port: i32) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    }
}

fn build_policy(proxy: &LiquidMemoryProxy) -> Policy {
    let (policy, extraction) = (&proxy.spec.policy, &proxy.spec.extraction);
    Policy {
        mode: policy.mode.to_contract().name(),
        min_document_tokens: extraction.min_document_tokens,
        min_saving: policy.min_saving.value(),
        min_saved_tokens: policy.min_saved_tokens,
        tier: extraction.tier.to_contract().map(|tier| tier.name()),
        no_question: policy.no_question.name(),
        overview: policy.overview.name(),
        earlier_turns: policy.earlier_turns.name(),
        whole: Some(policy.whole.to_contract())
            .filter(|whole| *whole != Whole::default())
            .map(Whole::name),
        unread: Some(policy.unread.to_contract())
            .filter(|unread| *unread != Unread::default())
            .map(Unread::name),
        unread_allow: policy.unread_allow.clone(),
        tools: policy
            .tools
            .iter()
            .map(|(name, mode)| (name.clone(), mode.name()))
            .collect(),
        budget: build_budget(&extraction.budget),
        cached_prefix: CachedPrefix {
            enabled: policy.cached_prefix.enabled,
            write: policy.cached_prefix.write.value(),
            read: policy.cached_prefix.read.value(),
            instead: policy.cached_prefix.instead.name(),
            ttl_s: policy.cached_prefix.ttl_seconds,
        },
    }
}

fn build_budget(budget: &Budget) -> BudgetEntry {
    BudgetEntry {
        ratio: budget.ratio.as_ref().map(Decimal::value),
        max_tokens: budget.max_tokens,
        auto: budget.auto.as_ref().map(|_| true),
        floor: budget.auto.as_ref().map(|auto| auto.floor.value()),
        min_ratio: budget.auto.as_ref().map(|auto| auto.min_ratio.value()),
        max_ratio: budget.auto.as_ref().map(|auto| auto.max_ratio.value()),
        further_ratio: Some(budget.further_ratio.value())
            .filter(|ratio| *ratio != defaults::BUDGET_FURTHER_RATIO),
    }
}

fn build_extract(proxy: &LiquidMemoryProxy, owner: &ProxyRef<'_>, platform: &Platform) -> Extract {
    let host = names::worker_host(owner.namespace, owner.name, &platform.cluster_domain);
    let tls = |file: &str| format!("{}/{file}", files::TLS_FOLDER);
    Extract {
        workers: [format!("{host}:{}", ports::WORKER)],
        on_worker_unavailable: proxy.spec.policy.on_worker_unavailable.name(),
        deadline_ms: proxy.spec.extraction.deadline_milliseconds,
        deadline_per_mib_ms: proxy.spec.extraction.deadline_per_mebibyte_milliseconds,
        wake: proxy.spec.workers.hold_seconds().map(|seconds| Wake {
            url: format!("https://{}{WAKE_PATH}", platform.operator_host),
            hold_ms: i64::from(seconds) * 1_000,
        }),
        tls: Tls {
            ca_file: tls(files::AUTHORITIES),
            cert_file: tls(files::CERTIFICATE),
            key_file: tls(files::KEY),
            server_name: host,
        },
    }
}

/// Builds the upstream. A provider with a URL or key of its own gets an entry of its own, so that two of one
/// kind can differ.
fn build_upstream(synthesis: &Synthesis) -> Upstream {
    let mut providers = BTreeMap::new();
    let mut named = |entry: String, provider: Provider, url: &Option<String>, secret: &Option<SecretKey>| {
        let provider = provider.to_contract();
        if url.is_none() && secret.is_none() {
            return provider.name().to_owned();
        }
        let settings = ProviderEntry {
            kind: provider.name(),
            base_url: url.clone().or_else(|| provider.public_url().map(Into::into)),
            api_key_file: secret.as_ref().map(|key| names::key_file(&key.name, &key.key)),
        };
        providers.insert(entry.clone(), settings);
        entry
    };
    let first = named(
        "synthesis".into(),
        synthesis.provider,
        &synthesis.base_url,
        &synthesis.secret_ref,
    );
    let fallbacks = synthesis.fallbacks.iter().enumerate().map(|(number, fallback)| {
        let entry = format!("fallback-{}", number + 1);
        let name = named(entry, fallback.provider, &fallback.base_url, &fallback.secret_ref);
        format!("{name}/{}", fallback.model)
    });
    let fallbacks = fallbacks.collect();
    let mut upstream = Upstream {
        model: synthesis.model.as_ref().map(|model| format!("{first}/{model}")),
        fallbacks,
        ..Upstream::default()
    };
    if synthesis.model.is_none() {
        let both = synthesis.provider.to_contract().is_inside();
        if both || synthesis.provider != Provider::Anthropic {
            upstream.openai = Some(first.clone());
        }
        if both || synthesis.provider == Provider::Anthropic {
            upstream.anthropic = Some(first);
        }
    }
    upstream.providers = providers;
    upstream
}
