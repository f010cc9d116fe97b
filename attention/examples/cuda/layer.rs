//! The fused layer against the same layer put together from its operations, and against itself.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, DType, Device, Tensor, TensorData};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, Precision, State};

use crate::check::{Report, tensor, values};
use crate::plain::Random;

/// A layer of the given width whose projections have no bias.
pub(crate) fn plain(d_model: usize, heads: usize) -> LiquidAttentionConfig {
    LiquidAttentionConfig::new(d_model, heads)
        .with_query_bias(false)
        .with_key_bias(false)
        .with_value_bias(false)
        .with_output_bias(false)
}

/// The same in bf16.
pub(crate) fn make(device: &Device, d_model: usize, heads: usize) -> LiquidAttention {
    of(&plain(d_model, heads), device)
}

/// A layer in bf16.
pub(crate) fn of(config: &LiquidAttentionConfig, device: &Device) -> LiquidAttention {
    match config.init(device) {
        Ok(layer) => layer.map(&mut Cast(DType::BF16)),
        Err(error) => stop(&error),
    }
}

struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| tensor.cast(self.0))
    }
}

/// Ends the program: a layer that refuses to run is no check that passed.
#[allow(clippy::panic, reason = "a program that checks")]
pub(crate) fn stop(error: &dyn std::fmt::Display) -> ! {
    panic!("{error}")
}

pub(crate) fn read(layer: &LiquidAttention, x: Tensor<3>, state: &mut State) -> Tensor<3> {
    layer.prefill(x, state).unwrap_or_else(|error| stop(&error))
}

/// The output of the last token in a step, all before it prefilled.
pub(crate) fn last_in_a_step(layer: &LiquidAttention, x: &Tensor<3>) -> (Tensor<3>, State) {
    let [batch, tokens, _] = x.dims();
    let mut state = layer.fresh_state(batch);
    read(layer, x.clone().narrow(1, 0, tokens - 1), &mut state);
    let last = x.clone().narrow(1, tokens - 1, 1);
    let stepped = layer.step(last, &mut state).unwrap_or_else(|error| stop(&error));
    (stepped, state)
}

pub(crate) fn input(random: &mut Random, shape: [usize; 3], device: &Device) -> Tensor<3> {
    tensor(
        &random.normals(shape.iter().product()),
        shape,
        DType::BF16,
        device,
    )
}

/// Relative difference of two tensors, and of two states.
pub(crate) fn close(
    report: &mut Report,
    name: &str,
    ours: (Tensor<3>, &State),
    reference: (Tensor<3>, &State),
    limit: f64,
) {
    report.compare(name, &values(ours.0), &values(reference.0), limit);
    let state = |state: &State| values(state.memory.clone());
    report.compare(
        &format!("{name}, state"),
        &state(ours.1),
        &state(reference.1),
        limit,
    );
    let tail = |state: &State| state.conv.clone().map(values);
    if let (Some(ours), Some(reference)) = (tail(ours.1), tail(reference.1)) {
        report.compare(&format!("{name}, tail"), &ours, &reference, limit);
    }
}

/// Layers of several sizes, and with everything that a layer may have.
fn layers() -> Vec<(String, LiquidAttentionConfig)> {
    let named = |config: LiquidAttentionConfig| {
        let LiquidAttentionConfig { d_model, n_heads, .. } = config;
        (format!("{d_model} x {n_heads}"), config)
    };
    let sizes = [(256, 4), (512, 4), (512, 2), (1024, 8)].map(|(width, heads)| named(plain(width, heads)));
    let options = [
        ("biases", LiquidAttentionConfig::new(512, 4)),
        ("output gate", plain(512, 4).with_output_gate(true)),
        ("2 key heads", plain(512, 4).with_n_key_heads(Some(2))),
        ("convolution", plain(512, 4).with_conv_kernel(Some(4))),
        ("all, heads of 64", everything(256)),
        ("all, heads of 128", everything(512)),
        ("all, heads of 256", everything(1024)),
    ];
    let options = options.map(|(name, config)| (name.to_owned(), config));
    sizes.into_iter().chain(options).collect()
}

/// A layer of four heads with every option: biases, a gate, shared queries and keys, a convolution.
fn everything(d_model: usize) -> LiquidAttentionConfig {
    LiquidAttentionConfig::new(d_model, 4)
        .with_output_gate(true)
        .with_n_key_heads(Some(2))
        .with_conv_kernel(Some(if d_model == 512 { 4 } else { 3 }))
}

