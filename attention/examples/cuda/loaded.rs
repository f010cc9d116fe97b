//! Gated delta layers as the loader gives them from a checkpoint of Hugging Face, whose matrices lie `[out, in]`: on the
//! GPU as they are and packed, against the same checkpoint on the portable path.

use std::path::Path;

use burn::tensor::{DType, Device};
use liquid_attention::LiquidAttention;
use liquid_attention::hf::{Checkpoint, GatedDeltaConfig};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::check::{Report, values};
use crate::layer::{close, input, last_in_a_step, read, stop};
use crate::plain::Random;

/// Sizes of Qwen3-Next, an eighth of each.
const HIDDEN: usize = 256;
const KEYS: usize = 2 * 128;
const VALUES: usize = 4 * 128;
const HEADS: usize = 4;

fn config(model_type: &str) -> GatedDeltaConfig {
    let text = format!(
        r#"{{"model_type": "{model_type}", "hidden_size": {HIDDEN}, "num_hidden_layers": 1,
        "linear_num_key_heads": 2, "linear_num_value_heads": {HEADS}, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "layer_types": ["linear_attention"]}}"#
    );
    GatedDeltaConfig::parse(&text).unwrap_or_else(|error| stop(&error))
}

/// Writes a checkpoint of random numbers.
fn write(path: &Path, model_type: &str) -> Result<(), Box<dyn std::error::Error>> {
    let inputs: &[(&str, &[usize])] = if model_type == "qwen3_next" {
        &[
            ("in_proj_qkvz.weight", &[2 * KEYS + 2 * VALUES, HIDDEN]),
            ("in_proj_ba.weight", &[2 * HEADS, HIDDEN]),
        ]
    } else {
        &[
            ("in_proj_qkv.weight", &[2 * KEYS + VALUES, HIDDEN]),
            ("in_proj_z.weight", &[VALUES, HIDDEN]),
            ("in_proj_b.weight", &[HEADS, HIDDEN]),
            ("in_proj_a.weight", &[HEADS, HIDDEN]),
        ]
    };
    let others: [(&str, &[usize]); 5] = [
        ("conv1d.weight", &[2 * KEYS + VALUES, 1, 4]),
        ("out_proj.weight", &[HIDDEN, VALUES]),
        ("A_log", &[HEADS]),
        ("dt_bias", &[HEADS]),
        ("norm.weight", &[128]),
    ];
    let mut random = Random::new(11);
    let mut tensors = Vec::new();
    for (name, shape) in inputs.iter().chain(&others) {
        // A row's numbers are as small as it is long, so that products stay about 1.
        let scale = if shape.len() == 1 {
            1.0
        } else {
            (shape[shape.len() - 1] as f32).sqrt()
        };
        let numbers = random.normals(shape.iter().product());
        let bytes = numbers.iter().flat_map(|number| (number / scale).to_le_bytes());
        let name = format!("model.layers.0.linear_attn.{name}");
        tensors.push((name, shape.to_vec(), bytes.collect::<Vec<u8>>()));
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    std::fs::write(path, safetensors::serialize(views, None)?)?;
    Ok(())
}

fn load(path: &Path, model_type: &str, dtype: DType, device: &Device) -> LiquidAttention {
    Checkpoint::open(path)
        .and_then(|checkpoint| config(model_type).load(&checkpoint, 0, Some(dtype), device))
        .unwrap_or_else(|error| stop(&error))
}

/// Runs the checks of both layouts.
pub(crate) fn check(device: &Device, report: &mut Report) {
    for model_type in ["qwen3_5_text", "qwen3_next"] {
        let path = std::env::temp_dir().join(format!("{model_type}-{}.safetensors", std::process::id()));
        write(&path, model_type).unwrap_or_else(|error| stop(&error));
        let layer = load(&path, model_type, DType::BF16, device);
        let portable = load(&path, model_type, DType::F32, &Device::flex());
        drop(std::fs::remove_file(&path));
        let packed = layer.clone().packed();
        let same = values(layer.output.weight.val()) == values(packed.output.weight.val())
            && values(layer.key.weight.val()) == values(packed.key.weight.val());
        report.holds("loaded weights stay the same, packed", same);
        for (batch, tokens) in [(1, 300), (2, 77)] {
            let x = input(&mut Random::new(12), [batch, tokens, HIDDEN], device);
            let mut plain = portable.fresh_state(batch);
            let on_host = x.clone().to_device(&Device::flex()).cast(DType::F32);
            let reference = read(&portable, on_host, &mut plain);
            for (how, layer) in [("as it lies", &layer), ("packed", &packed)] {
                let name = format!("loaded {model_type}, {how}, {batch} x {tokens}");
                let mut state = layer.fresh_state(batch);
                let got = read(layer, x.clone(), &mut state);
                let expected = (reference.clone(), &plain);
                close(report, &name, (got.clone(), &state), expected, 2e-2);
                let (stepped, after) = last_in_a_step(layer, &x);
                let last = got.narrow(1, tokens - 1, 1);
                close(
                    report,
                    &format!("{name}, a step"),
                    (stepped, &after),
                    (last, &state),
                    2e-2,
                );
            }
        }
    }
}
