//! Padding has the effect of deletion.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::tensor::{Bool, Device, Tensor, TensorData};

use super::{causal, kinds, layer, numbers, sequence, tensor};
use crate::attention::LiquidAttention;
use crate::{LiquidInput, State};

/// Masks of 100 tokens: behind, in front, in the middle, all over, two left, nothing. (One token alone is a step,
/// which adds up in another order.)
fn masks() -> Vec<Vec<bool>> {
    vec![
        (0..100).map(|t| t >= 70).collect(),
        (0..100).map(|t| t < 30).collect(),
        (0..100).map(|t| (20..50).contains(&t)).collect(),
        (0..100).map(|t| t % 3 == 1).collect(),
        (0..100).map(|t| t != 41 && t != 83).collect(),
        vec![false; 100],
    ]
}

fn mask(masks: &[Vec<bool>], device: &Device) -> Tensor<2, Bool> {
    let shape = [masks.len(), masks[0].len()];
    Tensor::from_bool(TensorData::new(masks.concat(), shape), device)
}

/// Returns the tokens that are not padding.
fn kept<T: Clone>(rows: &[T], mask: &[bool]) -> Vec<T> {
    rows.iter()
        .zip(mask)
        .filter(|(_, padded)| !**padded)
        .map(|(row, _)| row.clone())
        .collect()
}

fn alone(layer: &LiquidAttention, rows: Vec<Vec<f64>>, device: &Device) -> (Vec<f64>, State) {
    let mut state = layer.fresh_state(1);
    let output = layer
        .prefill(tensor(&[rows], device), &mut state)
        .expect("an output");
    (numbers(output), state)
}

#[test]
fn is_deletion_bit_for_bit() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let model = config.d_model;
        let masks = masks();
        let sequences: Vec<_> = (0..masks.len()).map(|i| sequence(i as u64, 100, model)).collect();
        let mut state = layer.fresh_state(masks.len());
        let output = layer
            .prefill_padded(
                tensor(&sequences, &device),
                Some(mask(&masks, &device)),
                &mut state,
            )
            .expect("an output");
        for (row, (rows, padded)) in sequences.iter().zip(&masks).enumerate() {
            let (wanted, wanted_state) = alone(&layer, kept(rows, padded), &device);
            let given: Vec<f64> = numbers(output.clone().narrow(0, row, 1));
            let given: Vec<Vec<f64>> = given.chunks(model).map(<[f64]>::to_vec).collect();
            assert_eq!(kept(&given, padded).concat(), wanted, "{name}, sequence {row}");
            for (rows, padded) in given.iter().zip(padded).filter(|(_, padded)| **padded) {
                assert!(
                    *padded && rows.iter().all(|x| *x == 0.0),
                    "{name}: padding answers {rows:?}"
                );
            }
            let memory = numbers(state.memory.clone().narrow(0, row, 1));
            assert_eq!(memory, numbers(wanted_state.memory), "{name}, sequence {row}");
            let tail = |state: &State, row| state.conv.clone().map(|conv| numbers(conv.narrow(0, row, 1)));
            assert_eq!(
                tail(&state, row),
                wanted_state.conv.map(numbers),
                "{name}, sequence {row}"
            );
        }
    }
}

#[test]
fn what_stands_in_padding_does_not_matter() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let masks = masks();
        let padded = mask(&masks, &device);
        let sequences: Vec<_> = (0..masks.len())
            .map(|i| sequence(i as u64, 100, config.d_model))
            .collect();
        let x = tensor(&sequences, &device);
        let shape = x.dims();
        let other = x
            .clone()
            .mask_fill(padded.clone().reshape([shape[0], shape[1], 1]).expand(shape), 1e3);
        let run = |x| {
            let input = LiquidInput::self_attn(x).is_causal(true).mask_pad(padded.clone());
            numbers(layer.forward(input).expect("an output").context)
        };
        assert_eq!(run(x), run(other), "{name}");
    }
}

#[test]
fn a_mask_without_padding_changes_no_bit() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let x = tensor(&[sequence(1, 90, config.d_model)], &device);
        let input = LiquidInput::self_attn(x.clone()).is_causal(true);
        let masked = input.mask_pad(Tensor::full([1, 90], false, &device));
        let masked = layer.forward(masked).expect("an output").context;
        assert_eq!(numbers(masked), numbers(causal(&layer, x)), "{name}");
    }
}

#[test]
fn bidirectional_padding_is_deletion_up_to_rounding() {
    let device = Device::flex();
    let config = crate::LiquidAttentionConfig::new(24, 3).with_bidirectional(true);
    let layer = layer(&config, &device);
    for padded in masks() {
        let rows = sequence(3, 100, 24);
        let input = LiquidInput::self_attn(tensor(std::slice::from_ref(&rows), &device));
        let input = input.mask_pad(mask(std::slice::from_ref(&padded), &device));
        let given = numbers(layer.forward(input).expect("an output").context);
        let given: Vec<Vec<f64>> = given.chunks(24).map(<[f64]>::to_vec).collect();
        let short = LiquidInput::self_attn(tensor(&[kept(&rows, &padded)], &device));
        let wanted = numbers(layer.forward(short).expect("an output").context);
        assert!(crate::oracle::error(&kept(&given, &padded).concat(), &wanted) < super::CLOSE);
    }
}
