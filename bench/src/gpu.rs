//! `liquid-bench gpu`: the checks of encoder and ranker on a GPU that need one, and their speed. The output is what
//! `worker/results/` keeps.
//!
//! The same models on the processor are the reference. What is checked ends the command with an error when it is
//! wrong.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use liquid_worker::engine::Tier;
use liquid_worker::model::{Comparison, Device, EncodeError, Encoded, Encoder, Models};

use crate::extract::{self, document};

mod ranker;

/// Least cosine of a vector with its peer on the processor.
const LEAST_COSINE: f64 = 0.99;

/// Tokens of the windows that both devices read.
const COMPARED_TOKENS: usize = 12_000;

/// Batches that a speed is the median of.
const RUNS: usize = 15;

/// Checks encoder and ranker on a GPU against the processor, and measures them.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The GPU: cuda or cuda:N.
    #[arg(long, default_value = "cuda")]
    device: Device,
    /// Folder of the model.
    #[arg(long, default_value = ".cache/models/all-minilm-l6-v2")]
    model: PathBuf,
    /// Folder of the ranker.
    #[arg(long, default_value = ".cache/models/liquid-ranker")]
    ranker: PathBuf,
    /// Folder of the DEV sets.
    #[arg(long, default_value = "eval")]
    sets: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(
        arguments.device != Device::Cpu,
        "--device {}: name a GPU",
        arguments.device
    );
    let started = Instant::now();
    let mut gpu = Models::load_with_ranker(&arguments.model, &arguments.ranker, arguments.device)?;
    let load = started.elapsed();
    let mut cpu = Models::load_with_ranker(&arguments.model, &arguments.ranker, Device::Cpu)?;
    println!(
        "liquid-worker {} on {}, reference {}",
        env!("CARGO_PKG_VERSION"),
        gpu.card.device,
        cpu.card.device
    );
    let windows = windows(arguments, &gpu)?;
    println!("models read, device opened, kernels compiled: {:.0} ms", ms(load));
    let started = Instant::now();
    let first = gpu.encoder.encode(&[&windows[0]])?;
    println!(
        "weights copied, first window of {} tokens read: {:.0} ms",
        first[0].tokens.len() / gpu.encoder.dim(),
        ms(started.elapsed())
    );
    let started = Instant::now();
    let speed = gpu.encoder.warm_up()?.context("this device does not warm up")?;
    println!(
        "warm-up of all sizes: {:.0} ms, at best {speed:.0} tokens/s",
        ms(started.elapsed())
    );
    agreement(cpu.encoder.as_mut(), gpu.encoder.as_mut(), &windows)?;
    comparisons(cpu.encoder.as_mut(), gpu.encoder.as_mut(), &windows)?;
    rates(gpu.encoder.as_mut())?;
    if let (Some(cpu), Some(gpu)) = (&mut cpu.ranker, &mut gpu.ranker) {
        ranker::check(cpu.ranker.as_mut(), gpu.ranker.as_mut(), &windows)?;
    }
    without_memory(gpu.encoder.as_mut(), &windows, arguments)?;
    started_without_memory(arguments)
}

/// Windows of many lengths from real documents, the longest that the model reads among them.
fn windows(arguments: &Arguments, models: &Models) -> Result<Vec<Vec<u32>>> {
    let text = document::build(&arguments.sets, 3 * COMPARED_TOKENS)?.text;
    let ids = models.tokenizer.encode(&text).ids;
    let most = models.encoder.max_tokens();
    let lengths = [
        1,
        2,
        30,
        31,
        62,
        64,
        70,
        78,
        79,
        94,
        95,
        126,
        158,
        254,
        300,
        most - 1,
        most,
    ];
    let mut windows = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for length in lengths.into_iter().cycle() {
        if tokens + length > COMPARED_TOKENS {
            break;
        }
        let window = ids
            .get(start..start + length)
            .context("the document is too short")?;
        windows.push(window.to_vec());
        start += length + 7;
        tokens += length;
    }
    Ok(windows)
}

fn slices(windows: &[Vec<u32>]) -> Vec<&[u32]> {
    windows.iter().map(Vec::as_slice).collect()
}

