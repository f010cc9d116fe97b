//! The command line: `serve` for machines, `extract` and `describe` for people and scripts.
//!
//! Exit codes: 0 done, 1 a fault, 2 wrong arguments, 64 a configuration that cannot be used, 65 a document or
//! question that cannot be read, 66 a model that cannot be loaded.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use liquid_contract::exit;
use liquid_process::Invalid;
use liquid_process::config::{self, ConfigError};
use liquid_process::logs::LogError;

use crate::config::Config;
use crate::engine::ExtractError;
use crate::model::LoadError;
use crate::runtime::{JobError, StartError};
use crate::server::ServeError;
use crate::tier::Tier;

mod describe;
mod extract;
mod facts;
mod serve;

#[derive(Parser)]
#[command(
    name = "liquid-worker",
    version,
    about = "Finds the evidence for a question in a document."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve liquid.worker.v1 over gRPC, and a language model over HTTP if there is one, until SIGTERM.
    Serve(ServeArgs),
    /// Find the evidence in one document and print it.
    Extract(ExtractArgs),
    /// Print what a worker with this configuration would serve.
    Describe(DescribeArgs),
}

#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML). Every key can be set by environment too: LIQUID_WORKER__GRPC__LISTEN and so
    /// on.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration, the model and the TLS files, then end.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct ExtractArgs {
    /// The document, UTF-8; "-" reads standard input.
    #[arg(long, value_name = "FILE")]
    document: PathBuf,
    /// The question; several may be given, each with its own --question. An empty one keeps what represents the document
    /// best.
    #[arg(long, value_name = "TEXT", required = true)]
    question: Vec<String>,
    #[command(flatten)]
    budget: BudgetArgs,
    /// The engine to use [default: the best one there is].
    #[arg(long, value_parser = tier_parser())]
    tier: Option<Tier>,
    /// Folder of the model [default: model.folder of the configuration; without one: lexical only].
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Folder of the ranker [default: model.ranker of the configuration; without one: no ranker tier].
    #[arg(long, value_name = "FOLDER")]
    ranker: Option<PathBuf>,
    /// Print the facts that a language model writes, each with its quote, and not the evidence; means --tier decoder.
    #[arg(long)]
    facts: bool,
    /// Folder of the language model that writes facts [default: decoder.folder of the configuration].
    #[arg(long, value_name = "FOLDER")]
    decoder: Option<PathBuf>,
    /// Configuration file, for model.folder, model.ranker, decoder, facts and tiers.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[group(multiple = false)]
struct BudgetArgs {
    /// Keep at most this part of the words: 10 keeps a tenth [default: 10].
    #[arg(long, value_name = "R")]
    ratio: Option<f64>,
    /// Keep at most this many tokens.
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Keep the smallest pack that is estimated to hold the evidence.
    #[arg(long)]
    auto: bool,
}

#[derive(Args)]
struct DescribeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads the name of a tier, and lists the names in the help.
fn tier_parser() -> impl TypedValueParser<Value = Tier> {
    PossibleValuesParser::new(Tier::ALL.map(Tier::name)).try_map(|name| name.parse::<Tier>())
}

/// Exit code of a fault that is neither the input's nor the configuration's.
const FAULT: u8 = 1;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Serve(ServeError),
    #[error("{name}: {source}")]
    Read { name: String, source: std::io::Error },
    #[error("{name}: is not UTF-8 at byte {position}; convert it first, for example with iconv")]
    Encoding { name: String, position: usize },
    #[error(transparent)]
    Budget(#[from] Invalid),
    #[error(transparent)]
    Extract(#[from] ExtractError),
    #[error("--tier decoder: there is no language model; name its folder by --decoder or decoder.folder")]
    NoDecoder,
    #[error(transparent)]
    Job(JobError),
    #[error("standard output: {0}")]
    Write(std::io::Error),
    #[error("the operating system: {0}")]
    System(std::io::Error),
}

impl From<ServeError> for CliError {
    fn from(error: ServeError) -> Self {
        match error {
            ServeError::Start(error) => Self::Start(error),
            other => Self::Serve(other),
        }
    }
}

impl CliError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Log(_) | Self::NoDecoder | Self::Serve(ServeError::Tls(_)) => {
                exit::CONFIGURATION
            }
            Self::Read { .. } | Self::Encoding { .. } | Self::Budget(_) => exit::INPUT,
            Self::Load(_) | Self::Start(_) => exit::MODEL,
            Self::Serve(_) | Self::Extract(_) | Self::Job(_) | Self::Write(_) | Self::System(_) => FAULT,
        }
    }

    /// A reader that has seen enough, such as `head`, is no fault.
    fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Runs the command of this process's arguments.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Extract(args) => extract::run(args),
        Command::Describe(args) => describe::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("liquid-worker: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn configuration(file: &Option<PathBuf>) -> Result<Config, CliError> {
    Ok(config::load(file.as_deref())?)
}
