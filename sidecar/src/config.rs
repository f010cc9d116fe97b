//! The configuration: one TOML file, every key by environment too, validated as a whole before anything starts.
//!
//! Later sources win: defaults, the file, `SYNTHESIS_MODEL` (for `upstream.model`) and `LIQUID_ZONE` (for `extract.zone`),
//! `LIQUID_SIDECAR__SECTION__KEY`.

use std::path::Path;

use liquid_contract::defaults::DRAIN_SECONDS;
use liquid_contract::environment::{SIDECAR_PREFIX, ZONE};
use liquid_contract::ports;
use liquid_process::Invalid;
use liquid_process::config::{Alias, Configuration};
use liquid_process::logs::Log;
use liquid_process::tls::Tls;
use serde::Deserialize;

pub use liquid_process::config::ConfigError;

use crate::upstream::Routes;
use crate::{access, compress, extract, intercept, pack, pages, policy, upstream};

/// The configuration of a sidecar.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where TLS of the providers' hosts ends. Needs a restart.
    pub intercept: intercept::Settings,
    /// Who may call.
    pub access: access::Settings,
    /// How large calls may be, and how long they may take.
    pub limits: Limits,
    /// Which providers answer, and how long they may take.
    pub upstream: upstream::Settings,
    /// When to compress, and how far.
    pub policy: policy::Settings,
    /// Where the workers are.
    pub extract: extract::Settings,
    /// How long manifests are kept.
    pub pack: pack::Settings,
    /// Pages for a browser on this machine. Needs a restart.
    pub pages: pages::Settings,
    /// What is logged. Needs a restart.
    pub log: Log,
    /// Where traces go.
    pub traces: Traces,
    /// How changes of the file are noticed.
    pub reload: Reload,
}

/// Section `[listen]`. Needs a restart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// `address:port` for the applications. Default `127.0.0.1:8787`.
    pub address: std::net::SocketAddr,
    /// `address:port` for `/livez`, `/readyz` and `/metrics`. Default `127.0.0.1:9465`.
    pub admin: std::net::SocketAddr,
    /// Threads that serve. Default 0: as many as cores.
    pub threads: usize,
    /// Encryption of the connections to `listen.address`. Without files the sidecar speaks plain HTTP.
    pub tls: Tls,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: ([127, 0, 0, 1], ports::SIDECAR).into(),
            admin: ([127, 0, 0, 1], ports::SIDECAR_ADMIN).into(),
            threads: 0,
            tls: Tls::default(),
        }
    }
}

/// Section `[limits]`. Needs a restart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest body on a surface, in bytes; larger ones are answered with 413. Default 67108864 (64 MiB).
    pub max_body_bytes: u64,
    /// Largest request head, in bytes; larger ones are answered with 431. At least 8192. Default 65536.
    pub max_header_bytes: usize,
    /// Most headers in a request; more are answered with 431. Default 100, which costs nothing.
    pub max_headers: usize,
    /// Most calls at a time, streams and tunnels included; more are answered with 429. Default 1024.
    pub max_concurrent_requests: usize,
    /// Time for a request's head to arrive, also the next one on a kept connection, in milliseconds. Longer
    /// than clients keep idle connections, or they meet a closed one. Default 75000.
    pub header_timeout_ms: u64,
    /// Time for a body on a surface to arrive, in milliseconds; 408 after it. Default 120000.
    pub body_timeout_ms: u64,
    /// Time after SIGTERM in which calls are still taken, in milliseconds, while `/readyz` is 503 and each answer closes its
    /// connection: until those who choose among several sidecars have noticed. Default 0.
    pub notice_ms: u64,
    /// Time for running calls to end after SIGTERM and `notice_ms`, in milliseconds. Default 25000.
    pub drain_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_concurrent_requests: 1024,
            header_timeout_ms: 75_000,
            body_timeout_ms: 120_000,
            notice_ms: 0,
            drain_ms: 1_000 * u64::from(DRAIN_SECONDS),
        }
    }
}

/// Section `[traces]`. Needs a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Traces {
    /// OTLP over gRPC, such as `http://collector:4317`. Default: no traces.
    pub otlp_endpoint: Option<String>,
}

/// Reads the file, if one is given, and this process's environment.
///
/// # Errors
/// [`ConfigError`] names every wrong field with its value and the remedy.
pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
    load_with(file, liquid_process::config::variables())
}

