//! `liquid-worker serve`: logging, signals and the server.

use tokio::signal::unix::{SignalKind, signal};

use super::{CliError, ServeArgs, configuration};
use crate::config::Config;
use crate::runtime::Runtime;
use crate::server::{BoundServer, ServeError, check_tls};

pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    let config = configuration(&args.config)?;
    let threads = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::System)?;
    if args.check {
        threads
            .block_on(check_tls(&config.tls))
            .map_err(ServeError::Tls)?;
        let runtime = Runtime::start(&config)?;
        let tiers: Vec<_> = runtime.tiers().iter().map(|tier| tier.name()).collect();
        println!("the configuration is valid; tiers: {}", tiers.join(", "));
        return Ok(());
    }
    config.log.start()?;
    let served = threads.block_on(serve(config));
    // Requests that were cut off may still compute; none waits for them.
    threads.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::System)?;
    let bound = BoundServer::bind(config).await?;
    let (grpc, admin) = bound.addresses().map_err(CliError::System)?;
    tracing::info!(%grpc, %admin, version = env!("CARGO_PKG_VERSION"), "listening");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(bound.serve(stop).await?)
}
