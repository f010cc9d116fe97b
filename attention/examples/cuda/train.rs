//! Gradients on the GPU against the portable path in f32 on the processor, and the time of a training step.

use std::time::Instant;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Distribution, Gradients, Tensor};
use liquid_attention::core::{DeltaRule, DeltaTensors, gated_delta};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, LiquidInput};

use crate::check::{Report, delta_rule, tensor, tensors, values};
use crate::layer::stop;
use crate::plain::{Case, Random, Size};

/// All checks of this file.
pub(crate) fn check(device: &Device, report: &mut Report) {
    rules(device, report);
    layers(device, report);
}

const NAMES: [&str; 6] = ["q", "k", "v", "g", "beta", "state"];

/// Gradients of a weighted sum of output and last state by all inputs of the rule.
fn gradients(case: &Case, rule: DeltaRule, dtype: DType, device: &Device) -> [Vec<f32>; 6] {
    let Size {
        batch,
        tokens,
        heads,
        width,
    } = case.size;
    let given = tensors(case, dtype, device);
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
    let (by_output, by_state) = (
        weights([batch, tokens, heads, width], dtype),
        weights([batch, heads, width, width], DType::F32),
    );
    let (output, state) = gated_delta(inputs.clone(), rule);
    let loss = (output * by_output).sum().cast(DType::F32) + (state * by_state).sum();
    let grads = loss.backward();
    [
        of(&inputs.q, &grads),
        of(&inputs.k, &grads),
        of(&inputs.v, &grads),
        of(&inputs.g, &grads),
        of(&inputs.beta, &grads),
        of(&inputs.state, &grads),
    ]
}

/// The gradient by a tensor; empty, which no check takes for right, if there is none.
fn of<const D: usize>(tensor: &Tensor<D>, grads: &Gradients) -> Vec<f32> {
    tensor.grad(grads).map(values).unwrap_or_default()
}

fn rules(device: &Device, report: &mut Report) {
    let cases = [
        ("plain", size(2, 300, 3, 64), true),
        ("plain", size(2, 300, 3, 128), true),
        ("plain", size(1, 1, 3, 128), true),
        ("plain", size(1, 63, 3, 128), true),
        ("plain", size(3, 65, 1, 64), true),
        ("slow", size(1, 1_000, 2, 128), true),
        ("near", size(1, 500, 2, 128), true),
        ("extreme", size(1, 500, 2, 128), true),
        ("slow", size(2, 200, 2, 128), false),
        // Several segments, and, with the second, several sequences of them.
        ("plain", size(1, 4_500, 2, 64), true),
        ("plain", size(2, 2_100, 1, 128), true),
        // More than one group.
        ("slow", size(1, 20_000, 1, 64), true),
    ];
    for case in cases {
        rule(device, report, case);
    }
}

/// Heads of 256, for which there are no kernels of the backward pass: the portable path on the same device. burn tunes
/// its products at their first call, which takes minutes.
pub(crate) fn fallback(device: &Device, report: &mut Report) {
    rule(device, report, ("plain", size(1, 150, 2, 256), true));
}

fn size(batch: usize, tokens: usize, heads: usize, width: usize) -> Size {
    Size {
        batch,
        tokens,
        heads,
        width,
    }
}

fn rule(device: &Device, report: &mut Report, (kind, size, erase): (&str, Size, bool)) {
    let case = Case::new(kind, size, 17 + size.tokens as u64);
    let rule = delta_rule(size.width, erase, false);
    let ours = gradients(&case, rule, DType::BF16, &device.clone().autodiff());
    let exact = gradients(&case, rule, DType::F32, &Device::flex().autodiff());
    // Nearly identical keys: what a token writes is a small difference, and so are the gradients through it.
    let limit = if kind == "near" { 4e-2 } else { 1.5e-2 };
    for ((name, ours), exact) in NAMES.into_iter().zip(ours).zip(exact) {
        let name = format!("gradients {kind} {size:?} erase {erase}, by {name}");
        report.compare(&name, &ours, &exact, limit);
    }
}

/// The same weights elsewhere, as leaves that record gradients there.
pub(crate) struct Onto<'a>(pub(crate) DType, pub(crate) &'a Device);

impl ModuleMapper for Onto<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let weights = param.val();
        Param::from_tensor(tensor(&values(weights.clone()), weights.dims(), self.0, self.1))
    }
}

fn config(d_model: usize, heads: usize, gated: bool) -> LiquidAttentionConfig {
    LiquidAttentionConfig::new(d_model, heads)
        .with_query_bias(false)
        .with_key_bias(false)
        .with_value_bias(false)
        .with_output_bias(false)
        .with_output_gate(gated)
}

/// A layer that records gradients, in bf16.
fn make(config: &LiquidAttentionConfig, device: &Device) -> LiquidAttention {
    let layer = config.init(device).unwrap_or_else(|error| stop(&error));
    layer.map(&mut Onto(DType::BF16, &device.clone().autodiff()))
}

