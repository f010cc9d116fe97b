//! Layers that the kernels serve in part or not at all, and patched ones, on the GPU against the portable
//! path in f32. burn tunes its products for them, which takes a minute.

use anyhow::Result;
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::attention::MultiHeadAttentionConfig;
use burn::tensor::{DType, Device, Tensor};
use liquid_attention::{LiquidAttention, LiquidAttentionConfig, LiquidInput, patch_self_attention};

use super::Report;
use super::gradients::Trained;
use crate::suite::layers::{Pass, without_biases};
use crate::suite::random::Random;
use crate::suite::tensors::{CopyTo, tensor, values};

/// A layer that the kernels do not serve whole.
struct Other {
    name: &'static str,
    config: LiquidAttentionConfig,
    dtype: DType,
    limit: f64,
}

fn others() -> [Other; 5] {
    let usual = || without_biases(512, 4);
    let other = |name, config, dtype, limit| Other {
        name,
        config,
        dtype,
        limit,
    };
    [
        other("f32", usual(), DType::F32, 5e-3),
        other("f16", usual(), DType::F16, 5e-3),
        other("heads of 32", without_biases(256, 8), DType::BF16, 3e-2),
        other("never erasing", usual().with_erase(false), DType::BF16, 2e-2),
        other(
            "bidirectional",
            usual().with_bidirectional(true),
            DType::BF16,
            3e-2,
        ),
    ]
}

/// Checks the layers above, and patched ones.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for other in others() {
        let exact = other.config.init(&Device::flex())?;
        let pair = Pair {
            ours: exact.clone().map(&mut CopyTo {
                dtype: other.dtype,
                device,
            }),
            exact,
            dtype: other.dtype,
            x: Random::new(21).normals(2 * 150 * other.config.d_model),
            shape: [2, 150, other.config.d_model],
        };
        pair.compare_whole(report, other.name, other.limit)?;
        if !other.config.bidirectional {
            pair.compare_step(report, other.name, other.limit)?;
        }
    }
    check_patched(device, report)
}

/// A layer on the GPU, the same in f32 on the processor, and an input.
struct Pair {
    ours: LiquidAttention,
    exact: LiquidAttention,
    /// Number type on the GPU.
    dtype: DType,
    x: Vec<f32>,
    shape: [usize; 3],
}

impl Pair {
    fn inputs(&self) -> [Tensor<3>; 2] {
        [
            tensor(&self.x, self.shape, self.dtype, &self.ours.device()),
            tensor(&self.x, self.shape, DType::F32, &self.exact.device()),
        ]
    }

    /// Compares a pass over all tokens.
    fn compare_whole(&self, report: &mut Report, name: &str, limit: f64) -> Result<()> {
        let [there, here] = self.inputs();
        let (ours, exact) = (whole(&self.ours, there)?, whole(&self.exact, here)?);
        report.compare(&format!("{name}, a pass"), &values(ours), &values(exact), limit);
        Ok(())
    }

    /// Compares the last token, given in a step behind all others.
    fn compare_step(&self, report: &mut Report, name: &str, limit: f64) -> Result<()> {
        let [there, here] = self.inputs();
        let ours = Pass::last_in_a_step(&self.ours, &there)?;
        let exact = Pass::last_in_a_step(&self.exact, &here)?;
        report.compare_passes(&format!("{name}, a step"), &ours, &exact, limit);
        Ok(())
    }
}

fn whole(layer: &LiquidAttention, x: Tensor<3>) -> Result<Tensor<3>> {
    let input = LiquidInput::self_attn(x).is_causal(!layer.settings.bidirectional);
    Ok(layer.forward(input)?.context)
}

/// Checks a layer in the place of burn's attention, whose matrices lie transposed as in a checkpoint: its
/// gradients while it is trained, its output when it is.
fn check_patched(device: &Device, report: &mut Report) -> Result<()> {
    let (home, there) = (Device::flex().autodiff(), device.clone().autodiff());
    let copy = |layer: LiquidAttention, dtype, device: &Device| layer.map(&mut CopyTo { dtype, device });
    let softmax = MultiHeadAttentionConfig::new(512, 4).init(&home);
    let patched = patch_self_attention((&softmax).into(), &LiquidAttentionConfig::new(512, 4))?;
    // Weights that are exact in bf16.
    let exact = copy(copy(patched, DType::BF16, &home), DType::F32, &home);
    let shape = [2, 301, 512];
    let trained = Trained {
        ours: transposed(copy(exact.clone(), DType::BF16, &there)),
        exact: exact.clone(),
    };
    trained.compare_gradients(report, "patched", shape, &mut Random::new(22))?;
    let exact = exact.mark_distilled();
    let ours = transposed(copy(exact.clone(), DType::BF16, device));
    let exact = copy(exact, DType::F32, &Device::flex());
    for (name, ours) in [("as it lies", ours.clone()), ("packed", ours.packed())] {
        let pair = Pair {
            ours,
            exact: exact.clone(),
            dtype: DType::BF16,
            x: Random::new(22).normals(shape.iter().product()),
            shape,
        };
        pair.compare_step(report, &format!("patched, {name}"), 2e-2)?;
    }
    Ok(())
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
