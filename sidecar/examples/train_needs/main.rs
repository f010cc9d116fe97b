//! Trains the model that tells requests apart (`sidecar/src/need/model.bin`) from `sidecar/needs/`.
//!
//!     cargo run -p liquid-sidecar --example train_needs [-- LABELLED.jsonl]
//!
//! Prints accuracy on lines of the grammars that a first fit did not see, then fits all of them and writes the model.
//! A file of labelled requests ({"id", "language", "text", "need", "also"}) is scored with the written model.

mod data;
mod fit;
mod grammar;
mod random;
mod report;

use std::path::{Path, PathBuf};

use data::Sample;
use fit::{Example, Fitted, fit};
use liquid_sidecar::need::features::{self, BITS};
use liquid_sidecar::need::model::{MAGIC, NEED, SPEECH, Shape};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Names of the needs, in the order of `Need::ALL`.
const NEEDS: [&str; 6] = ["evidence", "aspect", "overview", "aggregate", "transform", "none"];
/// Names of the kinds of speech, in the order of `Speech::ALL`.
const SPEECHES: [&str; 3] = ["request", "rule", "content"];

fn main() -> Result<()> {
    let sidecar = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = std::env::var_os("NEEDS").map_or_else(|| sidecar.join("needs"), PathBuf::from);
    let data = data::read(&folder)?;
    let samples = data.samples();
    println!("{} samples from {} lines", samples.len(), data.lines());
    let (held, seen): (Vec<&Sample>, Vec<&Sample>) = samples.iter().partition(|sample| sample.held_out);
    let mut file = [MAGIC.as_slice(), &data.hash].concat();
    for (shape, names, label) in [
        (NEED, &NEEDS[..], need as Label),
        (SPEECH, &SPEECHES[..], speech as Label),
    ] {
        let shift = BITS - shape.bits;
        report::print_held_out(&fit_samples(shape, shift, &seen, label), &held, label, names);
        fit_samples(shape, shift, &samples.iter().collect::<Vec<_>>(), label).write(&mut file);
    }
    let target = folder.join("../src/need/model.bin");
    std::fs::write(&target, &file)?;
    println!("{}: {} bytes", target.display(), file.len());
    std::env::args().nth(1).map_or(Ok(()), |labelled| {
        report::print_labelled(&file, Path::new(&labelled))
    })
}

/// Returns a sample's class, None if it has none of this kind.
type Label = fn(&Sample) -> Option<usize>;

fn need(sample: &Sample) -> Option<usize> {
    sample.need
}

fn speech(sample: &Sample) -> Option<usize> {
    sample.speech
}

/// A class has at most so many times the samples that the others have on average.
const MOST: f64 = 2.0;

/// Fits those samples that have a label. A class counts as much as another, within bounds.
fn fit_samples(shape: Shape, shift: u32, samples: &[&Sample], label: Label) -> Fitted {
    let mut counts = vec![0_usize; shape.classes];
    samples
        .iter()
        .filter_map(|sample| label(sample))
        .for_each(|class| counts[class] += 1);
    let all: usize = counts.iter().sum();
    let kept: Vec<f64> = counts
        .iter()
        .map(|&count| (count as f64).min(MOST * (all - count) as f64 / (shape.classes - 1) as f64))
        .collect();
    let mean = kept.iter().sum::<f64>() / shape.classes as f64;
    // How much of the next sample of each class is due: evenly spread over all of them.
    let mut due = vec![0.0; shape.classes];
    let examples: Vec<Example> = samples
        .iter()
        .filter_map(|sample| {
            let class = label(sample)?;
            due[class] += kept[class] / counts[class] as f64;
            if due[class] < 1.0 - 1e-9 {
                return None;
            }
            due[class] -= 1.0;
            let weight = (mean / kept[class]).sqrt().clamp(0.5, 2.0) as f32;
            Some(Example {
                numbers: features::extract(&sample.text),
                class,
                weight,
            })
        })
        .collect();
    fit(shape, shift, &examples)
}
