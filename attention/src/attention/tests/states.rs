//! Prefill, step, and the operations on a state.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use burn::tensor::{Device, Tensor};

use super::{CLOSE, causal, kinds, layer, numbers, sequence, tensor};
use crate::oracle::error;
use crate::{AttentionError, LiquidAttentionConfig, State};

/// Returns the bytes of a state.
fn remembered(state: &State) -> Vec<u8> {
    state.to_bytes().expect("bytes")
}

#[test]
fn steps_agree_with_one_pass() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let x = tensor(
            &[sequence(1, 70, config.d_model), sequence(2, 70, config.d_model)],
            &device,
        );
        let mut state = layer.fresh_state(2);
        let steps = (0..70).map(|t| {
            layer
                .step(x.clone().narrow(1, t, 1), &mut state)
                .expect("an output")
        });
        let given = numbers(Tensor::cat(steps.collect(), 1));
        let error = error(&given, &numbers(causal(&layer, x)));
        assert!(error < CLOSE, "{name}: {error:.1e}");
        assert_eq!(state.tokens(), [70, 70]);
    }
}

#[test]
fn a_resumed_prefill_agrees_with_one_pass() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let x = tensor(&[sequence(1, 200, config.d_model)], &device);
        let wanted = numbers(causal(&layer, x.clone()));
        for cuts in [vec![1], vec![2, 3], vec![64], vec![100, 101, 170]] {
            let mut state = layer.fresh_state(1);
            let mut outputs = Vec::new();
            let bounds = [vec![0], cuts.clone(), vec![200]].concat();
            for pair in bounds.windows(2) {
                // Through bytes each time: a stored state is the state.
                state = State::from_bytes(&remembered(&state), &device).expect("a state");
                let part = x.clone().narrow(1, pair[0], pair[1] - pair[0]);
                outputs.push(layer.prefill(part, &mut state).expect("an output"));
            }
            let error = error(&numbers(Tensor::cat(outputs, 1)), &wanted);
            assert!(error < CLOSE, "{name}, cut at {cuts:?}: {error:.1e}");
        }
    }
}

#[test]
fn a_clone_is_a_snapshot() {
    let device = Device::flex();
    let (_, config) = kinds().swap_remove(2);
    let layer = layer(&config, &device);
    let prefix = tensor(&[sequence(1, 30, config.d_model)], &device);
    let mut state = layer.fresh_state(1);
    layer.prefill(prefix, &mut state).expect("an output");
    let (snapshot, before) = (state.clone(), remembered(&state));
    layer
        .step(tensor(&[sequence(2, 1, config.d_model)], &device), &mut state)
        .expect("an output");
    assert_eq!(remembered(&snapshot), before);
    assert_ne!(remembered(&state), before);
}

#[test]
fn reset_begins_one_sequence_anew() {
    let device = Device::flex();
    for (name, config) in kinds() {
        let layer = layer(&config, &device);
        let width = config.d_model;
        let mut state = layer.fresh_state(3);
        let first = [1, 2, 3].map(|seed| sequence(seed, 20, width));
        layer
            .prefill(tensor(&first, &device), &mut state)
            .expect("an output");
        // Even from a state that has gone wrong.
        state.memory = state.memory.clone().slice_fill(1..2, f32::NAN);
        state.reset(&[1]).expect("a reset");
        assert_eq!(state.tokens(), [20, 0, 20]);
        let next = [4, 5, 6].map(|seed| sequence(seed, 9, width));
        let output = layer
            .prefill(tensor(&next, &device), &mut state)
            .expect("an output");
        let fresh = numbers(causal(&layer, tensor(&next[1..2], &device)));
        assert_eq!(numbers(output.clone().narrow(0, 1, 1)), fresh, "{name}");
        let joined = tensor(&[[first[2].clone(), next[2].clone()].concat()], &device);
        let wanted = numbers(causal(&layer, joined).narrow(1, 20, 9));
        assert!(error(&numbers(output.narrow(0, 2, 1)), &wanted) < CLOSE, "{name}");
        assert!(state.reset(&[3]).is_err());
    }
}

#[test]
fn a_state_has_the_same_size_after_any_sequence() {
    let device = Device::flex();
    let layer = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let mut state = layer.fresh_state(1);
    let size = state.size();
    assert_eq!(size, 3 * 8 * 8 * 4);
    layer
        .prefill(tensor(&[sequence(1, 3000, 24)], &device), &mut state)
        .expect("an output");
    assert_eq!(state.size(), size);
}

#[test]
fn refuses_a_state_of_another_layer_or_batch() {
    let device = Device::flex();
    let plain = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let conv = layer(
        &LiquidAttentionConfig::new(24, 3).with_conv_kernel(Some(4)),
        &device,
    );
    let wide = layer(&LiquidAttentionConfig::new(24, 2), &device);
    let x = tensor(&[sequence(1, 3, 24)], &device);
    let refused = [
        plain.prefill(x.clone(), &mut plain.fresh_state(2)),
        plain.prefill(x.clone(), &mut wide.fresh_state(1)),
        plain.prefill(x.clone(), &mut conv.fresh_state(1)),
        conv.prefill(x.clone(), &mut plain.fresh_state(1)),
    ];
    for result in refused {
        let error = result.expect_err("a refusal");
        assert!(
            matches!(error, AttentionError::Shape { .. } | AttentionError::State(_)),
            "{error}"
        );
    }
}

#[test]
fn refuses_bytes_that_are_no_state() {
    let device = Device::flex();
    let layer = layer(&LiquidAttentionConfig::new(24, 3), &device);
    let bytes = remembered(&layer.fresh_state(1));
    for broken in [&b"nothing"[..], &bytes[..bytes.len() - 1], &[]] {
        let error = State::from_bytes(broken, &device).expect_err("a refusal");
        assert!(matches!(error, AttentionError::State(_)), "{error}");
    }
}
