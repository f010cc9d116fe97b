//! The gated delta rule in burn's operations: the chunks of `liquid_attention`, between the copies that are kept.

use burn::tensor::{DType, Device, Tensor, activation, s};
use liquid_attention::core::{self as rule, DeltaRule};

use super::super::pages::{DeviceError, Piece};
use super::super::states::{DeltaPass, DeltaTensors, StateShape};
use crate::config::GatedDelta;

/// States in burn's tensors.
#[derive(Debug)]
pub(crate) struct DeviceStates {
    shape: StateShape,
    layers: Vec<LayerStates>,
}

/// What a layer remembers of all sequences: states `[slots, value_heads, key_width, value_width]` and tails of the
/// convolution `[slots, kernel - 1, channels]`. None only while a pass writes: a tensor that nothing else holds is written in
/// place.
#[derive(Debug)]
struct LayerStates {
    heads: Option<Tensor<4>>,
    tails: Option<Tensor<3>>,
}

/// What a layer remembers of one sequence.
#[derive(Clone)]
struct LayerState {
    /// `[1, value_heads, key_width, value_width]`.
    heads: Tensor<4>,
    /// `[1, kernel - 1, channels]`.
    tail: Tensor<3>,
}

impl DeviceStates {
    pub(in crate::ops) fn new(shape: StateShape, device: &Device) -> Self {
        let layers = shape.delta.map_or_else(Vec::new, |delta| {
            let options = (device, DType::F32);
            let heads = [shape.slots, delta.value_heads, delta.key_width, delta.value_width];
            let tails = [shape.slots, delta.kernel - 1, delta.channels()];
            let layer = |_| LayerStates {
                heads: Some(Tensor::zeros(heads, options)),
                tails: Some(Tensor::zeros(tails, options)),
            };
            (0..shape.layers).map(layer).collect()
        });
        Self { shape, layers }
    }

    pub(in crate::ops) fn shape(&self) -> StateShape {
        self.shape
    }

    pub(in crate::ops) fn is_whole(&self) -> bool {
        let whole = |layer: &LayerStates| layer.heads.is_some() && layer.tails.is_some();
        self.layers.iter().all(whole)
    }

    pub(in crate::ops) fn clear(&mut self, slot: u32) {
        for layer in &mut self.layers {
            if let Some(mut state) = layer.state(slot) {
                state.heads = state.heads.zeros_like();
                state.tail = state.tail.zeros_like();
                layer.store(slot, state);
            }
        }
    }

    pub(in crate::ops) fn copy(&mut self, from: u32, to: u32) {
        for layer in &mut self.layers {
            if let Some(state) = layer.state(from) {
                layer.store(to, state);
            }
        }
    }
}

impl LayerStates {
    fn state(&self, slot: u32) -> Option<LayerState> {
        let (heads, tails) = (self.heads.as_ref()?, self.tails.as_ref()?);
        let slot = slot as usize;
        Some(LayerState {
            heads: heads.clone().narrow(0, slot, 1),
            tail: tails.clone().narrow(0, slot, 1),
        })
    }

    fn store(&mut self, slot: u32, state: LayerState) {
        let slot = slot as usize;
        let (heads, tails) = (self.heads.take(), self.tails.take());
        self.heads = heads.map(|all| all.slice_assign(s![slot..slot + 1, .., .., ..], state.heads));
        self.tails = tails.map(|all| all.slice_assign(s![slot..slot + 1, .., ..], state.tail));
    }
}

