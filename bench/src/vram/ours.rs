//! Our engine's memory for a prompt, in both number types of its projections, keys and values.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use liquid_cuda::device::{Context, DeviceInfo};
use liquid_decoder::cuda::{CudaModel, CudaOptions, Precision};
use liquid_decoder::engine::Runner;
use liquid_decoder::{CacheSize, KvCache, Segment, Wanted};

use super::report::{Point, Subject};
use crate::decoder::Random;

/// Measures prompts of some lengths, each in a cache that holds no more.
pub(super) fn measure(gpu: usize, folder: &Path, lengths: &[usize]) -> Result<Vec<Subject>> {
    [(Precision::Bf16, "bf16"), (Precision::Fp8, "FP8")]
        .into_iter()
        .map(|(precision, name)| {
            let points = points(gpu, folder, precision, lengths).context(name)?;
            Ok(Subject {
                name: format!("ours, {name}"),
                points,
            })
        })
        .collect()
}

fn points(gpu: usize, folder: &Path, precision: Precision, lengths: &[usize]) -> Result<Vec<Point>> {
    let options = CudaOptions {
        device: gpu,
        precision,
        keys_values: precision,
        sequences: 1,
        ..CudaOptions::default()
    };
    let mut model = CudaModel::load(folder, options, &|_, _| ())?;
    let context = Context::open(gpu)?;
    let total = DeviceInfo::of(gpu)?.memory;
    let vocabulary = model.architecture().vocab_size;
    let mut points = Vec::new();
    for &tokens in lengths {
        let size = CacheSize::of_one(tokens.next_multiple_of(KvCache::PAGE_TOKENS));
        let mut cache = model.cache(size)?;
        let prompt = Random(5).tokens(tokens, vocabulary);
        let started = Instant::now();
        read(&mut model, &mut cache, &prompt)?;
        points.push(Point {
            tokens,
            allocated: model.memory_bytes()
                + model.page_bytes() * size.pages as u64
                + model.state_bytes() * size.states as u64,
            device: total.saturating_sub(context.free_memory()?) as u64,
            seconds: started.elapsed().as_secs_f64(),
        });
    }
    Ok(points)
}

/// Reads a prompt to the logits of its last token.
fn read(model: &mut CudaModel, cache: &mut KvCache, prompt: &[u32]) -> Result<()> {
    let mut sequence = cache.sequence(&[], prompt.len())?;
    let step = model.limits().step_tokens;
    let last = prompt.len().saturating_sub(1) / step;
    for (number, tokens) in prompt.chunks(step).enumerate() {
        let wanted = match number == last {
            true => Wanted::Last,
            false => Wanted::Nothing,
        };
        let mut segments = [Segment {
            sequence: &mut sequence,
            tokens,
            wanted,
        }];
        model.pass(cache, &mut segments)?;
    }
    cache.release(sequence);
    Ok(())
}
