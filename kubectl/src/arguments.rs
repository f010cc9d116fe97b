//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bundle;
use crate::output::Format;
use crate::{explain, inject, packs, savings, support};

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
    /// Say in words what is wrong, where, and what to do about it. Reads only; ends with 1 if there is an error.
    Check,
    /// Show the operator, and every proxy: is it ready, with how many workers, and what has it saved.
    Status,
    /// Show how many tokens did not reach an LLM, by proxy, and with --price what they would have cost.
    Savings(savings::Arguments),
    /// Show what sidecars have made of documents, by kind, decision and reason.
    Packs(packs::Arguments),
    /// Explain a pod: is it served, by what, where do its calls go, and why.
    Explain(explain::Arguments),
    /// Print manifests with the sidecar in their pods, as the webhook would make them; YAML, or a List with -o json.
    Inject(inject::Arguments),
    /// Show the images that run, and those that new pods get.
    Images,
    /// Show certificates: until when they are valid and when they are renewed. Ends with 1 if one has expired.
    Certificates,
    /// Write an archive for whoever helps: objects, logs and metrics, without secrets or texts.
    SupportBundle(support::Arguments),
    /// Check a signed bundle of images, models and charts, or push it to a registry.
    #[command(subcommand)]
    Bundle(bundle::Action),
}
