//! The fused layer against the portable path, against itself with weights side by side, resumed and step by
//! step; and what it must notice or survive.

use anyhow::Result;
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, Precision, State};

use super::Report;
use crate::attention::Cast;
use crate::suite::layers::{Pass, in_bf16, without_biases};
use crate::suite::random::Random;
use crate::suite::tensors::{tensor, values};

/// A random input in bf16.
pub(super) fn input(random: &mut Random, shape: [usize; 3], device: &Device) -> Tensor<3> {
    let numbers = random.normals(shape.iter().product());
    tensor(&numbers, shape, DType::BF16, device)
}

/// Layers of several sizes, and with everything that a layer may have.
fn configurations() -> Vec<(String, LiquidAttentionConfig)> {
    let sizes = [(256, 4), (512, 4), (512, 2), (1024, 8)].map(|(d_model, heads)| {
        let name = format!("{d_model} x {heads}");
        (name, without_biases(d_model, heads))
    });
    let usual = || without_biases(512, 4);
    let options = [
        ("biases", LiquidAttentionConfig::new(512, 4)),
        ("output gate", usual().with_output_gate(true)),
        ("2 key heads", usual().with_n_key_heads(Some(2))),
        ("convolution", usual().with_conv_kernel(Some(4))),
        ("all, heads of 64", with_everything(256)),
        ("all, heads of 128", with_everything(512)),
        ("all, heads of 256", with_everything(1024)),
    ];
    let options = options.map(|(name, config)| (name.to_owned(), config));
    sizes.into_iter().chain(options).collect()
}

/// A layer of four heads with every option: biases, a gate, shared queries and keys, a convolution.
pub(super) fn with_everything(d_model: usize) -> LiquidAttentionConfig {
    LiquidAttentionConfig::new(d_model, 4)
        .with_output_gate(true)
        .with_n_key_heads(Some(2))
        .with_conv_kernel(Some(if d_model == 512 { 4 } else { 3 }))
}

/// Checks layers of all configurations, and what a layer must notice or survive.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for (name, config) in configurations() {
        let forms = Forms::new(&config, device)?;
        forms.compare_weights(report);
        let mut random = Random::new(config.d_model as u64);
        for (batch, tokens) in [
            (1, 1),
            (3, 1),
            (20, 1),
            (1, 77),
            (2, 300),
            (3, 4_000),
            (1, 20_000),
        ] {
            let x = input(&mut random, [batch, tokens, config.d_model], device);
            // A first token alone gives q.k times v, normed: nothing but rounding where q.k is nearly 0.
            let before = (tokens == 1).then(|| input(&mut random, [batch, 9, config.d_model], device));
            let name = format!("layer {name}, {batch} x {tokens}");
            forms.check_pass(report, &name, x, before)?;
        }
        for batch in [1, 2, 3, 5, 8, 9] {
            check_steps(report, &name, &forms.packed, batch)?;
        }
    }
    check_replaced_weights(device, report)?;
    check_out_of_memory(device, report)
}

/// One layer in three forms.
struct Forms {
    fused: LiquidAttention,
    /// With its weights side by side.
    packed: LiquidAttention,
    /// In f32 on the processor.
    portable: LiquidAttention,
}

impl Forms {
    fn new(config: &LiquidAttentionConfig, device: &Device) -> Result<Self> {
        let fused = in_bf16(config, device)?;
        let portable = fused.clone().to_device(&Device::flex());
        Ok(Self {
            packed: fused.clone().packed(),
            portable: portable.map(&mut Cast(DType::F32)),
            fused,
        })
    }

    /// Checks that moving the weights side by side changes none of them.
    fn compare_weights(&self, report: &mut Report) {
        let pairs = [
            (&self.fused.query, &self.packed.query),
            (&self.fused.value, &self.packed.value),
            (&self.fused.gate_b, &self.packed.gate_b),
        ];
        for (ours, theirs) in pairs {
            let same = values(ours.weight.val()) == values(theirs.weight.val());
            report.holds("weights side by side are the same", same);
        }
    }

    /// Checks a pass in all forms, behind the tokens of `before` if there are any.
    fn check_pass(
        &self,
        report: &mut Report,
        name: &str,
        x: Tensor<3>,
        before: Option<Tensor<3>>,
    ) -> Result<()> {
        let [batch, tokens, _] = x.dims();
        let run = |layer: &LiquidAttention, place: &dyn Fn(Tensor<3>) -> Tensor<3>| -> Result<Pass> {
            let mut state = layer.fresh_state(batch);
            if let Some(before) = before.clone() {
                layer.prefill(place(before), &mut state)?;
            }
            Pass::behind(layer, state, place(x.clone()))
        };
        let fused = run(&self.fused, &|x| x)?;
        let packed = run(&self.packed, &|x| x)?;
        report.compare_passes(&format!("{name}, side by side"), &packed, &fused, 1e-2);
        if batch * tokens <= 600 {
            let home = Device::flex();
            let portable = run(&self.portable, &|x| x.to_device(&home).cast(DType::F32))?;
            report.compare_passes(&format!("{name}, and portable"), &fused, &portable, 2e-2);
        }
        if tokens > 1 {
            let resumed = resumed(&self.fused, &x)?;
            report.compare_passes(&format!("{name}, resumed"), &resumed, &fused, 1e-2);
        }
        Ok(())
    }
}

