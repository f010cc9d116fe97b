//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

/// What an installation of Liquid Memory is doing, what is wrong with it, and what it saves.
#[derive(Parser, Debug)]
#[command(name = "kubectl-liquid", bin_name = "kubectl liquid", version)]
pub struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Options of every command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Global {
    /// Look at this namespace alone [default: all that you may list, else that of the context].
    #[arg(long, short, global = true)]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The kubeconfig [default: $KUBECONFIG, else ~/.kube/config].
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How to print.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show every proxy: is it ready, with how many workers, and what has it saved.
    Status,
}
