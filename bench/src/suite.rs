//! `liquid-bench suite`: the GPU suite. Checks the kernels of `liquid-cuda` against f64, the portable path and
//! other implementations, and measures them. Ends with an error when a check fails; its output is what
//! `attention/results` and `cuda/results` keep. `cargo xtask gpu` builds and starts it.

#[cfg(feature = "cuda")]
mod checks;
#[cfg(feature = "cuda")]
mod decoder;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod layers;
#[cfg(feature = "cuda")]
mod random;
#[cfg(feature = "cuda")]
mod runner;
#[cfg(feature = "cuda")]
mod speed;
#[cfg(feature = "cuda")]
mod tensors;

use anyhow::Result;
use clap::{Args, ValueEnum};

/// Checks the kernels on a GPU, and measures them.
#[derive(Args)]
pub(crate) struct Arguments {
    /// What to run; without a name, all but `reference`, `others` and `fallback`.
    #[arg(value_enum, value_name = "SUBJECT", hide_possible_values = true)]
    subjects: Vec<Subject>,
    /// List the subjects, and run nothing.
    #[arg(long)]
    list: bool,
}

/// A part of the suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subject {
    /// Checks: rule, product, layer, loaded, padding, train, long, ragged and transformer
    Check,
    /// Checks the rule against the recurrence in f64 and the portable path
    Rule,
    /// Checks matrix products against f64 and burn's product
    Product,
    /// Checks layers against the portable path, resumed, and step by step
    Layer,
    /// Checks layers loaded from checkpoints of Hugging Face's layout
    Loaded,
    /// Checks that padding changes nothing
    Padding,
    /// Checks gradients against the portable path in f32
    Train,
    /// Checks that the error does not grow along 131,072 tokens
    Long,
    /// Checks launches of sequences of any lengths, whose states lie in slots, and snapshots of states
    Ragged,
    /// Checks the launches of a decoder with softmax attention: paged attention, products of few rows, FP8, sampling
    Transformer,
    /// Checks against transformers and flash-linear-attention, which python3 must have
    Reference,
    /// Checks layers that the kernels serve in part or not at all; burn tunes its products for minutes
    Others,
    /// Checks gradients of heads for which there are no kernels; burn tunes its products for minutes
    Fallback,
    /// Times each kernel and product alone
    Kernels,
    /// Times each launch of a decoder alone, and its decoding step
    Decoder,
    /// Times a training step
    Training,
    /// Times prefill by length, and a decoding step
    Bench,
    /// Times what the options of a layer cost
    Options,
    /// Prints the headline table, as `cargo xtask bench attention --device cuda` does
    Table,
}

/// What `check` stands for.
const CHECKS: [Subject; 9] = [
    Subject::Rule,
    Subject::Product,
    Subject::Layer,
    Subject::Loaded,
    Subject::Padding,
    Subject::Train,
    Subject::Long,
    Subject::Ragged,
    Subject::Transformer,
];

/// What runs only where it is named: one subject needs Python, the others take minutes.
const NAMED: [Subject; 3] = [Subject::Reference, Subject::Others, Subject::Fallback];

/// What is measured, in the order in which it runs.
const MEASURED: [Subject; 6] = [
    Subject::Kernels,
    Subject::Decoder,
    Subject::Training,
    Subject::Bench,
    Subject::Options,
    Subject::Table,
];

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        list();
        return Ok(());
    }
    start(&chosen(&arguments.subjects))
}

#[cfg(feature = "cuda")]
fn start(subjects: &[Subject]) -> Result<()> {
    runner::run(subjects)
}

#[cfg(not(feature = "cuda"))]
fn start(_: &[Subject]) -> Result<()> {
    anyhow::bail!(
        "this build has no kernels; run `cargo xtask gpu`, or build liquid-bench with --features cuda"
    )
}

fn list() {
    for value in Subject::value_variants()
        .iter()
        .filter_map(Subject::to_possible_value)
    {
        let about = value.get_help().map(ToString::to_string).unwrap_or_default();
        println!("{:<10} {about}", value.get_name());
    }
}

/// The subjects to run, each once and in the suite's order: checks first, as figures of wrong kernels are
/// worth nothing.
fn chosen(named: &[Subject]) -> Vec<Subject> {
    let is_named = |subject: &Subject| named.contains(subject);
    let all_checks = named.is_empty() || is_named(&Subject::Check);
    let checks = CHECKS.into_iter().filter(|check| all_checks || is_named(check));
    let only_named = NAMED.into_iter().filter(is_named);
    let measured = MEASURED
        .into_iter()
        .filter(|subject| named.is_empty() || is_named(subject));
    checks.chain(only_named).chain(measured).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_needs_no_name_runs_without_one() {
        let all = chosen(&[]);
        assert_eq!(all.len(), CHECKS.len() + MEASURED.len());
        assert!(NAMED.iter().all(|subject| !all.contains(subject)));
    }

    #[test]
    fn check_stands_for_the_checks_and_runs_each_once() {
        assert_eq!(chosen(&[Subject::Rule, Subject::Check]), CHECKS);
        let some = chosen(&[Subject::Table, Subject::Fallback, Subject::Check]);
        assert_eq!(some[..CHECKS.len()], CHECKS);
        assert_eq!(some[CHECKS.len()..], [Subject::Fallback, Subject::Table]);
    }

    #[test]
    fn every_subject_can_be_run() {
        for subject in Subject::value_variants() {
            assert!(!chosen(&[*subject]).is_empty(), "{subject:?}");
        }
    }
}
