//! `liquid-worker serve`: logging, signals and the server.

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CliError, ServeArgs, configuration};
use crate::config::{Config, Log, LogFormat};
use crate::runtime::Runtime;
use crate::server::{Bound, ServeError, check_tls};

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
        println!("the configuration is good; tiers: {}", tiers.join(", "));
        return Ok(());
    }
    log(&config.log);
    let served = threads.block_on(serve(config));
    // Requests that were cut off may still compute; nobody waits for them.
    threads.shutdown_background();
    served
}

async fn serve(config: Config) -> Result<(), CliError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(CliError::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(CliError::System)?;
    let bound = Bound::bind(config).await?;
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

fn log(log: &Log) {
    // The level was checked with the configuration.
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
