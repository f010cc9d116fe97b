//! Layers that the kernels serve in part or not at all, and patched ones, on the GPU against the portable path in f32.

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::{DType, Device, Tensor};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, LiquidInput, patch_self_attention};

use crate::check::{Report, tensor, values};
use crate::layer::{close, last_in_a_step, plain, stop};
use crate::plain::Random;
use crate::train::{Onto, compare_gradients};

/// Runs them all. burn tunes its products for them, which takes a minute.
pub(crate) fn check(device: &Device, report: &mut Report) {
    let usual = || plain(512, 4);
    for (name, config, dtype, limit) in [
        ("f32", usual(), DType::F32, 5e-3),
        ("f16", usual(), DType::F16, 5e-3),
        ("heads of 32", plain(256, 8), DType::BF16, 3e-2),
        ("never erasing", usual().with_erase(false), DType::BF16, 2e-2),
        (
            "bidirectional",
            usual().with_bidirectional(true),
            DType::BF16,
            3e-2,
        ),
    ] {
        let exact = config.init(&Device::flex()).unwrap_or_else(|error| stop(&error));
        let ours = exact.clone().map(&mut Onto(dtype, device));
        let shape = [2, 150, config.d_model];
        let x = Random::new(21).normals(shape.iter().product());
        let (there, here) = (
            tensor(&x, shape, dtype, device),
            tensor(&x, shape, DType::F32, &Device::flex()),
        );
        report.compare(
            &format!("{name}, a pass"),
            &values(whole(&ours, there.clone())),
            &values(whole(&exact, here.clone())),
            limit,
        );
        if !config.bidirectional {
            in_two(report, name, (&ours, there), (&exact, here), limit);
        }
    }
    patched(device, report);
}

fn whole(layer: &LiquidAttention, x: Tensor<3>) -> Tensor<3> {
    let input = LiquidInput::self_attn(x).is_causal(!layer.settings.bidirectional);
    layer.forward(input).unwrap_or_else(|error| stop(&error)).context
}

/// All tokens but the last, and then the last in a step.
fn in_two(
    report: &mut Report,
    name: &str,
    ours: (&LiquidAttention, Tensor<3>),
    exact: (&LiquidAttention, Tensor<3>),
    limit: f64,
) {
    let (output, state) = last_in_a_step(ours.0, &ours.1);
    let (wanted, plain) = last_in_a_step(exact.0, &exact.1);
    close(
        report,
        &format!("{name}, a step"),
        (output, &state),
        (wanted, &plain),
        limit,
    );
}

/// A layer in the place of burn's attention, whose matrices lie transposed as in a checkpoint: its gradients while it is
/// trained, its output when it is.
fn patched(device: &Device, report: &mut Report) {
    let home = Device::flex().autodiff();
    let softmax = MultiHeadAttentionConfig::new(512, 4).init(&home);
    let exact = patch_self_attention((&softmax).into(), &LiquidAttentionConfig::new(512, 4))
        .unwrap_or_else(|error| stop(&error))
        .map(&mut Onto(DType::BF16, &home))
        .map(&mut Onto(DType::F32, &home));
    let there = device.clone().autodiff();
    let trained = transposed(exact.clone().map(&mut Onto(DType::BF16, &there)));
    let shape = [2, 301, 512];
    compare_gradients(report, "patched", (&trained, &exact), shape, &mut Random::new(22));
    let exact = exact.mark_distilled();
    let ours = transposed(exact.clone().map(&mut Onto(DType::BF16, device)));
    let exact = exact.map(&mut Onto(DType::F32, &Device::flex()));
    let x = Random::new(22).normals(shape.iter().product());
    for (name, ours) in [("as it lies", ours.clone()), ("packed", ours.packed())] {
        let (there, here) = (
            tensor(&x, shape, DType::BF16, device),
            tensor(&x, shape, DType::F32, &Device::flex()),
        );
        in_two(
            report,
            &format!("patched, {name}"),
            (&ours, there),
            (&exact, here),
            2e-2,
        );
    }
}

/// The same layer, its square matrices as views of their transposes.
fn transposed(mut layer: LiquidAttention) -> LiquidAttention {
    let turn = |linear: &mut Linear| {
        let weight = linear.weight.val();
        let turned = tensor(
            &values(weight.clone().transpose()),
            weight.dims(),
            weight.dtype(),
            &weight.device(),
        );
        linear.weight = Param::from_tensor(turned.transpose());
    };
    for linear in [
        &mut layer.query,
        &mut layer.key,
        &mut layer.value,
        &mut layer.output,
    ] {
        turn(linear);
    }
    layer
}