/// Hidden states and embeddings of both devices.
fn agreement(cpu: &mut dyn Encoder, gpu: &mut dyn Encoder, windows: &[Vec<u32>]) -> Result<()> {
    let dim = cpu.dim();
    let (theirs, ours) = (cpu.encode(&slices(windows))?, gpu.encode(&slices(windows))?);
    let mut least = [1.0_f64; 2];
    let mut worst = 0.0_f64;
    for (a, b) in theirs.iter().zip(&ours) {
        ensure!(
            a.tokens.len() == b.tokens.len(),
            "a window has another number of states"
        );
        least[0] = least[0].min(cosine(&a.sentence, &b.sentence));
        for (a, b) in a.tokens.chunks_exact(dim).zip(b.tokens.chunks_exact(dim)) {
            least[1] = least[1].min(cosine(a, b));
            worst = worst.max(distance(a, b));
        }
    }
    println!(
        "agreement with the processor, {} windows of 1 to {} tokens: least cosine of an embedding {:.9}, of a hidden \
         state {:.9}; largest relative error of a state {worst:.1e}",
        windows.len(),
        gpu.max_tokens(),
        least[0],
        least[1],
    );
    ensure!(
        least.iter().all(|cosine| *cosine >= LEAST_COSINE),
        "the devices disagree"
    );
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum::<f64>()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = |of: &mut dyn Iterator<Item = f64>| of.map(|x| x * x).sum::<f64>().sqrt();
    squares(&mut a.iter().zip(b).map(|(x, y)| f64::from(*x) - f64::from(*y)))
        / squares(&mut a.iter().map(|x| f64::from(*x)))
}

/// The comparison with a question: what the device answers, against the same from the processor's hidden
/// states.
fn comparisons(cpu: &mut dyn Encoder, gpu: &mut dyn Encoder, windows: &[Vec<u32>]) -> Result<()> {
    let mut worst = 0.0_f64;
    for length in [1, 20, 33, 128, 200] {
        let question: Vec<u32> = windows.iter().flatten().copied().skip(500).take(length).collect();
        let said = cpu.encode(&[&question])?.remove(0);
        let mut task = Comparison::new(question, 128);
        for window in windows {
            let (third, length) = (window.len() / 3, window.len());
            task.push(
                window,
                [0..third, third..length]
                    .into_iter()
                    .filter(|unit| !unit.is_empty()),
            );
        }
        let comparer = gpu.comparer().context("this device does not compare")?;
        let compared = comparer.compare(&Arc::new(task.clone()))?;
        let encoded = cpu.encode(&slices(windows))?;
        worst = worst.max(worst_difference(&task, &said, &encoded, &compared));
    }
    println!("comparisons with questions of 1 to 200 tokens: largest error of a cosine {worst:.1e}");
    ensure!(worst < 1e-2, "the comparisons disagree");
    Ok(())
}

fn worst_difference(
    task: &Comparison,
    said: &Encoded,
    encoded: &[Encoded],
    compared: &liquid_worker::model::Compared,
) -> f64 {
    let dim = said.sentence.len();
    let mut worst = 0.0_f64;
    let mut differ = |ours: f32, exact: f64| {
        let difference = (f64::from(ours) - exact).abs();
        // NaN is the worst of all.
        worst = if difference <= worst { worst } else { difference };
    };
    for (window, states) in encoded.iter().enumerate() {
        differ(compared.windows[window], cosine(&said.sentence, &states.sentence));
        for (piece, asked) in said.tokens.chunks_exact(dim).take(task.pieces).enumerate() {
            let best = states
                .tokens
                .chunks_exact(dim)
                .map(|state| cosine(asked, state))
                .fold(-1.0, f64::max);
            differ(compared.best[window * task.pieces + piece], best);
        }
        for unit in task.units_of(window) {
            let range = task.unit(unit);
            let mut mean = vec![0.0_f32; dim];
            for state in states.tokens[range.start * dim..range.end * dim].chunks_exact(dim) {
                mean.iter_mut().zip(state).for_each(|(mean, x)| *mean += x);
            }
            differ(compared.units[unit], cosine(&said.sentence, &mean));
        }
    }
    worst
}

