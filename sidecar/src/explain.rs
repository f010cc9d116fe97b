//! `liquid-sidecar explain FILE`: what would become of a request's body, and why, for a person. A dry run without a
//! server: the configured workers are asked, and nothing is sent.

mod account;
mod body;
mod paint;

#[cfg(test)]
mod tests;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use bytes::Bytes;
use liquid_contract::exit;
use liquid_process::Invalid;

use crate::api::{Mode, Overrides, Reason, Surface};
use crate::compress::{Call, Compressor, DryRun, Outcome, StartError};
use crate::config::Config;
use crate::upstream::Routes;
use account::Account;
pub use body::SurfaceName;

/// The arguments of `liquid-sidecar explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The request's body as an application sends it; "-" reads standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The API that the body is meant for; without it, guessed from the body's keys.
    #[arg(long, value_enum)]
    surface: Option<SurfaceName>,
    /// Print all of every text, also what is dropped and what stays as it is.
    #[arg(long)]
    all: bool,
    /// Print what a dry run answers, as JSON.
    #[arg(long, conflicts_with = "all")]
    json: bool,
}

/// Why a body was not explained, or would not have been compressed as configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExplainError {
    /// The file cannot be read.
    #[error("{}: {source}; name a file that can be read, or - for standard input", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The body is longer than the sidecar takes.
    #[error("{} has more than {limit} bytes, which limits.max_body_bytes does not let in; raise it", .file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The body is no JSON object.
    #[error("{} is not a JSON object (line {line}, column {column}); store the body as the application sends it", .file.display())]
    NotJson {
        /// The file.
        file: PathBuf,
        /// The line at which reading ended, from 1.
        line: usize,
        /// The column at which reading ended.
        column: usize,
    },
    /// The body's keys fit no surface.
    #[error("no key of {} tells which API the body is meant for; name it with --surface", .file.display())]
    UnknownSurface {
        /// The file.
        file: PathBuf,
    },
    /// The body was read by its surface, which does not know it.
    #[error("{} is not what the surface {surface} says; name the right one with --surface", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The surface.
        surface: Surface,
    },
    /// The account was printed, and without a worker's answer.
    #[error("no worker answered, so this is what happens without one: {0}; see extract.workers")]
    NoWorker(String),
    /// The runtime could not start.
    #[error("the runtime could not start: {0}")]
    Runtime(std::io::Error),
    /// A setting cannot be used.
    #[error(transparent)]
    Setting(#[from] Invalid),
    /// The account cannot be written.
    #[error("the account could not be written: {0}")]
    Write(#[from] std::io::Error),
}

impl ExplainError {
    /// Returns the exit code that says who has to act.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Read { .. }
            | Self::TooLarge { .. }
            | Self::NotJson { .. }
            | Self::UnknownSurface { .. }
            | Self::Unreadable { .. } => exit::INPUT,
            Self::Setting(_) => exit::CONFIGURATION,
            Self::NoWorker(_) | Self::Runtime(_) | Self::Write(_) => exit::RUN,
        }
    }
}

impl From<StartError> for ExplainError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Invalid(invalid) => Self::Setting(invalid),
        }
    }
}

/// Reads a body, asks the workers about it, and prints the account.
///
/// # Errors
/// [`ExplainError`]; after a printed account too, where it is not what a working setup would show.
pub fn run(arguments: &Arguments, config: &Config) -> Result<(), ExplainError> {
    let file = &arguments.file;
    let body = body::read(file, config.limits.max_body_bytes)?;
    let surface = match arguments.surface {
        Some(name) => name.surface(),
        None => body::guess_surface(file, &body)?,
    };
    let outcome = ask(surface, body, config)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let written = if arguments.json {
        write_json(&outcome, &mut out)
    } else {
        let account = Account {
            outcome: &outcome,
            is_guessed: arguments.surface.is_none(),
            all: arguments.all,
            colour: wants_colour(),
        };
        account.write(&mut out)
    };
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => verdict(arguments, &outcome),
    }
}

/// Runs a body through the compressor.
fn ask(surface: Surface, body: Bytes, config: &Config) -> Result<Outcome, ExplainError> {
    let routes = Routes::resolve(&config.upstream)?;
    let local = routes.is_local(surface.wire());
    let call = Call {
        surface,
        body,
        overrides: Overrides {
            mode: local.then_some(Mode::Force),
            ..Overrides::default()
        },
        request_id: None,
        evidence: true,
        leaves: !routes.stays(surface.wire()),
        dry_run: true,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ExplainError::Runtime)?;
    runtime.block_on(async { Ok(Compressor::start(config.compress())?.compress(call).await) })
}

fn write_json(outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &DryRun::new(outcome))?;
    writeln!(out)
}

/// Returns the error of a call that was explained, if the setup or the body is at fault.
fn verdict(arguments: &Arguments, outcome: &Outcome) -> Result<(), ExplainError> {
    let decision = outcome.decision();
    match (&decision.worker_error, decision.reason) {
        (Some(error), _) => Err(ExplainError::NoWorker(error.clone())),
        (None, Reason::Unreadable) => Err(ExplainError::Unreadable {
            file: arguments.file.clone(),
            surface: decision.surface,
        }),
        _ => Ok(()),
    }
}

/// Returns whether standard output shows colours: a terminal does, unless `NO_COLOR` is set.
fn wants_colour() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    std::io::stdout().is_terminal() && !refused && !dumb
}
