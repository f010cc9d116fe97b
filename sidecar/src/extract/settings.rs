//! The extraction client's settings: section `[extract]`.

use std::path::PathBuf;
use std::time::Duration;

use liquid_contract::{defaults, ports};
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// Where the workers are and how long to wait for them. Section `[extract]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Workers as `host:port`. A name that resolves to several addresses stands for all of them; names are
    /// looked up again every `resolve_interval_ms`. Default `["127.0.0.1:50051"]`.
    pub workers: Vec<String>,
    /// Zone of this machine: workers of the same zone (`grpc.zone`) are asked first, unless their queues are clearly longer
    /// than elsewhere; a further try goes elsewhere first. `LIQUID_ZONE` sets it too. Default: empty, zones do not count.
    pub zone: String,
    /// What to do with a call when no worker gives an answer in time. Default `forward`.
    pub on_worker_unavailable: OnWorkerUnavailable,
    /// Time for one extraction, retries and hedge included. Milliseconds. Default 10000.
    ///
    /// Missing it is the worst outcome: the whole document goes out, or the call is refused. So the default
    /// is several times what the encoder tier takes for 32,000 tokens on two cores, and less than what most
    /// models take to read that many. Where no worker can be asked, at the start or because the last one is
    /// lost, calls wait as long for one to come; where none has served for as long, no call waits. The worker
    /// learns the deadline, and takes a cheaper tier rather than miss it.
    pub deadline_ms: u64,
    /// Added to `deadline_ms` for each MiB of the document. Milliseconds. Default 1000.
    pub deadline_per_mib_ms: u64,
    /// Ask a second worker too when this share of the deadline has passed without an answer: above 0; 1 or
    /// more switches it off. Default 0.5.
    pub hedge_after: f64,
    /// Workers to try one after the other when they are unavailable or full. 1 to 10. Default 3.
    pub attempts: u32,
    /// Time for connecting. Milliseconds. Default 1000.
    pub connect_timeout_ms: u64,
    /// Look the names up again this often. Milliseconds. Default 5000.
    pub resolve_interval_ms: u64,
    /// Ask every worker for its health, and report new calls to one of them, this often. Milliseconds. Default 2000.
    pub health_interval_ms: u64,
    /// A worker that fails rests this long before it is asked again; doubled with each further failure, up to
    /// 32 times. Milliseconds. Default 500.
    pub eject_ms: u64,
    /// Documents that are sent to workers at the same time; further calls wait within their deadline. Default
    /// 64.
    pub max_in_flight: usize,
    /// Spans of earlier answers that are kept. Bytes. 0 switches it off. Default 16777216 (16 MiB).
    pub cache_bytes: u64,
    /// How long they are kept. Seconds. Default 3600.
    pub cache_ttl_s: u64,
    /// TLS towards the workers. Section `[extract.tls]`. Default: none, plain HTTP/2.
    pub tls: Option<Tls>,
    /// Who starts a worker where there is none. Section `[extract.wake]`. Default: nobody.
    pub wake: Option<Wake>,
}

/// Who starts a worker where there is none, and how long calls wait for it. Section `[extract.wake]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    /// Where to ask for one, by a POST with the certificate of `[extract.tls]`.
    pub url: String,
    /// How long a call waits for the first worker before its deadline begins. Milliseconds. Default 60000.
    #[serde(default = "hold_ms")]
    pub hold_ms: u64,
    /// Calls that wait at a time; for further ones there is no worker. Default 256.
    #[serde(default = "max_held")]
    pub max_held: usize,
}

fn hold_ms() -> u64 {
    60_000
}

fn max_held() -> usize {
    256
}

/// The treatment of a call for which no worker gave an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnWorkerUnavailable {
    /// Send the original upstream.
    #[default]
    Forward,
    /// Refuse the call: the original must not leave.
    Reject,
}

