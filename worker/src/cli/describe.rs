//! `liquid-worker describe`: what a worker with this configuration would serve.

use std::io::Write;

use super::{CliError, DescribeArgs, configuration};
use crate::runtime::Runtime;

pub(super) fn run(args: &DescribeArgs) -> Result<(), CliError> {
    let config = configuration(&args.config)?;
    let runtime = Runtime::start(&config)?;
    let tiers: Vec<_> = runtime.tiers().iter().map(|tier| tier.name()).collect();
    let device = runtime.model().map_or_else(
        || config.model.device.to_string(),
        |(_, card, _)| card.device.clone(),
    );
    let mut lines = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("tiers", tiers.join(", ")),
        ("device", device),
    ];
    match runtime.model() {
        None => lines.push(("model", "none (set model.folder for the other tiers)".to_owned())),
        Some((name, card, vocabulary)) => lines.extend([
            ("model", name.to_owned()),
            (
                "weights",
                format!("sha256 {}, {} parameters", card.sha256, card.parameters),
            ),
            (
                "tokenizer",
                format!(
                    "wordpiece, sha256 {}, {vocabulary} entries",
                    card.tokenizer_sha256
                ),
            ),
        ]),
    }
    if let Some((name, card)) = runtime.ranker() {
        let weights = format!("{name}, sha256 {}, {} parameters", card.sha256, card.parameters);
        lines.push(("ranker", weights));
    }
    let limits = &config.limits;
    lines.extend([
        ("documents", format!("up to {} bytes", limits.max_document_bytes)),
        ("questions", format!("up to {} bytes", limits.max_question_bytes)),
        (
            "asks",
            format!(
                "up to {} of a document of up to {} texts",
                limits.max_asks, limits.max_texts
            ),
        ),
        ("queue", format!("up to {} requests", limits.queue)),
    ]);
    let mut out = std::io::stdout().lock();
    for (name, value) in lines {
        writeln!(out, "{name:10} {value}").map_err(CliError::Write)?;
    }
    Ok(())
}
