//! The `liquid-operator` binary.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use liquid_contract::exit;
use liquid_operator::api::{definition, reference};
use liquid_operator::config::Settings;
use liquid_operator::{check, serve, uninstall};

/// Runs Liquid Memory on Kubernetes.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Reconcile, inject, rotate certificates, until told to stop.
    Serve(Box<Settings>),
    /// Print the CustomResourceDefinition as YAML.
    Crds {
        /// Print the reference of the API as Markdown instead.
        #[arg(long)]
        reference: bool,
    },
    /// Take back what would block the cluster once the operator is gone: the webhook first.
    Uninstall(Box<Settings>),
    /// Look at the installation from inside the cluster: resource type, leader, webhook.
    Check(Box<Settings>),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("liquid-operator: {error}");
            ExitCode::from(exit::RUN)
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Crds { reference: true } => print!("{}", reference::markdown()),
        Command::Crds { reference: false } => print!("{}", definition::yaml()?),
        Command::Serve(settings) => serve::start(&settings)?,
        Command::Uninstall(settings) => uninstall::start(&settings)?,
        Command::Check(settings) => check::start(&settings)?,
    }
    Ok(())
}