/// Tokens a second of comparisons, by batch and by window.
fn rates(gpu: &mut dyn Encoder) -> Result<()> {
    println!("{:>8} {:>8} {:>9} {:>12}", "tokens", "window", "ms", "tokens/s");
    for (tokens, window) in [
        (512, 64),
        (4096, 64),
        (16_384, 64),
        (32_768, 64),
        (131_072, 64),
        (32_768, 128),
        (32_768, 256),
        (32_768, 512),
    ] {
        let mut task = Comparison::new((1000..1020).collect(), 20);
        for number in 0..(tokens / window) as u32 {
            let ids: Vec<u32> = (0..window as u32 - 2)
                .map(|i| 1000 + (number * 977 + i * 31) % 29_000)
                .collect();
            task.push(&ids, std::iter::once(0..ids.len()));
        }
        let task = Arc::new(task);
        let comparer = gpu.comparer().context("this device does not compare")?;
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let started = Instant::now();
            comparer.compare(&task)?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let median = times[RUNS / 2];
        println!(
            "{tokens:>8} {window:>8} {:>9.2} {:>12.0}",
            ms(median),
            tokens as f64 / median.as_secs_f64()
        );
    }
    Ok(())
}

/// Checks the encoder with almost all of the device's memory taken: smaller batches first, then an error,
/// then work again.
fn without_memory(warm: &mut dyn Encoder, windows: &[Vec<u32>], arguments: &Arguments) -> Result<()> {
    let many: Vec<&[u32]> = slices(windows)
        .into_iter()
        .cycle()
        .take(4 * windows.len())
        .collect();
    let expected = warm.encode(&many)?;
    for leave_mib in [400_usize, 40] {
        let mut models = Models::load(&arguments.model, arguments.device)?;
        let outcome = {
            let _taken = take_memory(arguments.device, leave_mib)?;
            models.encoder.encode(&many)
        };
        match outcome {
            Ok(encoded) => {
                let same = encoded
                    .iter()
                    .zip(&expected)
                    .all(|(a, b)| cosine(&a.sentence, &b.sentence) > 0.999_99);
                ensure!(same, "smaller batches give other embeddings");
                println!("{leave_mib} MiB left on the device: read in smaller batches, same embeddings");
            }
            Err(error @ EncodeError::OutOfMemory { .. }) => {
                println!("{leave_mib} MiB left on the device: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        let again = models
            .encoder
            .encode(&many)
            .context("after the memory is free again")?;
        ensure!(again.len() == many.len(), "answers are missing");
        println!("  and with the memory free again: works");
    }
    Ok(())
}

/// A process that starts while the device has no memory even for being opened.
fn started_without_memory(arguments: &Arguments) -> Result<()> {
    let _taken = take_memory(arguments.device, 60)?;
    let (model, sets) = (&arguments.model, &arguments.sets);
    let output = extract::case_command(arguments.device, model, sets, Tier::Encoder, 2000)?
        .output()
        .context("running a case in a process of its own")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().next().unwrap_or_default();
    println!("a process that starts with 60 MiB left: {first}");
    ensure!(
        first.contains("no memory left"),
        "it does not say that memory is short"
    );
    Ok(())
}

/// Device memory that nobody else gets until this is dropped.
#[cfg(feature = "cuda-worker")]
struct TakenMemory {
    _parts: Vec<liquid_cuda::device::Buffer>,
}

/// Takes all but so much of the device's free memory.
#[cfg(feature = "cuda-worker")]
fn take_memory(device: Device, leave_mib: usize) -> Result<TakenMemory> {
    /// Largest part that is asked for at once.
    const PART: usize = 8 << 30;
    let Device::Cuda(number) = device else {
        bail!("{device} is no GPU")
    };
    let context = liquid_cuda::device::Context::open(number)?;
    let mut left = context.free_memory()?.saturating_sub(leave_mib << 20);
    let mut parts = Vec::new();
    while left > 0 {
        let part = left.min(PART);
        parts.push(context.allocate(part)?);
        left -= part;
    }
    Ok(TakenMemory { _parts: parts })
}

#[cfg(not(feature = "cuda-worker"))]
struct TakenMemory;

#[cfg(not(feature = "cuda-worker"))]
fn take_memory(device: Device, _: usize) -> Result<TakenMemory> {
    bail!("{device}: this build has no CUDA; build liquid-bench with --features cuda-worker")
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