pub(crate) fn read_delta(states: &mut DeviceStates, pass: &DeltaPass<'_>) -> Result<Tensor<2>, DeviceError> {
    let lost = || DeviceError("a failure within an earlier pass lost the memory for states".to_owned());
    let delta = states.shape.delta.ok_or_else(lost)?;
    let layer = states.layers.get_mut(pass.layer).ok_or_else(lost)?;
    let mut outputs = Vec::new();
    let mut first = 0;
    for piece in pass.pieces {
        let place = piece.state.ok_or_else(lost)?;
        let mut state = layer.state(place.slot).ok_or_else(lost)?;
        let mut row = 0;
        for (end, copy) in ends(piece) {
            let packed = pass.packed.clone().narrow(0, first + row, end - row);
            outputs.push(read_rows(packed, &mut state, delta, &pass.weights));
            if let Some(slot) = copy {
                layer.store(slot, state.clone());
            }
            row = end;
        }
        layer.store(place.slot, state);
        first += piece.rows;
    }
    Ok(Tensor::cat(outputs, 0))
}

/// Returns the rows of a piece up to each copy and to its end, and the slot of the copy.
fn ends(piece: &Piece<'_>) -> Vec<(usize, Option<u32>)> {
    let snapshots = piece.state.map_or(&[][..], |place| place.snapshots);
    let mut ends: Vec<(usize, Option<u32>)> = snapshots
        .iter()
        .map(|snapshot| (snapshot.position - piece.first, Some(snapshot.slot)))
        .collect();
    if ends.last().is_none_or(|(end, _)| *end < piece.rows) {
        ends.push((piece.rows, None));
    }
    ends
}

/// Reads rows of one sequence; returns the heads' outputs, `[rows, values]`.
fn read_rows(
    packed: Tensor<2>,
    state: &mut LayerState,
    delta: GatedDelta,
    weights: &DeltaTensors,
) -> Tensor<2> {
    let [rows, _] = packed.dims();
    let (heads, width) = (delta.value_heads, delta.value_width);
    let part = |start: usize, count: usize| packed.clone().narrow(1, start, count);
    let mixed = convolve(part(0, delta.channels()), state, delta, weights);
    let keys = |start: usize| {
        let keys = mixed.clone().narrow(1, start, delta.keys());
        let shape = [1, rows, delta.key_heads, delta.group(), delta.key_width];
        let keys = keys.reshape([1, rows, delta.key_heads, 1, delta.key_width]);
        keys.expand(shape).reshape([1, rows, heads, delta.key_width])
    };
    let numbers = delta.channels() + delta.values();
    let pace = weights.decay.clone().exp().neg().unsqueeze::<2>();
    let forgotten = part(numbers + heads, heads) + weights.decay_bias.clone().unsqueeze::<2>();
    let tensors = rule::DeltaTensors {
        q: keys(0),
        k: keys(delta.keys()),
        v: mixed
            .clone()
            .narrow(1, 2 * delta.keys(), delta.values())
            .reshape([1, rows, heads, width]),
        g: (activation::softplus(forgotten, 1.0) * pace).unsqueeze::<3>(),
        beta: activation::sigmoid(part(numbers, heads)).unsqueeze::<3>(),
        state: state.heads.clone(),
    };
    let rule = DeltaRule {
        erase: true,
        normalise: true,
        scale: 1.0 / (delta.key_width as f32).sqrt(),
        precise: true,
    };
    let (output, next) = rule::gated_delta(tensors, rule);
    state.heads = next;
    let gate = part(delta.channels(), delta.values()).reshape([1, rows, heads, width]);
    let output = rule::head_norm(output, weights.norm.clone(), Some(gate), weights.epsilon);
    output.reshape([rows, delta.values()])
}

/// Makes each channel a weighted sum of its last few tokens, then SiLU.
fn convolve(x: Tensor<2>, state: &mut LayerState, delta: GatedDelta, weights: &DeltaTensors) -> Tensor<2> {
    let [rows, channels] = x.dims();
    let reach = delta.kernel - 1;
    let tail = state.tail.clone().reshape([reach, channels]);
    let all = Tensor::cat(vec![tail, x], 0);
    let tap = |index: usize| all.clone().narrow(0, index, rows) * weights.taps.clone().narrow(0, index, 1);
    let sum = (1..delta.kernel).fold(tap(0), |sum, index| sum + tap(index));
    state.tail = all.narrow(0, rows, reach).unsqueeze::<3>();
    activation::silu(sum)
}
