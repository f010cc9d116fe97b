//! The plugin `kubectl liquid`: what an installation of Liquid Memory is doing, what is wrong with it, and what it saves.
//!
//! A command reads the cluster through `session`, decides by pure functions, and prints by `output`: a table for
//! people, or JSON. Names, types and reasons are the operator's own; nothing of them is written here again.

#![forbid(unsafe_code)]

mod arguments;
mod bundle;
mod certificates;
mod check;
mod explain;
mod images;
mod inject;
mod output;
mod packs;
mod savings;
mod session;
mod snapshot;
mod status;
mod support;

use std::process::ExitCode;

use anyhow::{Context, Result};

pub use arguments::Arguments;
use arguments::Command;
use session::Session;

/// Runs a command. The code is 1 if what was asked about is not well.
///
/// # Errors
/// The cluster cannot be reached, or what the command needs cannot be read.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(dispatch(arguments))
}

async fn dispatch(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { command, global } = arguments;
    // Opened by the commands that need a cluster.
    let session = || Session::open(&global);
    match command {
        Command::Inject(arguments) => inject::run(&global, &arguments).await,
        Command::Check => check::run(&session().await?).await,
        Command::Status => status::run(&session().await?).await,
        Command::Savings(arguments) => savings::run(&session().await?, &arguments).await,
        Command::Packs(arguments) => packs::run(&session().await?, &arguments).await,
        Command::Explain(arguments) => explain::run(&session().await?, &arguments).await,
        Command::Images => images::run(&session().await?).await,
        Command::Certificates => certificates::run(&session().await?).await,
        Command::SupportBundle(arguments) => support::run(&session().await?, &arguments).await,
        Command::Bundle(action) => {
            bundle::run(action, global.output).await?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
