//! A real sidecar and a real worker in this process, as their binaries put them together.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use liquid_sidecar::compress::Compressor;
use liquid_sidecar::config::{Config, load_with};
use liquid_sidecar::http::{App, LiveState, server};
use liquid_sidecar::report::Metrics;
use liquid_sidecar::upstream::{Guard, Routes, Upstreams};
use liquid_worker::runtime::Runtime;
use liquid_worker::server::BoundServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A running sidecar; it stops when this is dropped.
pub struct Sidecar {
    address: SocketAddr,
    app: Arc<App>,
    stop: CancellationToken,
}

impl Sidecar {
    /// Starts a sidecar whose OpenAI and Anthropic providers are at `base_url`, with more settings in TOML. Where these
    /// name no workers, nothing listens on the worker's address.
    pub async fn start(toml: &str, base_url: &str) -> Self {
        let config = config(toml, base_url);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let guard = Guard::new();
        guard.set_listeners(vec![address]);
        let live = LiveState {
            compressor: Compressor::start(config.compress()).unwrap(),
            routes: Routes::resolve(&config.upstream).unwrap(),
        };
        let upstreams = Upstreams::new(&config.upstream, guard).unwrap();
        let app = App::new(live, upstreams, config.limits, Arc::new(Metrics::new()));
        let app = Arc::new(app);
        let stop = CancellationToken::new();
        let shard = server::Shard {
            runtime: tokio::runtime::Handle::current(),
            app: Arc::clone(&app),
        };
        tokio::spawn(server::serve(listener, vec![shard], stop.clone()));
        Self { address, app, stop }
    }

    /// Returns the URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Waits until a worker is known to serve, however slow the machine is.
    pub async fn worker_serves(&self) {
        let compressor = self.app.live.load().compressor.clone();
        while !compressor.workers().iter().any(|worker| worker.healthy) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Returns a metric's value, 0 if it is not there.
    #[must_use]
    pub fn metric(&self, line: &str) -> f64 {
        let connections = self.app.upstreams.guard().connections();
        let text = self.app.metrics.scrape(&[], connections).unwrap();
        let found = text.lines().find_map(|each| each.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config(toml: &str, base_url: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, toml).unwrap();
    let prefix = "LIQUID_SIDECAR__UPSTREAM";
    let mut variables = vec![
        (format!("{prefix}__RETRIES"), "0".to_owned()),
        (
            format!("{prefix}__PROVIDERS__OPENAI__BASE_URL"),
            base_url.to_owned(),
        ),
        (
            format!("{prefix}__PROVIDERS__ANTHROPIC__BASE_URL"),
            base_url.to_owned(),
        ),
    ];
    if !toml.contains("workers =") {
        variables.push((
            "LIQUID_SIDECAR__EXTRACT__WORKERS".to_owned(),
            "127.0.0.1:9".to_owned(),
        ));
    }
    load_with(Some(&path), variables).unwrap()
}

/// The tiers that a worker serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiers {
    /// The lexical tier alone.
    Lexical,
    /// All of them, with the model's weights.
    All,
}

/// The folder of the encoder's weights, which `cargo xtask model` fetches; `None` where they are absent.
#[must_use]
pub fn weights() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models/all-minilm-l6-v2");
    folder.join("manifest.json").exists().then_some(folder)
}

/// The folder of a small language model, which `cargo xtask model --decoder` fetches; `None` where it is absent.
#[must_use]
pub fn decoder() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../.cache/models/smollm2-135m-instruct");
    folder.join("manifest.json").exists().then_some(folder)
}

/// A running worker; it ends with the runtime that started it.
#[derive(Debug)]
pub struct Worker {
    address: SocketAddr,
}

impl Worker {
    /// Starts a worker.
    pub async fn start(tiers: Tiers) -> Self {
        Self::start_with(tiers, None).await
    }

    /// Starts a worker that serves the language model of a folder.
    pub async fn start_with(tiers: Tiers, decoder: Option<PathBuf>) -> Self {
        let mut config = liquid_worker::config::Config::default();
        config.grpc.listen = ([127, 0, 0, 1], 0).into();
        config.admin.listen = ([127, 0, 0, 1], 0).into();
        if tiers == Tiers::All {
            config.model.folder = weights();
        }
        config.decoder.folder = decoder;
        let runtime = Runtime::start(&config).unwrap();
        let bound = BoundServer::bind(config).await.unwrap();
        let (address, _) = bound.addresses().unwrap();
        tokio::spawn(bound.serve_with(async { Ok(runtime) }, std::future::pending()));
        Self { address }
    }

    /// Returns the settings with which a sidecar asks this worker, and waits for it however slow the machine is.
    #[must_use]
    pub fn settings(&self) -> String {
        settings(self.address)
    }
}

/// Returns the settings with which a sidecar asks a worker at this address.
#[must_use]
pub fn settings(address: SocketAddr) -> String {
    let patience = Duration::from_secs(60).as_millis();
    format!("[extract]\nworkers = [\"{address}\"]\nhealth_interval_ms = 50\ndeadline_ms = {patience}\n")
}
