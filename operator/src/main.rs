//! The `liquid-operator` binary.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use liquid_operator::config::Settings;

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
    Crds,
    /// Take back what would block the cluster once the operator is gone: the webhook first.
    Uninstall(Box<Settings>),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve(_) | Command::Crds | Command::Uninstall(_) => {
            eprintln!("liquid-operator: not built yet");
            ExitCode::FAILURE
        }
    }
}
