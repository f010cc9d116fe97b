//! `liquid-bench gateway`: what the sidecar adds to a call that it passes through, beside nginx and LiteLLM in the
//! same run, and what it takes in memory.
//!
//! The peers take turns, round by round, with a direct call in each round: a machine that is busy for a while is busy
//! for all of them, and differences are taken within a round. All load stays on loopback. `cargo xtask bench gateway`
//! sets up the programs that are named here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::chart::{self, Labels, Series};
use crate::results;

mod body;
mod load;
mod peer;
mod report;
mod upstream;

use load::Load;
use peer::Peer;
use report::{DIRECT, Memory, Report};

/// Measures the sidecar as a gateway.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    programs: Programs,
    /// Connections at a time.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    connections: Vec<u32>,
    /// Rounds; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of load for each peer, number of connections and round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Length of the large body in MB; 0 leaves it out.
    #[arg(long, default_value_t = 50)]
    body_mb: usize,
    /// File for the figures as JSON.
    #[arg(long, default_value = "target/bench/gateway.json")]
    json: PathBuf,
    /// File for the drawing, a PNG.
    #[arg(long, default_value = "target/bench/gateway.png")]
    png: PathBuf,
    /// Folder for configurations and logs of the peers.
    #[arg(long, default_value = "target/bench/gateway")]
    folder: PathBuf,
}

/// The programs that take part.
#[derive(Args)]
pub(crate) struct Programs {
    /// liquid-sidecar.
    #[arg(long)]
    sidecar: PathBuf,
    /// liquid-worker, for the large body.
    #[arg(long)]
    worker: PathBuf,
    /// wrk; without it there is no load.
    #[arg(long)]
    wrk: Option<PathBuf>,
    /// nginx; without it that peer is left out.
    #[arg(long)]
    nginx: Option<PathBuf>,
    /// litellm; without it that peer is left out.
    #[arg(long)]
    litellm: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.folder).with_context(|| arguments.folder.display().to_string())?;
    // nginx takes relative paths to be below its prefix.
    let folder = arguments.folder.canonicalize()?;
    let mut report = Report {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        seconds_a_round: arguments.seconds,
        ..Report::default()
    };
    let programs = &arguments.programs;
    match &programs.wrk {
        Some(wrk) => load(
            arguments,
            &Load::new(wrk, &folder, arguments.seconds)?,
            &folder,
            &mut report,
        )?,
        None => report.skipped.push("all load: wrk is not installed".to_owned()),
    }
    if arguments.body_mb > 0 {
        eprintln!("a body of {} MB, passed and compressed", arguments.body_mb);
        report.bodies = body::run(programs, &folder, arguments.body_mb * 1_000_000)?;
    }
    println!("\n{}", report.table());
    results::write_json(&arguments.json, &report)?;
    draw(&arguments.png, &report)?;
    println!(
        "written: {}, {}",
        arguments.json.display(),
        arguments.png.display()
    );
    Ok(())
}

/// Rounds of load, the peers in turn.
fn load(arguments: &Arguments, load: &Load, folder: &Path, report: &mut Report) -> Result<()> {
    let upstream = upstream::start()?;
    let peers = peers(&arguments.programs, folder, upstream, report)?;
    let idle: Vec<u64> = peers
        .iter()
        .map(|peer| peer.process.resident())
        .collect::<Result<_>>()?;
    for round in 1..=arguments.rounds {
        for connections in &arguments.connections {
            eprintln!("round {round} of {}, {connections} connections", arguments.rounds);
            report.note(DIRECT, *connections, load.run(upstream, *connections)?);
            for peer in &peers {
                let sample = load.run(peer.address, *connections).context(peer.name)?;
                report.note(peer.name, *connections, sample);
            }
        }
    }
    for (peer, idle) in peers.iter().zip(idle) {
        report.memory.push(Memory {
            peer: peer.name,
            idle_mib: mib(idle),
            loaded_mib: mib(peer.process.resident()?),
        });
    }
    Ok(())
}

fn peers(programs: &Programs, folder: &Path, upstream: SocketAddr, report: &mut Report) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    match &programs.nginx {
        Some(nginx) => peers.push(Peer::nginx(nginx, folder, upstream)?),
        None => report.skipped.push("nginx: not installed".to_owned()),
    }
    // Nobody listens at the worker's address: calls of this size never ask for one.
    peers.push(Peer::sidecar(
        &programs.sidecar,
        folder,
        upstream,
        crate::process::free()?,
    )?);
    match &programs.litellm {
        Some(litellm) => {
            eprintln!("starting LiteLLM (takes a while)");
            peers.push(Peer::litellm(litellm, folder, upstream)?);
        }
        None => report.skipped.push("LiteLLM: not installed".to_owned()),
    }
    Ok(peers)
}

/// LiteLLM adds a hundred times as much: its line would hide the others.
fn draw(path: &Path, report: &Report) -> Result<()> {
    let labels = Labels {
        title: "What a gateway adds to the median call",
        x: "connections",
        y: "microseconds",
        scale: chart::Scale::Linear,
    };
    let line = |name: &str| Series {
        name: name.to_owned(),
        points: report.line(name),
    };
    chart::lines(path, &labels, &[line("nginx"), line("sidecar")])
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
