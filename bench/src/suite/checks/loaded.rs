//! Gated delta layers as the loader gives them from a checkpoint of Hugging Face, whose matrices lie `[out,
//! in]`: on the GPU as they are and packed, against the same checkpoint on the portable path.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{DType, Device};
use liquid_attention::LiquidAttention;
use liquid_attention::hf::{Checkpoint, GatedDeltaConfig};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::Report;
use super::layer::input;
use crate::suite::layers::Pass;
use crate::suite::random::Random;
use crate::suite::tensors::values;

/// Sizes of Qwen3-Next, an eighth of each.
const HIDDEN: usize = 256;
const KEYS: usize = 2 * 128;
const VALUES: usize = 4 * 128;
const HEADS: usize = 4;

fn config(model_type: &str) -> Result<GatedDeltaConfig> {
    let text = format!(
        r#"{{"model_type": "{model_type}", "hidden_size": {HIDDEN}, "num_hidden_layers": 1,
        "linear_num_key_heads": 2, "linear_num_value_heads": {HEADS}, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "layer_types": ["linear_attention"]}}"#
    );
    Ok(GatedDeltaConfig::parse(&text)?)
}

/// Names and shapes of a layer's tensors in a checkpoint of this type.
fn tensors(model_type: &str) -> Vec<(&'static str, Vec<usize>)> {
    let mut tensors = if model_type == "qwen3_next" {
        vec![
            ("in_proj_qkvz.weight", vec![2 * KEYS + 2 * VALUES, HIDDEN]),
            ("in_proj_ba.weight", vec![2 * HEADS, HIDDEN]),
        ]
    } else {
        vec![
            ("in_proj_qkv.weight", vec![2 * KEYS + VALUES, HIDDEN]),
            ("in_proj_z.weight", vec![VALUES, HIDDEN]),
            ("in_proj_b.weight", vec![HEADS, HIDDEN]),
            ("in_proj_a.weight", vec![HEADS, HIDDEN]),
        ]
    };
    tensors.extend([
        ("conv1d.weight", vec![2 * KEYS + VALUES, 1, 4]),
        ("out_proj.weight", vec![HIDDEN, VALUES]),
        ("A_log", vec![HEADS]),
        ("dt_bias", vec![HEADS]),
        ("norm.weight", vec![128]),
    ]);
    tensors
}

/// Writes a checkpoint of random numbers.
fn write(path: &Path, model_type: &str) -> Result<()> {
    let mut random = Random::new(11);
    let mut all = Vec::new();
    for (name, shape) in tensors(model_type) {
        // A row's numbers are as small as it is long, so that products stay about 1.
        let scale = match shape.as_slice() {
            [_] => 1.0,
            [.., width] => (*width as f32).sqrt(),
            [] => 1.0,
        };
        let numbers = random.normals(shape.iter().product());
        let bytes = numbers.iter().flat_map(|number| (number / scale).to_le_bytes());
        let name = format!("model.layers.0.linear_attn.{name}");
        all.push((name, shape, bytes.collect::<Vec<u8>>()));
    }
    let views = all
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    let bytes = safetensors::serialize(views, None)?;
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// The same checkpoint on the GPU and on the portable path.
struct Loaded {
    on_gpu: LiquidAttention,
    /// In f32 on the processor.
    portable: LiquidAttention,
}

impl Loaded {
    /// Writes a checkpoint and loads it twice.
    fn new(model_type: &str, device: &Device) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("{model_type}-{}.safetensors", std::process::id()));
        write(&path, model_type)?;
        let load = |dtype, device| -> Result<LiquidAttention> {
            let checkpoint = Checkpoint::open(&path)?;
            Ok(config(model_type)?.load(&checkpoint, 0, Some(dtype), device)?)
        };
        let loaded = (load(DType::BF16, device), load(DType::F32, &Device::flex()));
        // Of no more use; the folder is the system's to tidy if it stays.
        drop(std::fs::remove_file(&path));
        Ok(Self {
            on_gpu: loaded.0?,
            portable: loaded.1?,
        })
    }
}

/// Checks both layouts.
pub(in crate::suite) fn check(device: &Device, report: &mut Report) -> Result<()> {
    for model_type in ["qwen3_5_text", "qwen3_next"] {
        let Loaded { on_gpu, portable } = Loaded::new(model_type, device)?;
        let packed = on_gpu.clone().packed();
        let same = values(on_gpu.output.weight.val()) == values(packed.output.weight.val())
            && values(on_gpu.key.weight.val()) == values(packed.key.weight.val());
        report.holds("loaded weights stay the same, packed", same);
        for (batch, tokens) in [(1, 300), (2, 77)] {
            let x = input(&mut Random::new(12), [batch, tokens, HIDDEN], device);
            let on_host = x.clone().to_device(&Device::flex()).cast(DType::F32);
            let reference = Pass::fresh(&portable, on_host)?;
            for (how, layer) in [("as it lies", &on_gpu), ("packed", &packed)] {
                let name = format!("loaded {model_type}, {how}, {batch} x {tokens}");
                let mut pass = Pass::fresh(layer, x.clone())?;
                report.compare_passes(&name, &pass, &reference, 2e-2);
                let stepped = Pass::last_in_a_step(layer, &x)?;
                pass.output = pass.output.narrow(1, tokens - 1, 1);
                report.compare_passes(&format!("{name}, a step"), &stepped, &pass, 2e-2);
            }
        }
    }
    Ok(())
}
