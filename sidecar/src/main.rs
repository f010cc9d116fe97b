//! The `liquid-sidecar` binary: parse, build, run, drain.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use liquid_contract::exit;
use liquid_sidecar::compress::Compressor;
use liquid_sidecar::config::{self, Config};
use liquid_sidecar::explain;
use liquid_sidecar::extract;
use liquid_sidecar::http::server::{self, Shard};
use liquid_sidecar::http::{App, LiveState};
use liquid_sidecar::pages::RecentCalls;
use liquid_sidecar::process::probe::Target;
use liquid_sidecar::process::{admin, logs, usage, watch};
use liquid_sidecar::report::Metrics;
use liquid_sidecar::upstream::{Guard, Routes, Upstreams};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A call allocates many small things and frees them at once; the system's allocator takes a seventh of its
/// time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Takes OpenAI and Anthropic calls, forwards the evidence.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// TOML file. Every key can be set by environment too: LIQUID_SIDECAR__SECTION__KEY.
    #[arg(long, env = "LIQUID_SIDECAR_CONFIG", value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration and exit: 0 if it can be used, 64 if not.
    #[arg(long)]
    check: bool,
    /// Ask a running sidecar's admin listener, as 127.0.0.1:9465/livez, and exit: 0 if it answers 200.
    #[arg(long, value_name = "ADDRESS/PATH", conflicts_with = "check")]
    probe: Option<Target>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Say what would become of a request's body, and why: ask the workers, send nothing, and print the decision, what
    /// was read and asked, and each document with what is kept. 0 if it was read, 65 if not, 70 if no worker answered.
    Explain(explain::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.command.is_some() && (arguments.check || arguments.probe.is_some()) {
        let message = "--check and --probe go without a command";
        let kind = clap::error::ErrorKind::ArgumentConflict;
        Arguments::command().error(kind, message).exit();
    }
    if let Some(target) = &arguments.probe {
        return match target.ask() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("liquid-sidecar: {error}");
                ExitCode::from(exit::RUN)
            }
        };
    }
    let config = match config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(exit::CONFIGURATION);
        }
    };
    if arguments.check {
        if let Err(error) = extract::check_files(&config.extract) {
            eprintln!("extract.tls: {error}");
            return ExitCode::from(exit::CONFIGURATION);
        }
        println!("the configuration can be used");
        return ExitCode::SUCCESS;
    }
    if let Some(Command::Explain(wanted)) = &arguments.command {
        return match explain::run(wanted, &config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("liquid-sidecar: {error}");
                ExitCode::from(error.exit_code())
            }
        };
    }
    match start(config, arguments.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("liquid-sidecar: {error}");
            ExitCode::from(exit::RUN)
        }
    }
}

fn start(config: Config, file: Option<PathBuf>) -> Result<(), Error> {
    // Accepts, watches and reports; calls are served by the shards.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let exporter = {
        let _inside = runtime.enter();
        logs::init(&config.log, &config.traces)?
    };
    let outcome = runtime.block_on(run(config, file));
    exporter.shutdown();
    runtime.shutdown_background();
    outcome
}

/// Starts the threads that serve. They end with the process.
fn shards(app: &App, config: &Config, guard: &Guard) -> Result<Vec<Shard>, Error> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = if config.listen.threads > 0 {
        config.listen.threads
    } else {
        cores
    };
    let mut shards = Vec::with_capacity(threads);
    for number in 0..threads {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let upstreams = Upstreams::new(&config.upstream, guard.clone())?;
        shards.push(Shard {
            runtime: runtime.handle().clone(),
            app: Arc::new(app.with_upstreams(upstreams)),
        });
        let name = format!("shard-{number}");
        std::thread::Builder::new()
            .name(name)
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    }
    Ok(shards)
}

async fn run(config: Config, file: Option<PathBuf>) -> Result<(), Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = bind("listen.address", config.listen.address).await?;
    let admin = bind("listen.admin", config.listen.admin).await?;
    let guard = Guard::new();
    guard.set_listeners(vec![listener.local_addr()?, admin.local_addr()?]);
    let live = LiveState {
        compressor: Compressor::start(config.compress())?,
        routes: Routes::resolve(&config.upstream)?,
    };
    let upstreams = Upstreams::new(&config.upstream, guard.clone())?;
    let recent = config.pages.enabled.then(|| RecentCalls::start(&config.pages));
    let app = App::new(live, upstreams, config.limits.clone(), Arc::new(Metrics::new())).with_recent(recent);
    let shards = shards(&app, &config, &guard)?;
    let app = Arc::new(app);
    tracing::info!(address = %listener.local_addr()?, admin = %admin.local_addr()?, "ready");

    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let admin = tokio::spawn(admin::serve(admin, Arc::clone(&app), stop.clone(), end.clone()));
    let usage = tokio::spawn(usage::report(Arc::clone(&app), end.clone()));
    let watch = file.map(|file| tokio::spawn(watch::follow(file, config, Arc::clone(&app))));
    let serving = tokio::spawn(server::serve(listener, shards, stop.clone()));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    stop.cancel();
    if serving.await? {
        tracing::info!("every call has ended");
    } else {
        tracing::warn!("some calls were cut off: they took longer than limits.drain_ms");
    }
    end.cancel();
    usage.await?;
    if let Some(watch) = watch {
        watch.abort();
    }
    admin.await??;
    Ok(())
}

async fn bind(field: &str, address: std::net::SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        format!("{field} = {address}: {error}; choose a free address of this machine").into()
    })
}
