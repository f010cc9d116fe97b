//! The portable operations against the recurrence in f64.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::core::{DeltaRule, DeltaTensors, gated_delta};
use crate::oracle::{Case, error};

mod gradients;
mod properties;

/// Bound on the rounding of f32 over sums of a few hundred terms.
const CLOSE: f64 = 2e-5;

pub(super) fn rule(dk: usize) -> DeltaRule {
    DeltaRule {
        erase: true,
        normalise: true,
        scale: 1.0 / (dk as f32).sqrt(),
        precise: false,
    }
}

pub(super) fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

pub(super) fn tensors(case: &Case, device: &Device) -> DeltaTensors {
    let Case {
        batch,
        tokens,
        heads,
        dk,
        dv,
        ..
    } = *case;
    DeltaTensors {
        q: tensor(&case.q, [batch, tokens, heads, dk], device),
        k: tensor(&case.k, [batch, tokens, heads, dk], device),
        v: tensor(&case.v, [batch, tokens, heads, dv], device),
        g: tensor(&case.g, [batch, tokens, heads], device),
        beta: tensor(&case.beta, [batch, tokens, heads], device),
        state: tensor(&case.state, [batch, heads, dk, dv], device),
    }
}

/// Computes the errors of output and state.
fn errors(case: &Case, rule: DeltaRule) -> (f64, f64) {
    let (output, state) = gated_delta(tensors(case, &Device::flex()), rule);
    let (wanted_output, wanted_state) = case.run(rule);
    (
        error(&numbers(output), &wanted_output),
        error(&numbers(state), &wanted_state),
    )
}

pub(super) fn agrees(case: &Case, rule: DeltaRule, tolerance: f64) {
    let (output, state) = errors(case, rule);
    let Case {
        batch,
        tokens,
        heads,
        dk,
        dv,
        ..
    } = case;
    let shape = format!("{batch} x {tokens} tokens x {heads} heads of {dk}, {dv}");
    assert!(
        output < tolerance && state < tolerance,
        "{shape}: output {output:.1e}, state {state:.1e}"
    );
}

#[test]
fn every_length_up_to_300() {
    for tokens in 1..=300 {
        agrees(&Case::random(tokens as u64, [1, tokens, 2, 8, 8]), rule(8), CLOSE);
    }
}

#[test]
fn batches_heads_and_widths() {
    for (seed, shape) in [
        [1, 65, 1, 64, 64],
        [2, 100, 3, 64, 64],
        [1, 129, 64, 16, 16],
        [3, 70, 2, 128, 128],
        [1, 130, 1, 256, 256],
        [2, 67, 2, 64, 128],
        [1, 64, 4, 24, 40],
        [5, 1, 4, 32, 32],
    ]
    .into_iter()
    .enumerate()
    {
        agrees(&Case::random(seed as u64, shape), rule(shape[3]), CLOSE);
    }
}

#[test]
fn across_segments() {
    for tokens in [
        super::SEGMENT - 1,
        super::SEGMENT,
        super::SEGMENT + 1,
        2 * super::SEGMENT + 77,
    ] {
        agrees(&Case::random(tokens as u64, [1, tokens, 2, 8, 8]), rule(8), CLOSE);
    }
}

#[test]
fn erase_off_and_rows_as_given() {
    let case = Case::random(5, [2, 150, 2, 16, 16]);
    agrees(
        &case,
        DeltaRule {
            erase: false,
            ..rule(16)
        },
        CLOSE,
    );
    let mut small = case.clone();
    small.k.iter_mut().for_each(|x| *x = f64::from((*x * 0.2) as f32));
    agrees(
        &small,
        DeltaRule {
            normalise: false,
            scale: 0.5,
            ..rule(16)
        },
        CLOSE,
    );
}

#[test]
fn extreme_gates() {
    let gates: [&[f64]; 7] = [
        &[0.0],
        &[-1e-6],
        &[-80.0],
        &[-1e4],
        &[-1e30],
        // After an abrupt gate the small ones must keep their digits.
        &[-1e4, -1e-3, -1e-3, -1e-3, -1e-3, -1e-3, -1e-3],
        &[-5.0, 0.0, 0.0, -1e-7, -300.0],
    ];
    for (seed, pattern) in gates.into_iter().enumerate() {
        for erase in [true, false] {
            let mut case = Case::random(seed as u64, [1, 200, 2, 16, 16]);
            let count = case.g.len();
            case.g = pattern
                .iter()
                .cycle()
                .map(|g| f64::from(*g as f32))
                .take(count)
                .collect();
            agrees(&case, DeltaRule { erase, ..rule(16) }, CLOSE);
        }
    }
}

#[test]
fn strengths_of_zero_and_one() {
    for beta in [0.0, 1.0] {
        let mut case = Case::random(3, [1, 140, 2, 16, 16]);
        case.beta.fill(beta);
        agrees(&case, rule(16), CLOSE);
    }
}

