//! Gradients on the GPU against the portable path in f32 on the processor.

use anyhow::Result;
use burn::module::Module;
use burn::nn::Linear;
use burn::tensor::{DType, Device, Gradients, Tensor};
use liquid_attention::core::{DeltaRule, DeltaTensors, gated_delta};
use liquid_attention::{LiquidAttention, LiquidInput};

use super::Report;
use super::inputs::{Case, Kind, Size};
use super::rule::delta_rule;
use crate::suite::layers::{recording_in_bf16, without_biases};
use crate::suite::random::Random;
use crate::suite::tensors::{CopyTo, tensor, values};

/// Checks gradients of the rule and of layers.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    use Kind::{Extreme, Near, Plain, Slow};
    let cases = [
        (Plain, size(2, 300, 3, 64), true),
        (Plain, size(2, 300, 3, 128), true),
        (Plain, size(1, 1, 3, 128), true),
        (Plain, size(1, 63, 3, 128), true),
        (Plain, size(3, 65, 1, 64), true),
        (Slow, size(1, 1_000, 2, 128), true),
        (Near, size(1, 500, 2, 128), true),
        (Extreme, size(1, 500, 2, 128), true),
        (Slow, size(2, 200, 2, 128), false),
        // Several segments, and, with the second, several sequences of them.
        (Plain, size(1, 4_500, 2, 64), true),
        (Plain, size(2, 2_100, 1, 128), true),
        // More than one group.
        (Slow, size(1, 20_000, 1, 64), true),
    ];
    for (kind, size, erase) in cases {
        check_rule(device, report, kind, size, erase);
    }
    check_layers(device, report)
}

/// Checks heads of 256, for which there are no kernels of the backward pass: the portable path on the same
/// device. burn tunes its products at their first call, which takes minutes.
pub(in crate::suite) fn check_fallback(device: &Device, report: &mut Report) -> Result<()> {
    check_rule(device, report, Kind::Plain, size(1, 150, 2, 256), true);
    Ok(())
}

fn size(batch: usize, tokens: usize, heads: usize, width: usize) -> Size {
    Size {
        batch,
        tokens,
        heads,
        width,
    }
}

fn check_rule(device: &Device, report: &mut Report, kind: Kind, size: Size, erase: bool) {
    let case = Case::new(kind, size, 17 + size.tokens as u64);
    let rule = delta_rule(size.width, erase, false);
    let ours = rule_gradients(&case, rule, DType::BF16, &device.clone().autodiff());
    let exact = rule_gradients(&case, rule, DType::F32, &Device::flex().autodiff());
    // Nearly identical keys: what a token writes is a small difference, and so are the gradients through it.
    let limit = if kind == Kind::Near { 4e-2 } else { 1.5e-2 };
    for (ours, exact) in ours.iter().zip(&exact) {
        let name = format!("gradients {} {size:?} erase {erase}, by {}", kind.name(), ours.by);
        report.compare(&name, &ours.values, &exact.values, limit);
    }
}

/// The gradient with respect to one tensor.
struct Gradient {
    by: &'static str,
    values: Vec<f32>,
}

impl Gradient {
    /// Reads a gradient; no values, which no check takes for right, if there is none.
    fn new<const D: usize>(by: &'static str, tensor: &Tensor<D>, all: &Gradients) -> Self {
        Self {
            by,
            values: tensor.grad(all).map(values).unwrap_or_default(),
        }
    }
}