/// Against the portable path, resumed, side by side, and step by step.
pub(crate) fn check(device: &Device, report: &mut Report) {
    for (name, config) in layers() {
        let d_model = config.d_model;
        let layer = of(&config, device);
        let portable = layer.clone().to_device(&Device::flex());
        let portable = portable.map(&mut Cast(DType::F32));
        let packed = layer.clone().packed();
        weights(report, &layer, &packed);
        let mut random = Random::new(d_model as u64);
        for (batch, tokens) in [
            (1, 1),
            (3, 1),
            (20, 1),
            (1, 77),
            (2, 300),
            (3, 4_000),
            (1, 20_000),
        ] {
            let x = input(&mut random, [batch, tokens, d_model], device);
            let name = format!("layer {name}, {batch} x {tokens}");
            // A first token alone gives q.k times v, normed: nothing but rounding where q.k is nearly 0.
            let before = (tokens == 1).then(|| input(&mut random, [batch, 9, d_model], device));
            let run = |layer: &LiquidAttention, at: &dyn Fn(Tensor<3>) -> Tensor<3>| {
                let mut state = layer.fresh_state(batch);
                if let Some(before) = before.clone() {
                    read(layer, at(before), &mut state);
                }
                (read(layer, at(x.clone()), &mut state), state)
            };
            let (fused, state) = run(&layer, &|x| x);
            let (side_by_side, other) = run(&packed, &|x| x);
            close(
                report,
                &format!("{name}, side by side"),
                (side_by_side, &other),
                (fused.clone(), &state),
                1e-2,
            );
            if batch * tokens <= 600 {
                let (reference, plain) = run(&portable, &|x| x.to_device(&Device::flex()).cast(DType::F32));
                let name = format!("{name}, and portable");
                close(report, &name, (fused.clone(), &state), (reference, &plain), 2e-2);
            }
            if tokens > 1 {
                resumed(report, &name, &layer, x, (fused, &state));
            }
        }
        for batch in [1, 2, 3, 5, 8, 9] {
            steps(device, report, (&name, &packed), batch);
        }
    }
    replaced(device, report);
    beyond_memory(device, report);
}

/// Moving the weights side by side changes none of them.
fn weights(report: &mut Report, layer: &LiquidAttention, packed: &LiquidAttention) {
    let pairs = [
        (&layer.query, &packed.query),
        (&layer.value, &packed.value),
        (&layer.gate_b, &packed.gate_b),
    ];
    for (ours, theirs) in pairs {
        let same = values(ours.weight.val()) == values(theirs.weight.val());
        report.holds("weights side by side are the same", same);
    }
}

/// Two prefills, the second from the state of the first.
fn resumed(
    report: &mut Report,
    name: &str,
    layer: &LiquidAttention,
    x: Tensor<3>,
    whole: (Tensor<3>, &State),
) {
    let [batch, tokens, _] = x.dims();
    let cut = (tokens / 2 / 64 * 64).max(1);
    let mut state = layer.fresh_state(batch);
    let first = read(layer, x.clone().narrow(1, 0, cut), &mut state);
    let second = read(layer, x.narrow(1, cut, tokens - cut), &mut state);
    let both = Tensor::cat(vec![first, second], 1);
    close(report, &format!("{name}, resumed"), (both, &state), whole, 1e-2);
}

fn steps(device: &Device, report: &mut Report, (name, layer): (&str, &LiquidAttention), batch: usize) {
    let d_model = layer.settings.d_model;
    let layer = layer.clone().with_precision(Precision::Standard);
    let tokens = 40;
    let x = input(&mut Random::new(5), [batch, tokens, d_model], device);
    let (mut all, mut each) = (layer.fresh_state(batch), layer.fresh_state(batch));
    let prefilled = read(&layer, x.clone(), &mut all);
    let rows = (0..tokens)
        .map(|token| read(&layer, x.clone().narrow(1, token, 1), &mut each))
        .collect();
    let stepped = Tensor::cat(rows, 1);
    close(
        report,
        &format!("layer {name}, {batch} sequences, steps and prefill"),
        (stepped, &each),
        (prefilled, &all),
        2e-2,
    );
    // A state may be a snapshot that others hold too: a step leaves it alone.
    let begun = layer.fresh_state(batch);
    read(&layer, x.narrow(1, 0, 1), &mut begun.clone());
    let tail = begun.conv.map_or_else(Vec::new, values);
    let touched = values(begun.memory)
        .iter()
        .chain(&tail)
        .any(|number| *number != 0.0);
    report.holds("a step copies its state", !touched);
}

/// A layer keeps where its weights lie. When one is replaced it must notice, and a call from another thread must find
/// the same.
fn replaced(device: &Device, report: &mut Report) {
    let mut layer = make(device, 512, 4).packed();
    let mut random = Random::new(8);
    for tokens in [1, 70] {
        let x = input(&mut random, [1, tokens, 512], device);
        let fresh = |layer: &LiquidAttention| layer.fresh_state(1);
        let run = |layer: &LiquidAttention| values(read(layer, x.clone(), &mut fresh(layer)));
        let before = run(&layer);
        let other = std::thread::scope(|scope| scope.spawn(|| run(&layer)).join());
        let same = other.is_ok_and(|other| other == before);
        report.holds("another thread, the same layer", same);
        for part in 0..3 {
            let linear = match part {
                0 => &mut layer.query,
                1 => &mut layer.gate_a,
                _ => &mut layer.output,
            };
            linear.weight = linear.weight.clone().map(|weight| weight.mul_scalar(1.5));
            let after = run(&layer);
            // A clone has to look everything up.
            let noticed = after == run(&layer.clone()) && after != before;
            report.holds("a weight is replaced", noticed);
        }
    }
}

