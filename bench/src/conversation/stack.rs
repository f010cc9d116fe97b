//! A real worker and a real sidecar's compressor in this process, as their binaries put them together.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use liquid_sidecar::api::{Overrides, Surface};
use liquid_sidecar::compress::{Call, Compressor, Outcome, Settings};
use liquid_worker::config::Config;
use liquid_worker::engine::Tier;
use liquid_worker::server::{BoundServer, ServeError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Time for an extraction: the costs are measured, not the speed.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often the sidecar asks for the worker's health, and how often this looks at what it knows.
const LOOK: Duration = Duration::from_millis(50);

/// Worker and compressor, which are sent calls.
pub(super) struct Stack {
    compressor: Compressor,
    stop: oneshot::Sender<()>,
    worker: JoinHandle<Result<(), ServeError>>,
}

impl Stack {
    /// Starts both and waits until the compressor knows its worker. All settings are the defaults, but for the tier.
    pub(super) async fn start(tier: Tier, model: &Path) -> Result<Self> {
        let mut config = Config::default();
        config.grpc.listen = ([127, 0, 0, 1], 0).into();
        config.admin.listen = ([127, 0, 0, 1], 0).into();
        // No balancer has to see that it stops.
        config.drain.notice_ms = 0;
        config.model.folder = tier.needs_model().then(|| model.to_owned());
        let bound = BoundServer::bind(config).await?;
        let (address, _) = bound.addresses()?;
        let (stop, stopped) = oneshot::channel();
        let worker = tokio::spawn(bound.serve(async {
            // Stops as well where the sender is dropped.
            let _ = stopped.await;
        }));
        let mut settings = Settings::default();
        settings.policy.tier = Some(tier);
        settings.extract.workers = vec![address.to_string()];
        settings.extract.health_interval_ms = u64::try_from(LOOK.as_millis())?;
        settings.extract.deadline_ms = u64::try_from(PATIENCE.as_millis())?;
        let compressor = Compressor::start(settings)?;
        let stack = Self {
            compressor,
            stop,
            worker,
        };
        while !stack.compressor.workers().iter().any(|worker| worker.healthy) {
            if stack.worker.is_finished() {
                stack.stop().await?;
                bail!("the worker ended before it served");
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(stack)
    }

    /// Sends a chat completion.
    pub(super) async fn compress(&self, body: Bytes) -> Outcome {
        let call = Call {
            surface: Surface::ChatCompletions,
            body,
            overrides: Overrides::default(),
            request_id: None,
            evidence: false,
            leaves: true,
            dry_run: false,
        };
        self.compressor.compress(call).await
    }

    /// Ends the worker.
    pub(super) async fn stop(self) -> Result<()> {
        drop(self.compressor);
        drop(self.stop);
        self.worker.await?.context("the worker failed")
    }
}
