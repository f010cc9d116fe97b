//! The parts of the command in their order.

use anyhow::{Context, Result, ensure};
use liquid_cuda::device::DeviceInfo;
use serde_json::Value;

use super::report::Report;
use super::{Arguments, ours, pack, peer};
use crate::decoder::{Checkpoint, ShapeName, gpu_number};
use crate::results;

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let gpu = gpu_number(&arguments.device)?;
    ensure!(
        arguments.tokens >= 256,
        "--tokens {}: set at least 256",
        arguments.tokens
    );
    let pack = pack::tokens(&arguments.sets, arguments.tokens, arguments.ratio)?;
    let lengths = lengths(pack, arguments.tokens);
    let (name, config) = model(arguments)?;
    let mut report = Report {
        device: DeviceInfo::of(gpu)?.name,
        model: name,
        tokens: arguments.tokens,
        pack_tokens: pack,
        ..Report::default()
    };
    for every in [true, false] {
        let peer = peer::measure(arguments, &config, &lengths, every)?;
        report.versions = peer.versions;
        report.subjects.push(peer.subject);
    }
    if !arguments.baseline_only {
        let folder = match &arguments.model {
            Some(folder) => folder.clone(),
            None => {
                Checkpoint::named(ShapeName::Llama8b).write(&arguments.folder)?;
                arguments.folder.clone()
            }
        };
        report.subjects.extend(ours::measure(gpu, &folder, &lengths)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        report.print();
    }
    report.draw(&arguments.png)?;
    results::write_json(&arguments.output, &report)
}

/// The model's name and configuration.
fn model(arguments: &Arguments) -> Result<(String, Value)> {
    match &arguments.model {
        None => {
            let checkpoint = Checkpoint::named(ShapeName::Llama8b);
            Ok((
                "Llama-3.1-8B's shape, random weights".to_owned(),
                checkpoint.config,
            ))
        }
        Some(folder) => {
            let path = folder.join("config.json");
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            Ok((
                name,
                serde_json::from_str(&text).with_context(|| path.display().to_string())?,
            ))
        }
    }
}

/// Lengths that are measured: the pack's, the document's, and its halves that are longer than the pack.
fn lengths(pack: usize, document: usize) -> Vec<usize> {
    let mut lengths = vec![document];
    while let Some(half) = lengths
        .last()
        .map(|length| length / 2)
        .filter(|half| *half > pack)
    {
        lengths.push(half);
    }
    if pack < document {
        lengths.push(pack);
    }
    lengths.reverse();
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_begin_with_the_pack_and_end_with_the_document() {
        assert_eq!(lengths(5958, 32_768), [5958, 8192, 16_384, 32_768]);
        assert_eq!(lengths(900, 900), [900]);
        assert_eq!(lengths(500, 1024), [500, 512, 1024]);
    }
}