/// Reads the file, if one is given, and the given variables instead of the environment.
///
/// # Errors
/// As [`load`].
pub fn load_with(file: Option<&Path>, variables: Vec<(String, String)>) -> Result<Config, ConfigError> {
    liquid_process::config::load_with(file, variables)
}

/// Section `[reload]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// The configuration's file is read again this often, in milliseconds. Default 2000.
    pub interval_ms: u64,
}

impl Default for Reload {
    fn default() -> Self {
        Self { interval_ms: 2_000 }
    }
}

impl Configuration for Config {
    const PREFIX: &'static str = SIDECAR_PREFIX;
    const LISTS: &'static [&'static str] = &[
        "upstream.fallbacks",
        "extract.workers",
        "policy.unread_allow",
        "listen.tls.client_identities",
    ];
    const ALIASES: &'static [Alias] = &[
        Alias {
            name: "SYNTHESIS_MODEL",
            variable: "LIQUID_SIDECAR__UPSTREAM__MODEL",
        },
        Alias {
            name: ZONE,
            variable: "LIQUID_SIDECAR__EXTRACT__ZONE",
        },
    ];

    fn validate(&self) -> Vec<Invalid> {
        let limits = self.limits.validate().into_iter();
        let upstream = self.upstream.validate().into_iter();
        let pages = self
            .pages
            .validate()
            .into_iter()
            .map(|invalid| invalid.within("pages"));
        limits
            .map(|invalid| invalid.within("limits"))
            .chain(upstream.map(|invalid| invalid.within("upstream")))
            .chain(self.compress().validate())
            .chain(pages)
            .chain(self.log.validate("liquid_sidecar"))
            .chain(self.listen.validate())
            .chain(
                self.intercept
                    .validate()
                    .map(|invalid| invalid.within("intercept")),
            )
            .chain(self.find_taken_address())
            .chain(self.access.validate().map(|invalid| invalid.within("access")))
            .chain(self.reload.validate())
            .chain(Routes::resolve(&self.upstream).err())
            .collect()
    }
}

impl Config {
    /// Returns the three sections that the compressor takes.
    pub fn compress(&self) -> compress::Settings {
        compress::Settings {
            policy: self.policy.clone(),
            extract: self.extract.clone(),
            pack: self.pack.clone(),
        }
    }

    fn find_taken_address(&self) -> Option<Invalid> {
        let address = self.intercept.address.filter(|address| address.port() != 0)?;
        let taken = [self.listen.address, self.listen.admin].contains(&address);
        let remedy = "is an address of [listen] too; set another port";
        taken.then(|| Invalid::new("intercept.address", address, remedy))
    }
}

impl Listen {
    fn validate(&self) -> Vec<Invalid> {
        let taken = self.address == self.admin && self.admin.port() != 0;
        let remedy = "is listen.address too; set another port";
        let taken = taken.then(|| Invalid::new("listen.admin", self.admin, remedy));
        let tls = self.tls.validate().into_iter();
        tls.map(|invalid| invalid.within("listen.tls"))
            .chain(taken)
            .collect()
    }
}

impl Limits {
    fn validate(&self) -> Vec<Invalid> {
        let positive = [
            ("max_body_bytes", self.max_body_bytes),
            ("max_headers", self.max_headers as u64),
            ("max_concurrent_requests", self.max_concurrent_requests as u64),
            ("header_timeout_ms", self.header_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
        ];
        let mut wrong: Vec<Invalid> = positive
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(field, value)| Invalid::new(field, value, "set at least 1"))
            .collect();
        if self.max_header_bytes < 8192 {
            wrong.push(Invalid::new(
                "max_header_bytes",
                self.max_header_bytes,
                "set at least 8192",
            ));
        }
        if self.max_concurrent_requests > 1 << 20 {
            let remedy = "set at most 1048576";
            wrong.push(Invalid::new(
                "max_concurrent_requests",
                self.max_concurrent_requests,
                remedy,
            ));
        }
        wrong
    }
}

impl Reload {
    fn validate(&self) -> Option<Invalid> {
        let zero = self.interval_ms == 0;
        zero.then(|| Invalid::new("reload.interval_ms", self.interval_ms, "set at least 1"))
    }
}

#[cfg(test)]
mod tests;