#[test]
fn nearly_identical_keys() {
    for noise in [0.0, 1e-4, 1e-2, 0.3] {
        let mut case = Case::random(9, [1, 256, 2, 128, 32]);
        let first = case.k[..128].to_vec();
        for (at, x) in case.k.iter_mut().enumerate() {
            *x = f64::from((first[at % 128] + noise * *x) as f32);
        }
        case.beta.fill(0.999);
        case.g.fill(-1e-3);
        // The products of equal keys with strengths near 1 are as ill-conditioned as the rule gets.
        agrees(&case, rule(128), 1e-4);
    }
}

#[test]
fn one_token_at_a_time_agrees_with_all_at_once() {
    let case = Case::random(11, [2, 150, 3, 16, 24]);
    let device = Device::flex();
    let all = tensors(&case, &device);
    let (wanted, wanted_state) = gated_delta(all.clone(), rule(16));
    let mut state = all.state.clone();
    let mut outputs = Vec::new();
    for t in 0..case.tokens {
        let (output, next) = gated_delta(part(&all, t, 1, state), rule(16));
        state = next;
        outputs.push(output);
    }
    assert!(error(&numbers(Tensor::cat(outputs, 1)), &numbers(wanted)) < CLOSE);
    assert!(error(&numbers(state), &numbers(wanted_state)) < CLOSE);
}

#[test]
fn two_parts_agree_with_the_whole() {
    let case = Case::random(12, [2, 200, 2, 16, 16]);
    let all = tensors(&case, &Device::flex());
    let (wanted, wanted_state) = gated_delta(all.clone(), rule(16));
    for cut in [1, 63, 64, 65, 128, 199] {
        let (first, state) = gated_delta(part(&all, 0, cut, all.state.clone()), rule(16));
        let (second, state) = gated_delta(part(&all, cut, 200 - cut, state), rule(16));
        let outputs = Tensor::cat(vec![first, second], 1);
        assert!(
            error(&numbers(outputs), &numbers(wanted.clone())) < CLOSE,
            "cut at {cut}"
        );
        assert!(
            error(&numbers(state), &numbers(wanted_state.clone())) < CLOSE,
            "cut at {cut}"
        );
    }
}

#[test]
fn silent_tokens_behind_the_end_change_no_bit() {
    let case = Case::random(13, [1, 100, 2, 16, 16]);
    let all = tensors(&case, &Device::flex());
    let mut silent = case.clone();
    let cut = 70;
    silent.g[cut * 2..].fill(0.0);
    silent.beta[cut * 2..].fill(0.0);
    let (padded, padded_state) = gated_delta(tensors(&silent, &Device::flex()), rule(16));
    let (short, short_state) = gated_delta(part(&all, 0, cut, all.state.clone()), rule(16));
    assert_eq!(numbers(padded.narrow(1, 0, cut)), numbers(short));
    assert_eq!(numbers(padded_state), numbers(short_state));
}

#[test]
fn bf16_is_computed_in_f32_and_returned_in_bf16() {
    let case = Case::random(14, [1, 200, 2, 16, 16]);
    let mut narrow = tensors(&case, &Device::flex());
    for rows in [&mut narrow.q, &mut narrow.k, &mut narrow.v] {
        *rows = rows.clone().cast(DType::BF16);
    }
    let mut rounded = case.clone();
    rounded.q = numbers(narrow.q.clone());
    rounded.k = numbers(narrow.k.clone());
    rounded.v = numbers(narrow.v.clone());
    let (output, state) = gated_delta(narrow, rule(16));
    let (wanted, wanted_state) = rounded.run(rule(16));
    assert_eq!(output.dtype(), DType::BF16);
    assert_eq!(state.dtype(), DType::F32);
    assert!(error(&numbers(output), &wanted) < 4e-3);
    assert!(error(&numbers(state), &wanted_state) < CLOSE);
}

#[test]
fn error_does_not_grow_along_the_sequence() {
    let mut case = Case::random(15, [1, 16_384, 1, 16, 16]);
    case.g.fill(-1e-4);
    let (output, _) = gated_delta(tensors(&case, &Device::flex()), rule(16));
    let (output, (wanted, _)) = (numbers(output), case.run(rule(16)));
    let of = |from: usize, to: usize| error(&output[from * 16..to * 16], &wanted[from * 16..to * 16]);
    let (early, late) = (of(0, 2048), of(14_336, 16_384));
    assert!(
        late < CLOSE && late < 4.0 * early,
        "early {early:.1e}, late {late:.1e}"
    );
}

/// Takes some of the tokens, from another state.
fn part(all: &DeltaTensors, start: usize, length: usize, state: Tensor<4>) -> DeltaTensors {
    DeltaTensors {
        q: all.q.clone().narrow(1, start, length),
        k: all.k.clone().narrow(1, start, length),
        v: all.v.clone().narrow(1, start, length),
        g: all.g.clone().narrow(1, start, length),
        beta: all.beta.clone().narrow(1, start, length),
        state,
    }
}
