//! The command line.

use clap::{Parser, Subcommand};

use crate::bundle;
use crate::session::Global;
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

/// The commands.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Say in words what is wrong, where, and what to do about it. Reads only; ends with 1 if there is an error.
    Check,
    /// Show the operator, and every proxy: is it ready, with how many workers, and what has it saved.
    Status,
    /// Show how many tokens did not reach an LLM, by proxy, and what they would have cost: at spec.price, or at --price.
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
