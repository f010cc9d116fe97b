//! The `liquid-sidecar` binary: parse, build, run, drain.

#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use liquid_contract::exit;
use liquid_process::tls::TlsKeeper;
use liquid_sidecar::access::Access;
use liquid_sidecar::compress::Compressor;
use liquid_sidecar::config::{self, Config};
use liquid_sidecar::explain;
use liquid_sidecar::extract;
use liquid_sidecar::http::server::{self, Encryption, Entrance, Shard};
use liquid_sidecar::http::{App, LiveState};
use liquid_sidecar::intercept::Interception;
use liquid_sidecar::pages::RecentCalls;
use liquid_sidecar::process::probe::Target;
use liquid_sidecar::process::{admin, logs, usage, watch};
use liquid_sidecar::report::Metrics;
use liquid_sidecar::upstream::{Connector, Guard, Routes, Upstreams};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// A call allocates many small things and frees them at once; the system's allocator takes a seventh of its
/// time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The section of the configuration that names the listener's TLS files.
const LISTEN_TLS: &str = "listen.tls";

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
        return match check_files(&config) {
            Ok(()) => {
                println!("the configuration can be used");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(exit::CONFIGURATION)
            }
        };
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

/// Reads the files that the configuration names, as the start does.
fn check_files(config: &Config) -> Result<(), Error> {
    extract::check_files(&config.extract).map_err(|error| format!("extract.tls: {error}"))?;
    Access::open(&config.access)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(TlsKeeper::open(LISTEN_TLS, &config.listen.tls))?;
    runtime.block_on(config.intercept.check_files())?;
    Ok(())
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
    let listeners = Listeners::bind(&config).await?;
    let guard = Guard::new();
    guard.set_listeners(listeners.addresses()?);
    let live = LiveState {
        compressor: Compressor::start(config.compress())?,
        routes: Routes::resolve(&config.upstream)?,
    };
    let upstreams = Upstreams::new(&config.upstream, guard.clone())?;
    let recent = config.pages.enabled.then(|| RecentCalls::start(&config.pages));
    let access = Access::open(&config.access)?;
    let app = App::new(live, upstreams, config.limits.clone(), Arc::new(Metrics::new()))
        .with_recent(recent)
        .with_access(access.clone());
    let mut followers = JoinSet::new();
    let Listeners {
        calls,
        admin,
        intercept,
    } = listeners;
    let mut entrances = vec![open_entrance(calls, &config, &app, &mut followers).await?];
    if let Some(listener) = intercept {
        entrances.extend(open_interception(listener, &config, &guard, &app, &mut followers).await?);
    }
    let shards = shards(&app, &config, &guard)?;
    let app = Arc::new(app);
    for entrance in &entrances {
        tracing::info!(address = %entrance.listener.local_addr()?, admin = %admin.local_addr()?, "ready");
    }

    let (stop, end) = (CancellationToken::new(), CancellationToken::new());
    let admin = tokio::spawn(admin::serve(admin, Arc::clone(&app), stop.clone(), end.clone()));
    let usage = tokio::spawn(usage::report(Arc::clone(&app), end.clone()));
    if let Some(file) = file {
        followers.spawn(watch::follow(file, config, Arc::clone(&app)));
    }
    followers.spawn(access.keep_current());
    let serving = entrances
        .into_iter()
        .map(|entrance| tokio::spawn(server::serve(entrance, shards.clone(), stop.clone())));
    let serving = serving.collect::<Vec<_>>();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    stop.cancel();
    report_drained(serving).await?;
    end.cancel();
    usage.await?;
    followers.shutdown().await;
    admin.await??;
    Ok(())
}

async fn report_drained(serving: Vec<JoinHandle<bool>>) -> Result<(), Error> {
    let mut drained = true;
    for served in serving {
        drained &= served.await?;
    }
    if drained {
        tracing::info!("every call has ended");
    } else {
        tracing::warn!("some calls were cut off: they took longer than limits.drain_ms");
    }
    Ok(())
}

/// What the process listens on; bound before anything else is started.
struct Listeners {
    calls: TcpListener,
    admin: TcpListener,
    intercept: Option<TcpListener>,
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, Error> {
        let intercept = match config.intercept.address {
            Some(address) => Some(bind("intercept.address", address).await?),
            None => None,
        };
        Ok(Self {
            calls: bind("listen.address", config.listen.address).await?,
            admin: bind("listen.admin", config.listen.admin).await?,
            intercept,
        })
    }

    fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        let all = [Some(&self.calls), Some(&self.admin), self.intercept.as_ref()];
        all.into_iter().flatten().map(TcpListener::local_addr).collect()
    }
}

/// Opens the way in for calls, and follows its certificate.
async fn open_entrance(
    listener: TcpListener,
    config: &Config,
    app: &App,
    followers: &mut JoinSet<()>,
) -> Result<Entrance, Error> {
    let keeper = TlsKeeper::wait(LISTEN_TLS, &config.listen.tls)
        .await?
        .map(Arc::new);
    if let Some(keeper) = keeper.clone() {
        follow_certificate(keeper, app, followers);
    }
    let encryption = keeper.into();
    Ok(Entrance { listener, encryption })
}

/// Opens the way in for connections to the providers' hosts, and follows its certificate.
async fn open_interception(
    listener: TcpListener,
    config: &Config,
    guard: &Guard,
    app: &App,
    followers: &mut JoinSet<()>,
) -> Result<Option<Entrance>, Error> {
    let connector = Connector::new(guard.clone())?;
    let time = Duration::from_millis(config.upstream.connect_timeout_ms);
    let Some(interception) = Interception::open(&config.intercept, connector, time).await? else {
        return Ok(None);
    };
    follow_certificate(Arc::clone(&interception.tls), app, followers);
    let encryption = Encryption::Intercepted(Arc::new(interception));
    Ok(Some(Entrance { listener, encryption }))
}

fn follow_certificate(keeper: Arc<TlsKeeper>, app: &App, followers: &mut JoinSet<()>) {
    let metrics = Arc::clone(&app.metrics);
    followers.spawn(keeper.keep_current(move |worked| metrics.clients.count_reload(worked)));
}

async fn bind(field: &str, address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| {
        format!("{field} = {address}: {error}; choose a free address of this machine").into()
    })
}