/// Gradients of a weighted sum of output and last state with respect to all inputs of the rule.
fn rule_gradients(case: &Case, rule: DeltaRule, dtype: DType, device: &Device) -> [Gradient; 6] {
    let Size {
        batch,
        tokens,
        heads,
        width,
    } = case.size;
    let given = case.tensors(dtype, device);
    let inputs = DeltaTensors {
        q: given.q.require_grad(),
        k: given.k.require_grad(),
        v: given.v.require_grad(),
        g: given.g.require_grad(),
        beta: given.beta.require_grad(),
        state: given.state.require_grad(),
    };
    let mut random = Random::new(99);
    let mut weights =
        |shape: [usize; 4], dtype| tensor(&random.normals(shape.iter().product()), shape, dtype, device);
    let of_output = weights([batch, tokens, heads, width], dtype);
    let of_state = weights([batch, heads, width, width], DType::F32);
    let (output, state) = gated_delta(inputs.clone(), rule);
    let loss = (output * of_output).sum().cast(DType::F32) + (state * of_state).sum();
    let all = loss.backward();
    [
        Gradient::new("q", &inputs.q, &all),
        Gradient::new("k", &inputs.k, &all),
        Gradient::new("v", &inputs.v, &all),
        Gradient::new("g", &inputs.g, &all),
        Gradient::new("beta", &inputs.beta, &all),
        Gradient::new("state", &inputs.state, &all),
    ]
}

fn check_layers(device: &Device, report: &mut Report) -> Result<()> {
    let home = Device::flex().autodiff();
    for (d_model, heads, gated) in [(256, 4, false), (512, 4, false), (512, 4, true)] {
        let config = without_biases(d_model, heads).with_output_gate(gated);
        let ours = recording_in_bf16(&config, device)?;
        let exact = ours.clone().map(&mut CopyTo {
            dtype: DType::F32,
            device: &home,
        });
        let layers = Trained { ours, exact };
        for (batch, tokens) in [(1, 77), (2, 301)] {
            let name = format!("layer {d_model} x {heads}, gate {gated}, {batch} x {tokens}");
            let mut random = Random::new(tokens as u64);
            layers.compare_gradients(report, &name, [batch, tokens, d_model], &mut random)?;
        }
    }
    Ok(())
}

/// A layer that records gradients, and its reference.
pub(super) struct Trained {
    /// In bf16 on the GPU.
    pub(super) ours: LiquidAttention,
    /// In f32 on the processor.
    pub(super) exact: LiquidAttention,
}

impl Trained {
    /// Compares gradients with respect to a random input `[batch, tokens, d_model]` and all parameters.
    pub(super) fn compare_gradients(
        &self,
        report: &mut Report,
        name: &str,
        shape: [usize; 3],
        random: &mut Random,
    ) -> Result<()> {
        let count = shape.iter().product();
        let (x, weights) = (random.normals(count), random.normals(count));
        let gradients = |layer: &LiquidAttention, dtype| {
            let place = |numbers: &[f32]| tensor(numbers, shape, dtype, &layer.device());
            layer_gradients(layer, place(&x), place(&weights))
        };
        let ours = gradients(&self.ours, DType::BF16)?;
        let wanted = gradients(&self.exact, DType::F32)?;
        for (ours, wanted) in ours.iter().zip(&wanted) {
            let name = format!("{name}, gradient by {}", ours.by);
            report.compare(&name, &ours.values, &wanted.values, 3e-2);
        }
        Ok(())
    }
}

/// Gradients of a weighted sum of a layer's output with respect to its input and all its parameters.
fn layer_gradients(layer: &LiquidAttention, x: Tensor<3>, weights: Tensor<3>) -> Result<Vec<Gradient>> {
    let x = x.require_grad();
    let output = layer
        .forward(LiquidInput::self_attn(x.clone()).is_causal(true))?
        .context;
    let all = (output * weights).sum().backward();
    let linear = |by, linear: &Linear| Gradient::new(by, &linear.weight.val(), &all);
    let mut gradients = vec![
        Gradient::new("x", &x, &all),
        linear("query", &layer.query),
        linear("key", &layer.key),
        linear("value", &layer.value),
        linear("output", &layer.output),
        linear("gate_a", &layer.gate_a),
        linear("gate_b", &layer.gate_b),
        Gradient::new("a_log", &layer.a_log.val(), &all),
        Gradient::new("dt_bias", &layer.dt_bias.val(), &all),
        Gradient::new("norm", &layer.norm.gamma.val(), &all),
    ];
    if let Some(gate) = &layer.output_gate {
        gradients.push(linear("output_gate", gate));
    }
    Ok(gradients)
}
