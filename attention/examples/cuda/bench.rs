//! The layer at the lengths of the headline table, and one decoding step.

use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Distribution, Tensor};
use liquid_attention::cuda::timing;
use liquid_attention::{Benchmark, LiquidAttention, LiquidAttentionConfig, Report};

use crate::layer;

const GIB: f64 = 1_073_741_824.0;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

fn wait(device: &Device) {
    device.sync().unwrap_or_else(|error| layer::stop(&error));
}

fn reserved(device: &Device) -> f64 {
    device
        .memory_pool_usage()
        .map_or(f64::NAN, |usage| usage.bytes_reserved as f64 / GIB)
}

/// Prints the table.
pub(crate) fn run(device: &Device) {
    let (d_model, heads) = (4096, 32);
    let layer = layer::make(device, d_model, heads).packed();
    wait(device);
    let start = Instant::now();
    layer.warm_up(1).unwrap_or_else(|error| layer::stop(&error));
    println!("warm-up {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    println!(
        "embed {d_model}, {heads} heads, batch 1, bf16, causal, projections included; memory besides weights and input"
    );
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "tokens", "first ms", "median ms", "min ms", "extra GiB", "no sync ms"
    );
    for tokens in [2_048, 8_192, 32_768, 131_072, 1 << 20] {
        prefill(device, &layer, tokens);
    }
    for tokens in [2_048, 131_072, 1 << 20] {
        step(device, &layer, tokens);
    }
    // The GPU has next to nothing to do for this one: what the host takes.
    step(device, &layer::make(device, 512, 4).packed(), 2_048);
}

/// Prints what the options of a layer cost, and a layer of the sizes of Qwen3-Next.
pub(crate) fn options(device: &Device) {
    let drop_in = LiquidAttentionConfig::new(4096, 32);
    let plain = layer::plain(4096, 32);
    let next = LiquidAttentionConfig {
        d_model: 2048,
        ..plain.clone()
    }
    .with_d_key(Some(128))
    .with_d_value(Some(128))
    .with_n_key_heads(Some(16))
    .with_conv_kernel(Some(4))
    .with_output_gate(true);
    let options = [
        ("plain", plain.clone()),
        ("biases", drop_in),
        ("output gate", plain.clone().with_output_gate(true)),
        ("16 key heads", plain.clone().with_n_key_heads(Some(16))),
        ("convolution", plain.with_conv_kernel(Some(4))),
        ("Qwen3-Next", next),
    ];
    for (name, config) in options {
        println!("{name}");
        let layer = layer::of(&config, device).packed();
        for tokens in [2_048, 8_192, 32_768] {
            prefill(device, &layer, tokens);
        }
        step(device, &layer, 2_048);
    }
}

/// Prints the headline table beside its peers, and the same as JSON.
pub(crate) fn table(device: &Device) {
    let benchmark = Benchmark {
        device: device.clone(),
        ..Benchmark::default()
    };
    let say = |report: &Report| {
        if let Some(row) = report.rows.last() {
            println!("{row}");
        }
    };
    match LiquidAttention::benchmark(&benchmark, say) {
        Ok(report) => {
            println!("\n{report}");
            println!("{}", serde_json::to_string(&report).unwrap_or_default());
        }
        Err(error) => println!("{error}"),
    }
}

/// Prints times of the kernels alone.
pub(crate) fn kernels() {
    for tokens in [2_048, 8_192, 16_384, 32_768] {
        let sizes = timing::Sizes {
            embed: 4096,
            heads: 32,
            tokens,
        };
        match timing::kernel_times(0, sizes) {
            Ok(times) => {
                println!("kernels alone, {tokens} tokens, embed 4096, 32 heads:");
                for (name, ms) in times {
                    println!("  {name:36} {ms:>9.4} ms");
                }
            }
            Err(error) => println!("{tokens} tokens: {error}"),
        }
    }
}

fn input(device: &Device, tokens: usize, d_model: usize) -> Tensor<3> {
    Tensor::random(
        [1, tokens, d_model],
        Distribution::Normal(0.0, 1.0),
        (device, DType::BF16),
    )
}

fn prefill(device: &Device, layer: &LiquidAttention, tokens: usize) {
    let x = input(device, tokens, layer.settings.d_model);
    let state = layer.fresh_state(1);
    wait(device);
    device.memory_cleanup();
    let before = reserved(device);
    let once = || {
        let mut state = state.clone();
        layer.prefill(x.clone(), &mut state).ok()
    };
    let start = Instant::now();
    drop(once());
    wait(device);
    let first = start.elapsed().as_secs_f64() * 1e3;
    let extra = reserved(device) - before;
    let mut times = Vec::new();
    for _ in 0..12 {
        let start = Instant::now();
        let output = once();
        wait(device);
        times.push(start.elapsed());
        drop(output);
    }
    // Several calls behind each other, as in a model: no waiting between them. The first round finds the memory.
    let calls = 8;
    for _ in 0..calls {
        drop(once());
    }
    wait(device);
    let start = Instant::now();
    for _ in 0..calls {
        drop(once());
    }
    wait(device);
    let through = start.elapsed().as_secs_f64() * 1e3 / f64::from(calls);
    let least = times.iter().min().copied().unwrap_or_default().as_secs_f64() * 1e3;
    println!(
        "{tokens:>10} {first:>10.1} {:>10.3} {least:>10.3} {extra:>12.3} {through:>10.3}",
        median(times)
    );
}

fn step(device: &Device, layer: &LiquidAttention, context: usize) {
    let d_model = layer.settings.d_model;
    let mut state = layer.fresh_state(1);
    // The context in pieces, so that it costs no memory.
    for _ in 0..context / 2_048 {
        if layer.prefill(input(device, 2_048, d_model), &mut state).is_err() {
            return;
        }
    }
    let mut x = input(device, 1, d_model);
    wait(device);
    let mut times = Vec::new();
    for _ in 0..6 {
        let start = Instant::now();
        for _ in 0..200 {
            match layer.step(x, &mut state) {
                Ok(next) => x = next,
                Err(error) => return eprintln!("{error}"),
            }
        }
        wait(device);
        times.push(start.elapsed() / 200);
    }
    println!(
        "step of {d_model:>4} after {context:>8} tokens: {:.1} us",
        median(times.split_off(1)) * 1e3
    );
}