/// A pass that no GPU has the memory for: whoever reads what it should have written is told so, its small state too,
/// and the next pass is as if it had not been.
fn beyond_memory(device: &Device, report: &mut Report) {
    let layer = make(device, 512, 4).packed();
    let x = input(&mut Random::new(9), [1, 70, 512], device);
    let run = || values(read(&layer, x.clone(), &mut layer.fresh_state(1)));
    let before = run();
    let (endless, mut state) = (
        x.clone().narrow(1, 0, 1).expand([1, 1 << 28, 512]),
        layer.fresh_state(1),
    );
    let output = read(&layer, endless, &mut state);
    let silent = output.narrow(1, 0, 1).try_into_data().is_ok() || state.memory.try_into_data().is_ok();
    report.holds("out of memory is an error", !silent);
    report.holds("and passes", run() == before);
}

/// Padded sequences: what stands in the padding changes nothing, bit for bit, and the rest is what the tokens alone
/// give. The last is exact in the kernels; cuBLAS may sum a product of other rows in another order.
pub(crate) fn padding(device: &Device, report: &mut Report) {
    for config in [plain(512, 4), everything(512)] {
        padded(device, report, &of(&config, device).packed());
    }
}

/// A token that is padding leaves its sequence as it was, in a step too.
fn silent_step(device: &Device, report: &mut Report, layer: &LiquidAttention, x: &Tensor<3>, state: &State) {
    let [batch, ..] = x.dims();
    let flags: Vec<bool> = (0..batch).map(|row| row != 1).collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(flags, [batch, 1]), device);
    let token = x.clone().narrow(1, 7, 1);
    let (mut after, mut open) = (state.clone(), state.clone());
    let padded = layer.prefill_padded(token.clone(), Some(mask), &mut after);
    padded.unwrap_or_else(|error| stop(&error));
    read(layer, token, &mut open);
    for row in 0..batch {
        let expected = if row == 1 { &open } else { state };
        let same = |of: &State| {
            let tail = of.conv.clone().map(|tail| values(tail.narrow(0, row, 1)));
            (values(of.memory.clone().narrow(0, row, 1)), tail)
        };
        let differs = same(&after) != same(expected);
        report.holds(&format!("a step of padding, sequence {row}"), !differs);
    }
}

fn padded(device: &Device, report: &mut Report, layer: &LiquidAttention) {
    let (batch, tokens, width) = (3, 300, 512);
    let mut random = Random::new(77);
    let x = input(&mut random, [batch, tokens, width], device);
    let noise = input(&mut random, [batch, tokens, width], device).mul_scalar(50.0);
    let is_padding = |row: usize, token: usize| match row {
        0 => token >= 200,
        1 => token < 37 || token.is_multiple_of(5),
        _ => false,
    };
    let flags: Vec<bool> = (0..batch * tokens)
        .map(|i| is_padding(i / tokens, i % tokens))
        .collect();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(flags, [batch, tokens]), device);
    let wide = mask
        .clone()
        .reshape([batch, tokens, 1])
        .expand([batch, tokens, width]);
    let run = |x: Tensor<3>| {
        let mut state = layer.fresh_state(batch);
        let context = layer
            .prefill_padded(x, Some(mask.clone()), &mut state)
            .unwrap_or_else(|error| stop(&error));
        (context, state)
    };
    let (context, state) = run(x.clone());
    silent_step(device, report, layer, &x, &state);
    let (other, other_state) = run(x.clone().mask_where(wide, noise));
    close(
        report,
        "padding, whatever stands in it",
        (other, &other_state),
        (context.clone(), &state),
        0.0,
    );
    for row in 0..batch {
        let kept: Vec<i32> = (0..tokens)
            .filter(|token| !is_padding(row, *token))
            .map(|token| token as i32)
            .collect();
        let kept = Tensor::<1, burn::tensor::Int>::from_ints(kept.as_slice(), device);
        let one = |t: &Tensor<3>| t.clone().narrow(0, row, 1);
        let mut alone = layer.fresh_state(1);
        let wanted = read(layer, one(&x).select(1, kept.clone()), &mut alone);
        let mut mine = state.clone();
        mine.memory = state.memory.clone().narrow(0, row, 1);
        mine.conv = state.conv.clone().map(|tail| tail.narrow(0, row, 1));
        close(
            report,
            &format!("padding, sequence {row} and its tokens alone"),
            (one(&context).select(1, kept), &mine),
            (wanted, &alone),
            0.0,
        );
    }
}
