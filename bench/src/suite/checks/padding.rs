//! Padded sequences: what stands in the padding changes nothing, bit for bit, and the rest is what the tokens
//! alone give. The last is exact in the kernels; cuBLAS may sum a product of other rows in another order.

use anyhow::Result;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use liquid_attention::{LiquidAttention, State};

use super::Report;
use super::layer::{input, with_everything};
use crate::suite::layers::{Pass, in_bf16, without_biases};
use crate::suite::random::Random;
use crate::suite::tensors::values;

const BATCH: usize = 3;
const TOKENS: usize = 300;
const WIDTH: usize = 512;

/// Checks padding with a plain layer and with one that has every option.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for config in [without_biases(WIDTH, 4), with_everything(WIDTH)] {
        check_layer(device, report, &in_bf16(&config, device)?.packed())?;
    }
    Ok(())
}

/// Whether a token is padding: the end of the first sequence, and tokens all over the second.
fn is_padding(row: usize, token: usize) -> bool {
    match row {
        0 => token >= 200,
        1 => token < 37 || token.is_multiple_of(5),
        _ => false,
    }
}

fn check_layer(device: &Device, report: &mut Report, layer: &LiquidAttention) -> Result<()> {
    let mut random = Random::new(77);
    let shape = [BATCH, TOKENS, WIDTH];
    let x = input(&mut random, shape, device);
    let noise = input(&mut random, shape, device).mul_scalar(50.0);
    let flags: Vec<bool> = (0..BATCH * TOKENS)
        .map(|i| is_padding(i / TOKENS, i % TOKENS))
        .collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(flags, [BATCH, TOKENS]), device);
    let run = |x: Tensor<3>| -> Result<Pass> {
        let mut state = layer.fresh_state(BATCH);
        let output = layer.prefill_padded(x, Some(mask.clone()), &mut state)?;
        Ok(Pass { output, state })
    };
    let padded = run(x.clone())?;
    check_step(device, report, layer, &x, &padded.state)?;
    let wide = mask.clone().reshape([BATCH, TOKENS, 1]).expand(shape);
    let noisy = run(x.clone().mask_where(wide, noise))?;
    report.compare_passes("padding, whatever stands in it", &noisy, &padded, 0.0);
    for row in 0..BATCH {
        let kept: Vec<i32> = (0..TOKENS)
            .filter(|token| !is_padding(row, *token))
            .map(|token| token as i32)
            .collect();
        let kept = Tensor::<1, Int>::from_ints(kept.as_slice(), device);
        let select = |all: &Tensor<3>| all.clone().narrow(0, row, 1).select(1, kept.clone());
        let alone = Pass::fresh(layer, select(&x))?;
        let mut ours = padded.clone();
        ours.output = select(&padded.output);
        ours.state.memory = padded.state.memory.clone().narrow(0, row, 1);
        ours.state.conv = padded.state.conv.clone().map(|tail| tail.narrow(0, row, 1));
        let name = format!("padding, sequence {row} and its tokens alone");
        report.compare_passes(&name, &ours, &alone, 0.0);
    }
    Ok(())
}

/// Checks that a token that is padding leaves its sequence as it was, in a step too.
fn check_step(
    device: &Device,
    report: &mut Report,
    layer: &LiquidAttention,
    x: &Tensor<3>,
    state: &State,
) -> Result<()> {
    let flags: Vec<bool> = (0..BATCH).map(|row| row != 1).collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(flags, [BATCH, 1]), device);
    let token = x.clone().narrow(1, 7, 1);
    let (mut after, mut open) = (state.clone(), state.clone());
    layer.prefill_padded(token.clone(), Some(mask), &mut after)?;
    layer.prefill(token, &mut open)?;
    for row in 0..BATCH {
        let expected = if row == 1 { &open } else { state };
        let sequence = |state: &State| {
            let tail = state.conv.clone().map(|tail| values(tail.narrow(0, row, 1)));
            (values(state.memory.clone().narrow(0, row, 1)), tail)
        };
        let same = sequence(&after) == sequence(expected);
        report.holds(&format!("a step of padding, sequence {row}"), same);
    }
    Ok(())
}
