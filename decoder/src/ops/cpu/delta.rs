//! The gated delta rule token by token, as its recurrence is written: the same bits in whatever pieces a sequence is read.
//! Chunks of tokens would be dense products, but sums in another order for each way to cut a sequence. The recurrence is a
//! twentieth of a model's arithmetic: a head's state passes through the first cache in blocks of columns, each once for all
//! rows of a piece.

use burn::tensor::{Tensor, TensorData};
use pulp::Arch;
use rayon::prelude::*;

use super::super::pages::{DeviceError, Piece};
use super::super::states::DeltaPass;
use super::states::{HostStates, LayerStates};
use super::{SMALL, numbers, sweep};
use crate::config::GatedDelta;
use crate::lanes;

mod convolution;
mod recurrence;

use convolution::Convolution;
use recurrence::{HeadTask, Rates};

/// Weights of a layer as numbers.
struct Weights {
    delta: GatedDelta,
    taps: Vec<f32>,
    decay: Vec<f32>,
    decay_bias: Vec<f32>,
    norm: Vec<f32>,
    epsilon: f32,
}

pub(crate) fn read_delta(states: &mut HostStates, pass: &DeltaPass<'_>) -> Result<Tensor<2>, DeviceError> {
    let lost = || DeviceError("a sequence has no state to be read with".to_owned());
    let delta = states.shape().delta.ok_or_else(lost)?;
    let packed = numbers(&pass.packed)?;
    let weights = Weights {
        delta,
        taps: numbers(&pass.weights.taps)?,
        decay: numbers(&pass.weights.decay)?,
        decay_bias: numbers(&pass.weights.decay_bias)?,
        norm: numbers(&pass.weights.norm)?,
        epsilon: pass.weights.epsilon as f32,
    };
    let rates = Rates::new(&weights, &packed);
    let mut states = states.layer(pass.layer, pass.pieces).ok_or_else(lost)?;
    let mixed = Convolution::new(&weights, &packed, pass.pieces, &states).run();
    convolution::keep_tails(delta, &packed, pass.pieces, &mut states);
    let heads = run_heads(delta, pass.pieces, states, &mixed, &rates);
    let output = close(&weights, pass.pieces, &packed, &heads);
    let shape = [pass.packed.dims()[0], delta.values()];
    Ok(Tensor::from_data(
        TensorData::new(output, shape),
        &pass.packed.device(),
    ))
}

/// Runs the recurrence of every head of every piece; returns the heads' outputs in this order, `[rows, value_width]` each.
fn run_heads(
    delta: GatedDelta,
    pieces: &[Piece<'_>],
    states: Vec<LayerStates<'_>>,
    mixed: &[f32],
    rates: &Rates,
) -> Vec<Vec<f32>> {
    let size = delta.head_state();
    let mut tasks = Vec::new();
    let mut first = 0;
    for (piece, states) in pieces.iter().zip(states) {
        let mut copies: Vec<_> = states
            .copies
            .into_iter()
            .map(|(rows, state)| (rows, state.heads.chunks_exact_mut(size)))
            .collect();
        for (head, state) in states.own.heads.chunks_exact_mut(size).enumerate() {
            let copies = copies.iter_mut();
            tasks.push(HeadTask {
                delta,
                mixed,
                rates,
                head,
                rows: first..first + piece.rows,
                state,
                copies: copies
                    .filter_map(|(rows, heads)| Some((*rows, heads.next()?)))
                    .collect(),
            });
        }
        first += piece.rows;
    }
    let run = |task: HeadTask<'_>| Arch::new().dispatch(task);
    match first * delta.value_heads * size < SMALL {
        true => tasks.into_iter().map(run).collect(),
        false => tasks.into_par_iter().map(run).collect(),
    }
}

/// Norms every head's output and multiplies it by the SiLU of its gate; returns `[rows, values]`.
fn close(weights: &Weights, pieces: &[Piece<'_>], packed: &[f32], heads: &[Vec<f32>]) -> Vec<f32> {
    let delta = weights.delta;
    let (width, count) = (delta.value_width, delta.value_heads);
    let places: Vec<(usize, usize)> = pieces
        .iter()
        .enumerate()
        .flat_map(|(piece, rows)| (0..rows.rows).map(move |row| (piece, row)))
        .collect();
    let mut output = vec![0.0_f32; places.len() * delta.values()];
    sweep(
        &mut output,
        delta.values(),
        #[inline(always)]
        |first, output| {
            let places = places.get(first..).unwrap_or_default();
            let packed = packed.get(first * delta.packed()..).unwrap_or_default();
            let rows = output.chunks_exact_mut(delta.values());
            for ((output, (piece, row)), packed) in rows.zip(places).zip(packed.chunks_exact(delta.packed()))
            {
                let gates = packed.get(delta.channels()..).unwrap_or_default();
                let pairs = output.chunks_exact_mut(width).zip(gates.chunks_exact(width));
                for (head, (output, gate)) in pairs.enumerate() {
                    let own = heads.get(piece * count + head).map_or(&[][..], Vec::as_slice);
                    let own = own.get(row * width..(row + 1) * width).unwrap_or_default();
                    lanes::norm(own, &weights.norm, weights.epsilon, output);
                    for (x, gate) in output.iter_mut().zip(gate) {
                        *x *= lanes::silu(*gate);
                    }
                }
            }
        },
    );
    output
}
