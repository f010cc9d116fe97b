//! Gradients of every weight of a layer, and of its input, against central differences of the layer in f64.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![cfg(feature = "training")]

use burn::tensor::{Device, Gradients, Tensor};

use super::{kinds, layer, numbers, sequence, tensor};
use crate::LiquidInput;
use crate::attention::LiquidAttention;
use crate::oracle::layer::{Layer, linears};
use crate::oracle::{Random, error};

const TOKENS: usize = 70;

/// Gradients by name, from burn.
fn given(layer: &LiquidAttention, grads: &Gradients) -> Vec<(&'static str, Vec<f64>)> {
    fn of<const D: usize>(tensor: Tensor<D>, grads: &Gradients) -> Vec<f64> {
        numbers(tensor.grad(grads).expect("a gradient"))
    }
    let mut all = Vec::new();
    for (name, bias, linear) in linears(layer) {
        all.push((name, of(linear.weight.val(), grads)));
        if let Some(values) = &linear.bias {
            all.push((bias, of(values.val(), grads)));
        }
    }
    all.push(("a_log", of(layer.a_log.val(), grads)));
    all.push(("dt_bias", of(layer.dt_bias.val(), grads)));
    all.push(("norm", of(layer.norm.gamma.val(), grads)));
    if let Some(conv) = &layer.conv {
        all.push(("conv", of(conv.weight.val(), grads)));
    }
    all
}

#[test]
fn agree_with_central_differences() {
    for (kind, config) in kinds() {
        let device = Device::flex().autodiff();
        let layer = layer(&config, &device);
        let mut rows = sequence(8, TOKENS, config.d_model);
        let weights = Random::new(3).normals(TOKENS * config.d_model);
        let x = tensor(std::slice::from_ref(&rows), &device).require_grad();
        let output = layer
            .forward(LiquidInput::self_attn(x.clone()).is_causal(true))
            .expect("an output")
            .context;
        let wanted = Tensor::<1>::from_floats(
            weights.iter().map(|w| *w as f32).collect::<Vec<_>>().as_slice(),
            &device,
        );
        let grads = (output.clone() * wanted.reshape(output.dims())).sum().backward();

        let loss = |oracle: &Layer, rows: &Vec<Vec<f64>>| {
            oracle
                .causal(rows)
                .concat()
                .iter()
                .zip(&weights)
                .map(|(o, w)| o * w)
                .sum::<f64>()
        };
        let mut oracle = Layer::new(&layer);
        let mut random = Random::new(11);
        for (name, gradient) in given(&layer, &grads) {
            let (mut given, mut wanted) = (Vec::new(), Vec::new());
            for _ in 0..gradient.len().min(8) {
                let at = (random.uniform() * gradient.len() as f64) as usize;
                let mut side = |step: f64| {
                    let weight = &mut oracle.weights.get_mut(name).expect("a weight").0[at];
                    *weight += step;
                    let value = loss(&oracle, &rows);
                    oracle.weights.get_mut(name).expect("a weight").0[at] -= step;
                    value
                };
                wanted.push((side(1e-5) - side(-1e-5)) / 2e-5);
                given.push(gradient[at]);
            }
            let error = error(&given, &wanted);
            assert!(error < 2e-4, "{kind}, gradient by {name}: {error:.1e}");
        }
        let by_input = numbers(x.grad(&grads).expect("a gradient"));
        let (mut given, mut wanted) = (Vec::new(), Vec::new());
        for _ in 0..8 {
            let at = (random.uniform() * by_input.len() as f64) as usize;
            let mut side = |step: f64| {
                let cell = (at / config.d_model, at % config.d_model);
                rows[cell.0][cell.1] += step;
                let value = loss(&oracle, &rows);
                rows[cell.0][cell.1] -= step;
                value
            };
            wanted.push((side(1e-5) - side(-1e-5)) / 2e-5);
            given.push(by_input[at]);
        }
        assert!(error(&given, &wanted) < 2e-4, "{kind}, gradient by the input");
    }
}
