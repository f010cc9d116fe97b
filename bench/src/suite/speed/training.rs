//! A training step: forward, and gradients of all parameters and the input.

use std::time::{Duration, Instant};

use anyhow::Result;
use burn::tensor::{DType, Device, Distribution, Tensor};
use liquid_attention::{LiquidAttention, LiquidInput};

use super::rounds::{median, ms, reserved, wait};
use crate::suite::layers::{recording_in_bf16, without_biases};

const D_MODEL: usize = 4096;
const HEADS: usize = 32;

/// Measures and prints training steps.
pub(in crate::suite) fn print(device: &Device) -> Result<()> {
    println!(
        "training step, embed {D_MODEL}, batch 1, bf16, causal, projections included, gradient by the input too"
    );
    println!(
        "{:>8} {:>6} {:>12} {:>12} {:>12} {:>10}",
        "tokens", "heads", "forward ms", "backward ms", "step ms", "GiB"
    );
    for tokens in [8_192, 32_768] {
        print_row(device, tokens)?;
    }
    Ok(())
}

fn print_row(device: &Device, tokens: usize) -> Result<()> {
    let recording = device.clone().autodiff();
    let layer = recording_in_bf16(&without_biases(D_MODEL, HEADS), device)?;
    let random = || {
        Tensor::<3>::random(
            [1, tokens, D_MODEL],
            Distribution::Normal(0.0, 1.0),
            (&recording, DType::BF16),
        )
    };
    let step = Step {
        x: random(),
        weights: random(),
        layer,
        device,
    };
    wait(device)?;
    device.memory_cleanup();
    let before = reserved(device);
    let halves: Vec<_> = (0..9).map(|_| step.in_halves()).collect::<Result<_>>()?;
    let through: Vec<_> = (0..7).map(|_| step.through()).collect::<Result<_>>()?;
    let halves = median_of_halves(halves);
    println!(
        "{tokens:>8} {HEADS:>6} {:>12.2} {:>12.2} {:>12.2} {:>10.2}",
        ms(halves.forward),
        ms(halves.all - halves.forward),
        ms(median(through)),
        reserved(device) - before
    );
    Ok(())
}

/// Times of a step whose forward pass is waited for.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Halves {
    all: Duration,
    forward: Duration,
}

/// The step whose whole time is the median.
fn median_of_halves(mut halves: Vec<Halves>) -> Halves {
    halves.sort();
    halves.get(halves.len() / 2).copied().unwrap_or_default()
}

/// A layer that records gradients, and what it is given.
struct Step<'a> {
    layer: LiquidAttention,
    x: Tensor<3>,
    /// Weights of the output in the loss.
    weights: Tensor<3>,
    device: &'a Device,
}

impl Step<'_> {
    /// Times a step, and within it the forward pass, which is waited for.
    fn in_halves(&self) -> Result<Halves> {
        let start = Instant::now();
        let loss = self.loss()?;
        wait(self.device)?;
        let forward = start.elapsed();
        self.finish(&loss)?;
        Ok(Halves {
            all: start.elapsed(),
            forward,
        })
    }

    /// Times a step whose halves follow each other at once.
    fn through(&self) -> Result<Duration> {
        let start = Instant::now();
        let loss = self.loss()?;
        self.finish(&loss)?;
        Ok(start.elapsed())
    }

    fn loss(&self) -> Result<Tensor<1>> {
        let x = self.x.clone().require_grad();
        let input = LiquidInput::self_attn(x).is_causal(true);
        let output = self.layer.forward(input)?.context;
        Ok((output * self.weights.clone()).sum())
    }

    fn finish(&self, loss: &Tensor<1>) -> Result<()> {
        let gradients = loss.backward();
        wait(self.device)?;
        drop(gradients);
        Ok(())
    }
}
