//! The loader against the arithmetic of transformers (`attention/fixtures/make.py`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use burn::tensor::{DType, Device};

use super::{Checkpoint, GatedDeltaConfig, LoadError, SoftmaxConfig};
use crate::oracle::error;
use crate::{LiquidAttention, LiquidAttentionConfig, patch_self_attention};

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

fn config(layout: &str) -> GatedDeltaConfig {
    let text = std::fs::read_to_string(fixture(&format!("{layout}.json"))).expect("a fixture");
    GatedDeltaConfig::parse(&text).expect("a configuration")
}

fn open(layout: &str) -> (Checkpoint, LiquidAttention) {
    let checkpoint = Checkpoint::open(fixture(&format!("{layout}.safetensors"))).expect("a checkpoint");
    let layer = config(layout)
        .load(&checkpoint, 1, None, &Device::flex())
        .expect("a layer");
    (checkpoint, layer)
}

fn numbers<const D: usize>(checkpoint: &Checkpoint, name: &str, shape: [usize; D]) -> Vec<f64> {
    let tensor = checkpoint
        .tensor(name, shape, None, &Device::flex())
        .expect("a tensor");
    tensor.into_data().iter::<f64>().collect()
}

#[test]
fn both_layouts_give_the_output_and_the_state_of_transformers() {
    for layout in ["qwen3_5", "qwen3_next"] {
        let (checkpoint, layer) = open(layout);
        let input = checkpoint
            .tensor::<2>("input", [70, 20], None, &Device::flex())
            .expect("an input");
        let mut state = layer.fresh_state(1);
        let output = layer
            .prefill(input.reshape([1, 70, 20]), &mut state)
            .expect("an output");
        let output = error(
            &output.into_data().iter::<f64>().collect::<Vec<_>>(),
            &numbers(&checkpoint, "output", [70, 20]),
        );
        let state = error(
            &state.memory.into_data().iter::<f64>().collect::<Vec<_>>(),
            &numbers(&checkpoint, "state", [4, 8, 6]),
        );
        assert!(
            output < 2e-5 && state < 2e-5,
            "{layout}: output {output:.1e}, state {state:.1e}"
        );
    }
}

#[test]
fn loads_in_another_type() {
    let (checkpoint, _) = open("qwen3_5");
    let layer = config("qwen3_5")
        .load(&checkpoint, 1, Some(DType::BF16), &Device::flex())
        .expect("a layer");
    assert_eq!(layer.dtype(), DType::BF16);
    assert_eq!(layer.a_log.val().dtype(), DType::F32);
}

#[test]
fn names_what_is_missing_or_wrong() {
    let (checkpoint, _) = open("qwen3_5");
    let device = Device::flex();
    let text = |error: LoadError| error.to_string();
    let missing = config("qwen3_5")
        .load(&checkpoint, 0, None, &device)
        .map(|_| ())
        .map_err(text);
    assert!(
        missing
            .expect_err("a refusal")
            .contains("layers.0.linear_attn.in_proj_qkv.weight")
    );
    let full = config("qwen3_5")
        .load(&checkpoint, 3, None, &device)
        .map(|_| ())
        .map_err(text);
    assert!(
        full.expect_err("a refusal")
            .contains("layer 3 is no gated delta layer")
    );
    let wide = GatedDeltaConfig {
        hidden_size: 21,
        ..config("qwen3_5")
    };
    let wide = wide.load(&checkpoint, 1, None, &device).map(|_| ()).map_err(text);
    assert!(
        wide.expect_err("a refusal")
            .contains("[56, 20] where config.json makes it [56, 21]")
    );
    let other = GatedDeltaConfig::parse(r#"{"model_type": "llama"}"#)
        .map(|_| ())
        .map_err(text);
    assert!(other.expect_err("a refusal").contains("qwen3_next"));
    let zero = r#"{"model_type": "qwen3_next", "hidden_size": 0}"#;
    let zero = GatedDeltaConfig::parse(zero).map(|_| ()).map_err(text);
    assert!(zero.expect_err("a refusal").contains("hidden_size: 0"));
    let lost = Checkpoint::open(fixture("nothing.safetensors"))
        .map(|_| ())
        .map_err(text);
    assert!(lost.expect_err("a refusal").contains("model.safetensors"));
}

#[test]
fn every_fourth_layer_is_full_unless_said() {
    let text = std::fs::read_to_string(fixture("qwen3_next.json")).expect("a fixture");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json.as_object_mut().expect("an object").remove("layer_types");
    json["num_hidden_layers"] = 8.into();
    let config = GatedDeltaConfig::parse(&json.to_string()).expect("a configuration");
    assert_eq!(
        config.linear_layers,
        [true, true, true, false, true, true, true, false]
    );
}

/// A checkpoint in two shards with an index.
fn llama(folder: &std::path::Path) {
    let write = |file: &str, tensors: &[(&str, Vec<usize>)]| {
        let data: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(_, shape)| {
                let count = shape.iter().product::<usize>();
                (0..count)
                    .flat_map(|i| ((i % 7) as f32 * 0.1 - 0.3).to_le_bytes())
                    .collect()
            })
            .collect();
        let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
            let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), data);
            (*name, view.expect("a view"))
        });
        let bytes = safetensors::serialize(views, None).expect("bytes");
        std::fs::write(folder.join(file), bytes).expect("a file");
    };
    let names = [
        "q_proj.weight",
        "q_proj.bias",
        "k_proj.weight",
        "v_proj.weight",
        "o_proj.weight",
    ];
    let names = names.map(|part| format!("model.layers.0.self_attn.{part}"));
    let [q, bias, k, v, o] = names.each_ref().map(String::as_str);
    write(
        "a.safetensors",
        &[(q, vec![24, 16]), (bias, vec![24]), (k, vec![12, 16])],
    );
    write("b.safetensors", &[(v, vec![12, 16]), (o, vec![16, 24])]);
    let index = serde_json::json!({"weight_map": {
        q: "a.safetensors", bias: "a.safetensors", k: "a.safetensors", v: "b.safetensors", o: "b.safetensors",
    }});
    std::fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("a file");
}

#[test]
fn takes_softmax_projections_from_shards() {
    let folder = tempfile::tempdir().expect("a folder");
    llama(folder.path());
    let config = SoftmaxConfig::parse(
        r#"{"model_type": "qwen2", "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
            "head_dim": 6, "num_hidden_layers": 1}"#,
    )
    .expect("a configuration");
    let checkpoint = Checkpoint::open(folder.path()).expect("a checkpoint");
    let projections = config
        .load(&checkpoint, 0, None, &Device::flex())
        .expect("projections");
    assert!(projections.query.bias.is_some() && projections.key.bias.is_none());
    let layer = patch_self_attention(projections, &LiquidAttentionConfig::new(1, 1)).expect("a layer");
    assert_eq!(layer.key.weight.dims(), [16, 24]);
    assert!(layer.needs_distillation());
}

#[test]
fn a_shard_outside_the_folder_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = r#"{"weight_map": {"x": "../x.safetensors"}}"#;
    std::fs::write(folder.path().join("model.safetensors.index.json"), index).expect("a file");
    let error = Checkpoint::open(folder.path()).expect_err("a refusal");
    assert!(error.to_string().contains("is not a file name"), "{error}");
}

#[test]
fn a_truncated_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = std::fs::read(fixture("qwen3_5.safetensors")).expect("a fixture");
    let path = folder.path().join("model.safetensors");
    for length in [0, 7, 100, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).expect("a file");
        let error = Checkpoint::open(&path).expect_err("a refusal");
        assert!(error.to_string().contains("model.safetensors"), "{error}");
    }
}