/// Two prefills, the second from the state of the first.
fn resumed(layer: &LiquidAttention, x: &Tensor<3>) -> Result<Pass> {
    let [_, tokens, _] = x.dims();
    let cut = (tokens / 2 / 64 * 64).max(1);
    let first = Pass::fresh(layer, x.clone().narrow(1, 0, cut))?;
    let second = Pass::behind(layer, first.state, x.clone().narrow(1, cut, tokens - cut))?;
    Ok(Pass {
        output: Tensor::cat(vec![first.output, second.output], 1),
        state: second.state,
    })
}

/// Checks steps against a prefill of the same tokens, and that a step copies its state.
fn check_steps(report: &mut Report, name: &str, layer: &LiquidAttention, batch: usize) -> Result<()> {
    let layer = layer.clone().with_precision(Precision::Standard);
    let tokens = 40;
    let shape = [batch, tokens, layer.settings.d_model];
    let x = input(&mut Random::new(5), shape, &layer.device());
    let prefilled = Pass::fresh(&layer, x.clone())?;
    let mut state = layer.fresh_state(batch);
    let rows = (0..tokens).map(|token| layer.prefill(x.clone().narrow(1, token, 1), &mut state));
    let output = Tensor::cat(rows.collect::<Result<_, _>>()?, 1);
    let stepped = Pass { output, state };
    let name = format!("layer {name}, {batch} sequences, steps and prefill");
    report.compare_passes(&name, &stepped, &prefilled, 2e-2);
    // A state may be a snapshot that others hold too: a step leaves it alone.
    let begun = layer.fresh_state(batch);
    layer.prefill(x.narrow(1, 0, 1), &mut begun.clone())?;
    let tail = begun.conv.map_or_else(Vec::new, values);
    let touched = values(begun.memory)
        .iter()
        .chain(&tail)
        .any(|number| *number != 0.0);
    report.holds("a step copies its state", !touched);
    Ok(())
}

/// Checks that a layer, which keeps where its weights lie, notices when one is replaced, and that a call from
/// another thread finds the same.
fn check_replaced_weights(device: &Device, report: &mut Report) -> Result<()> {
    let mut layer = in_bf16(&without_biases(512, 4), device)?.packed();
    let mut random = Random::new(8);
    for tokens in [1, 70] {
        let x = input(&mut random, [1, tokens, 512], device);
        let run = |layer: &LiquidAttention| -> Result<Vec<f32>> {
            Ok(values(Pass::fresh(layer, x.clone())?.output))
        };
        let before = run(&layer)?;
        let other = std::thread::scope(|scope| scope.spawn(|| run(&layer)).join());
        let same = other.is_ok_and(|other| other.is_ok_and(|other| other == before));
        report.holds("another thread, the same layer", same);
        for part in 0..3 {
            let linear = match part {
                0 => &mut layer.query,
                1 => &mut layer.gate_a,
                _ => &mut layer.output,
            };
            linear.weight = linear.weight.clone().map(|weight| weight.mul_scalar(1.5));
            let after = run(&layer)?;
            // A clone has to look everything up.
            let noticed = after == run(&layer.clone())? && after != before;
            report.holds("a weight is replaced", noticed);
        }
    }
    Ok(())
}

/// Checks a pass that no GPU has the memory for: whoever reads what it should have written, its small state
/// too, is given an error, and the next pass is as if it had not been.
fn check_out_of_memory(device: &Device, report: &mut Report) -> Result<()> {
    let layer = in_bf16(&without_biases(512, 4), device)?.packed();
    let x = input(&mut Random::new(9), [1, 70, 512], device);
    let run = || -> Result<Vec<f32>> { Ok(values(Pass::fresh(&layer, x.clone())?.output)) };
    let before = run()?;
    let endless = x.clone().narrow(1, 0, 1).expand([1, 1 << 28, 512]);
    let Pass { output, state } = Pass::fresh(&layer, endless)?;
    let silent = output.narrow(1, 0, 1).try_into_data().is_ok() || is_readable(state);
    report.holds("out of memory is an error", !silent);
    report.holds("and passes", run()? == before);
    Ok(())
}

fn is_readable(state: State) -> bool {
    state.memory.try_into_data().is_ok()
}