/// TLS towards the workers. Section `[extract.tls]`. The files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file of the certificate authorities that sign the workers' certificates.
    pub ca_file: PathBuf,
    /// PEM file of our certificate chain, for mutual TLS.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// PEM file of its private key.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// The name that the workers' certificates carry.
    pub server_name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: vec![format!("127.0.0.1:{}", ports::WORKER)],
            zone: String::new(),
            on_worker_unavailable: OnWorkerUnavailable::Forward,
            deadline_ms: defaults::DEADLINE_MS.into(),
            deadline_per_mib_ms: defaults::DEADLINE_PER_MIB_MS.into(),
            hedge_after: 0.5,
            attempts: 3,
            connect_timeout_ms: 1_000,
            resolve_interval_ms: 5_000,
            health_interval_ms: 2_000,
            eject_ms: 500,
            max_in_flight: 64,
            cache_bytes: 16 << 20,
            cache_ttl_s: 3_600,
            tls: None,
            wake: None,
        }
    }
}

impl Wake {
    fn validate(&self) -> Vec<Invalid> {
        let url = self.url.starts_with("https://") || self.url.starts_with("http://");
        let url = (!url || self.url.parse::<http::Uri>().is_err()).then(|| {
            let remedy = "write a whole URL, such as https://liquid-operator.liquid-memory.svc/wake";
            Invalid::new("url", format!("{:?}", self.url), remedy)
        });
        let positive = [("hold_ms", self.hold_ms), ("max_held", self.max_held as u64)];
        let zero = positive.into_iter().filter(|(_, value)| *value == 0);
        let zero = zero.map(|(field, value)| Invalid::new(field, value, "set at least 1"));
        url.into_iter().chain(zero).collect()
    }
}

impl Settings {
    /// Returns the deadline for a document of `bytes`.
    pub fn deadline(&self, bytes: usize) -> Duration {
        let extra = (bytes as u64).saturating_mul(self.deadline_per_mib_ms) >> 20;
        Duration::from_millis(self.deadline_ms.saturating_add(extra))
    }

    /// Lists every value that cannot be used, fields named below `[extract]`.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if self.workers.is_empty() {
            wrong.push(Invalid::new(
                "workers",
                "[]",
                "name at least one worker as host:port",
            ));
        }
        for worker in &self.workers {
            if !is_host_port(worker) {
                wrong.push(Invalid::new(
                    "workers",
                    worker,
                    "write host:port, such as worker:50051 or [::1]:50051",
                ));
            }
        }
        let positive = [
            ("deadline_ms", self.deadline_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("resolve_interval_ms", self.resolve_interval_ms),
            ("health_interval_ms", self.health_interval_ms),
            ("eject_ms", self.eject_ms),
            ("max_in_flight", self.max_in_flight as u64),
        ];
        for (field, value) in positive {
            if value == 0 {
                wrong.push(Invalid::new(field, value, "set at least 1"));
            }
        }
        if let Some(wake) = &self.wake {
            wrong.extend(wake.validate().into_iter().map(|invalid| invalid.within("wake")));
        }
        if !(1..=10).contains(&self.attempts) {
            wrong.push(Invalid::new("attempts", self.attempts, "set 1 to 10"));
        }
        if self.hedge_after.is_nan() || self.hedge_after <= 0.0 {
            wrong.push(Invalid::new(
                "hedge_after",
                self.hedge_after,
                "set a share above 0; 1 switches it off",
            ));
        }
        if let Some(tls) = &self.tls {
            wrong.extend(tls.validate());
        }
        wrong
    }
}

impl Tls {
    fn validate(&self) -> Option<Invalid> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            let set = if self.cert_file.is_some() {
                "cert_file"
            } else {
                "key_file"
            };
            return Some(Invalid::new("tls", set, "set cert_file and key_file, or neither"));
        }
        if self.server_name.is_empty() {
            return Some(Invalid::new(
                "tls.server_name",
                "",
                "name what the workers' certificates carry",
            ));
        }
        None
    }
}

fn is_host_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else {
        return false;
    };
    let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    !host.is_empty() && bare && !host.contains('/') && port.parse::<u16>().is_ok_and(|port| port > 0)
}
