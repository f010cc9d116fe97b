//! The layer at the lengths of the headline table, one decoding step, and what the options of a layer cost.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{DType, Device, Distribution, Tensor};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig};

use super::rounds::{median, ms, reserved, wait};
use crate::suite::layers::{Pass, in_bf16, without_biases};

/// Measures and prints a layer of 4096 with 32 heads by length.
pub(in crate::suite) fn print(device: &Device) -> Result<()> {
    let (d_model, heads) = (4096, 32);
    let layer = in_bf16(&without_biases(d_model, heads), device)?.packed();
    wait(device)?;
    let start = Instant::now();
    layer.warm_up(1)?;
    println!("warm-up {:.1} ms", ms(start.elapsed()));
    println!(
        "embed {d_model}, {heads} heads, batch 1, bf16, causal, projections included; memory besides weights and input"
    );
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>12} {:>10}",
        "tokens", "first ms", "median ms", "min ms", "extra GiB", "no sync ms"
    );
    for tokens in [2_048, 8_192, 32_768, 131_072, 1 << 20] {
        time_prefill(device, &layer, tokens)?;
    }
    for tokens in [2_048, 131_072, 1 << 20] {
        time_step(device, &layer, tokens)?;
    }
    // The GPU has next to nothing to do for this one: what the host takes.
    let small = in_bf16(&without_biases(512, 4), device)?.packed();
    time_step(device, &small, 2_048)
}

/// Measures and prints layers with one option each, and a layer of the sizes of Qwen3-Next.
pub(in crate::suite) fn print_options(device: &Device) -> Result<()> {
    let drop_in = LiquidAttentionConfig::new(4096, 32);
    let plain = without_biases(4096, 32);
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
        let layer = in_bf16(&config, device)?.packed();
        for tokens in [2_048, 8_192, 32_768] {
            time_prefill(device, &layer, tokens)?;
        }
        time_step(device, &layer, 2_048)?;
    }
    Ok(())
}

fn input(device: &Device, tokens: usize, d_model: usize) -> Tensor<3> {
    Tensor::random(
        [1, tokens, d_model],
        Distribution::Normal(0.0, 1.0),
        (device, DType::BF16),
    )
}

/// Prints a row: the first prefill of this length, single ones, and ones behind each other.
fn time_prefill(device: &Device, layer: &LiquidAttention, tokens: usize) -> Result<()> {
    let x = input(device, tokens, layer.settings.d_model);
    let state = layer.fresh_state(1);
    wait(device)?;
    device.memory_cleanup();
    let before = reserved(device);
    let once = || Pass::behind(layer, state.clone(), x.clone());
    let start = Instant::now();
    drop(once()?);
    wait(device)?;
    let first = ms(start.elapsed());
    let extra = reserved(device) - before;
    let mut times = Vec::new();
    for _ in 0..12 {
        let start = Instant::now();
        let output = once()?;
        wait(device)?;
        times.push(start.elapsed());
        drop(output);
    }
    // Several calls behind each other, as in a model: no waiting between them. The first round finds the
    // memory.
    let calls = 8;
    let round = || -> Result<f64> {
        let start = Instant::now();
        for _ in 0..calls {
            drop(once()?);
        }
        wait(device)?;
        Ok(ms(start.elapsed()) / f64::from(calls))
    };
    round()?;
    let through = round()?;
    let least = ms(times.iter().min().copied().unwrap_or_default());
    println!(
        "{tokens:>10} {first:>10.1} {:>10.3} {least:>10.3} {extra:>12.3} {through:>10.3}",
        ms(median(times))
    );
    Ok(())
}

/// Prints what a step takes behind a context of that many tokens.
fn time_step(device: &Device, layer: &LiquidAttention, context: usize) -> Result<()> {
    let d_model = layer.settings.d_model;
    let mut state = layer.fresh_state(1);
    // The context in pieces, so that it costs no memory.
    for _ in 0..context / 2_048 {
        layer.prefill(input(device, 2_048, d_model), &mut state)?;
    }
    let mut x = input(device, 1, d_model);
    wait(device)?;
    let mut times = Vec::new();
    for _ in 0..6 {
        let start = Instant::now();
        for _ in 0..200 {
            x = layer.step(x, &mut state)?;
        }
        wait(device)?;
        times.push(start.elapsed() / 200);
    }
    println!(
        "step of {d_model:>4} after {context:>8} tokens: {:.1} us",
        ms(median(times.split_off(1))) * 1e3
    );
    Ok(())
}
