//! Gradients against central differences of the f64 recurrence.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(feature = "training")]

use burn::tensor::{Device, Tensor};

use super::{numbers, rule, tensor, tensors};
use crate::core::{DeltaRule, gated_delta};
use crate::oracle::{Case, Random, error};

/// Weights of a loss that sums output and last state.
struct Loss {
    output: Vec<f64>,
    state: Vec<f64>,
}

impl Loss {
    fn random(case: &Case) -> Self {
        let mut random = Random::new(99);
        Self {
            output: random.normals(case.batch * case.tokens * case.heads * case.dv),
            state: random.normals(case.state.len()),
        }
    }

    fn of(&self, case: &Case, rule: DeltaRule) -> f64 {
        let (output, state) = case.run(rule);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        dot(&output, &self.output) + dot(&state, &self.state)
    }
}

/// Gradients by all six inputs, from burn's autodiff.
fn given(case: &Case, rule: DeltaRule, loss: &Loss) -> [Vec<f64>; 6] {
    let device = Device::flex().autodiff();
    let mut inputs = tensors(case, &device);
    inputs.q = inputs.q.require_grad();
    inputs.k = inputs.k.require_grad();
    inputs.v = inputs.v.require_grad();
    inputs.g = inputs.g.require_grad();
    inputs.beta = inputs.beta.require_grad();
    inputs.state = inputs.state.require_grad();
    let (output, state) = gated_delta(inputs.clone(), rule);
    let by_output = (output.clone() * tensor(&loss.output, output.dims(), &device)).sum();
    let by_state = (state.clone() * tensor(&loss.state, state.dims(), &device)).sum();
    let grads = (by_output + by_state).backward();
    fn of<const D: usize>(tensor: &Tensor<D>, grads: &burn::tensor::Gradients) -> Vec<f64> {
        numbers(tensor.grad(grads).expect("a gradient"))
    }
    [
        of(&inputs.q, &grads),
        of(&inputs.k, &grads),
        of(&inputs.v, &grads),
        of(&inputs.g, &grads),
        of(&inputs.beta, &grads),
        of(&inputs.state, &grads),
    ]
}

/// Checks `samples` numbers of each input (all of them if there are no more).
fn agrees(case: &Case, rule: DeltaRule, samples: usize) {
    let loss = Loss::random(case);
    let given = given(case, rule, &loss);
    let mut varied = case.clone();
    let mut random = Random::new(7);
    for (tensor, name) in ["q", "k", "v", "g", "beta", "state"].into_iter().enumerate() {
        let count = varied.tensors()[tensor].len();
        let picked: Vec<usize> = match count <= samples {
            true => (0..count).collect(),
            false => (0..samples)
                .map(|_| (random.uniform() * count as f64) as usize)
                .collect(),
        };
        let step = 1e-5;
        let wanted: Vec<f64> = picked
            .iter()
            .map(|at| {
                let mut side = |sign: f64| {
                    let before = varied.tensors()[tensor][*at];
                    varied.tensors()[tensor][*at] = before + sign * step;
                    let value = loss.of(&varied, rule);
                    varied.tensors()[tensor][*at] = before;
                    value
                };
                (side(1.0) - side(-1.0)) / (2.0 * step)
            })
            .collect();
        let given: Vec<f64> = picked.iter().map(|at| given[tensor][*at]).collect();
        let error = error(&given, &wanted);
        assert!(error < 5e-5, "gradient by {name}: {error:.1e}");
    }
}

#[test]
fn of_every_number() {
    agrees(&Case::random(21, [2, 66, 2, 4, 6]), rule(4), usize::MAX);
}

#[test]
fn of_one_token() {
    agrees(&Case::random(22, [2, 1, 3, 8, 4]), rule(8), usize::MAX);
}

#[test]
fn without_erase_and_without_norm() {
    let case = Case::random(23, [1, 70, 2, 4, 4]);
    agrees(
        &case,
        DeltaRule {
            erase: false,
            ..rule(4)
        },
        usize::MAX,
    );
    let mut small = case;
    small.k.iter_mut().for_each(|x| *x = f64::from((*x * 0.3) as f32));
    agrees(
        &small,
        DeltaRule {
            normalise: false,
            scale: 0.7,
            ..rule(4)
        },
        usize::MAX,
    );
}

#[test]
fn across_segments() {
    let mut case = Case::random(24, [1, crate::portable::SEGMENT + 70, 1, 4, 4]);
    case.g.iter_mut().for_each(|g| *g = f64::from((*g * 0.01) as f32));
    agrees(&case, rule(4), 60);
}

#[test]
fn with_extreme_gates_and_near_identical_keys() {
    let mut case = Case::random(25, [1, 100, 1, 8, 4]);
    for (at, g) in case.g.iter_mut().enumerate() {
        *g = [-1e-6, -30.0, 0.0, -0.01][at % 4];
    }
    agrees(&case, rule(8), usize::MAX);
    let mut case = Case::random(26, [1, 100, 1, 8, 4]);
    let first = case.k[..8].to_vec();
    for (at, x) in case.k.iter_mut().enumerate() {
        *x = f64::from((first[at % 8] + 0.05 * *x) as f32);
    }
    agrees(&case, rule(8), usize::MAX);
}