/// Gradients of a weighted sum of a layer's output, by its input and all its parameters.
fn layer_gradients(
    layer: &LiquidAttention,
    x: Tensor<3>,
    weights: Tensor<3>,
) -> Vec<(&'static str, Vec<f32>)> {
    let x = x.require_grad();
    let output = layer
        .forward(LiquidInput::self_attn(x.clone()).is_causal(true))
        .unwrap_or_else(|error| stop(&error))
        .context;
    let grads = (output * weights).sum().backward();
    let linear = |linear: &burn::nn::Linear| of(&linear.weight.val(), &grads);
    let mut all = vec![
        ("x", of(&x, &grads)),
        ("query", linear(&layer.query)),
        ("key", linear(&layer.key)),
        ("value", linear(&layer.value)),
        ("output", linear(&layer.output)),
        ("gate_a", linear(&layer.gate_a)),
        ("gate_b", linear(&layer.gate_b)),
        ("a_log", of(&layer.a_log.val(), &grads)),
        ("dt_bias", of(&layer.dt_bias.val(), &grads)),
        ("norm", of(&layer.norm.gamma.val(), &grads)),
    ];
    if let Some(gate) = &layer.output_gate {
        all.push(("output_gate", linear(gate)));
    }
    all
}

fn layers(device: &Device, report: &mut Report) {
    for (d_model, heads, gated) in [(256, 4, false), (512, 4, false), (512, 4, true)] {
        let layer = make(&config(d_model, heads, gated), device);
        let home = Device::flex().autodiff();
        let exact = layer.clone().map(&mut Onto(DType::F32, &home));
        for (batch, tokens) in [(1, 77), (2, 301)] {
            let name = format!("layer {d_model} x {heads}, gate {gated}, {batch} x {tokens}");
            let mut random = Random::new(tokens as u64);
            let shape = [batch, tokens, d_model];
            compare_gradients(report, &name, (&layer, &exact), shape, &mut random);
        }
    }
}

/// Gradients of a layer in bf16 against those of the same in f32, each on its device.
pub(crate) fn compare_gradients(
    report: &mut Report,
    name: &str,
    (layer, exact): (&LiquidAttention, &LiquidAttention),
    shape: [usize; 3],
    random: &mut Random,
) {
    let count = shape.iter().product();
    let (x, weights) = (random.normals(count), random.normals(count));
    let of = |layer: &LiquidAttention, dtype| {
        let given = |numbers: &[f32]| tensor(numbers, shape, dtype, &layer.device());
        layer_gradients(layer, given(&x), given(&weights))
    };
    let (ours, wanted) = (of(layer, DType::BF16), of(exact, DType::F32));
    for ((by, ours), (_, wanted)) in ours.into_iter().zip(wanted) {
        report.compare(&format!("{name}, gradient by {by}"), &ours, &wanted, 3e-2);
    }
}

fn wait(device: &Device) {
    if let Err(error) = device.sync() {
        stop(&format!("{error:?}"));
    }
}

/// Times of a training step: forward, and gradients of all parameters and the input.
pub(crate) fn bench(device: &Device) {
    println!(
        "training step, embed 4096, batch 1, bf16, causal, projections included, gradient by the input too"
    );
    println!(
        "{:>8} {:>6} {:>12} {:>12} {:>12} {:>10}",
        "tokens", "heads", "forward ms", "backward ms", "step ms", "GiB"
    );
    for tokens in [8_192, 32_768] {
        step(device, tokens, 32);
    }
}

fn step(device: &Device, tokens: usize, heads: usize) {
    const GIB: f64 = 1_073_741_824.0;
    let layer = make(&config(4096, heads, false), device);
    let recording = device.clone().autodiff();
    let random = || {
        Tensor::<3>::random(
            [1, tokens, 4096],
            Distribution::Normal(0.0, 1.0),
            (&recording, DType::BF16),
        )
    };
    let (x, weights) = (random(), random());
    wait(device);
    device.memory_cleanup();
    let used = || {
        device
            .memory_pool_usage()
            .map_or(f64::NAN, |usage| usage.bytes_reserved as f64)
    };
    let before = used();
    // Time of all, and of the forward pass if it is waited for.
    let once = |between: bool| {
        let start = Instant::now();
        let x = x.clone().require_grad();
        let input = LiquidInput::self_attn(x.clone()).is_causal(true);
        let output = layer.forward(input).unwrap_or_else(|error| stop(&error)).context;
        let loss = (output * weights.clone()).sum();
        if between {
            wait(device);
        }
        let forward = start.elapsed();
        let grads = loss.backward();
        wait(device);
        let all = start.elapsed();
        drop(grads);
        (all, forward)
    };
    let mut halves: Vec<_> = (0..9).map(|_| once(true)).collect();
    let mut through: Vec<_> = (0..7).map(|_| once(false).0).collect();
    halves.sort();
    through.sort();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let (all, forward) = halves[halves.len() / 2];
    println!(
        "{tokens:>8} {heads:>6} {:>12.2} {:>12.2} {:>12.2} {:>10.2}",
        ms(forward),
        ms(all - forward),
        ms(through[through.len() / 2]),
        (used() - before) / GIB
    );
}
