//! What is not whole, or of another model, is refused by name.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::{Model, fixture};
use crate::LoadError;

/// A tensor that a test changes before it is written.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

type Tensors = BTreeMap<String, Stored>;
type Change = Box<dyn FnOnce(&mut Tensors)>;

fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, stored)| {
        let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.data);
        (name.as_str(), view.expect("a view"))
    });
    std::fs::write(path, safetensors::serialize(views, None).expect("bytes")).expect("a file");
}

/// Loads a copy of the fixture `qwen2` in one file, changed.
fn load_changed(change: impl FnOnce(&mut Tensors)) -> Result<Model, LoadError> {
    let shards: Vec<String> = (1..=5)
        .map(|shard| format!("model-0000{shard}-of-00005.safetensors"))
        .collect();
    load_changed_files("qwen2", &shards, change)
}

/// Loads a copy of a fixture's files in one, changed.
fn load_changed_files(
    name: &str,
    files: &[String],
    change: impl FnOnce(&mut Tensors),
) -> Result<Model, LoadError> {
    let (folder, from) = (tempfile::tempdir().expect("a folder"), fixture(name));
    let mut tensors = Tensors::new();
    for file in files {
        let bytes = std::fs::read(from.join(file)).expect("a shard");
        for (name, view) in SafeTensors::deserialize(&bytes).expect("a shard").tensors() {
            let stored = Stored {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                data: view.data().to_vec(),
            };
            tensors.insert(name, stored);
        }
    }
    change(&mut tensors);
    write(&folder.path().join("model.safetensors"), &tensors);
    std::fs::copy(from.join("config.json"), folder.path().join("config.json")).expect("a copy");
    Model::load(folder.path(), &Device::flex())
}

/// Copies the fixture `qwen2` as it is, changes files, and returns why it is refused.
fn folder_refusal(change: impl FnOnce(&Path)) -> String {
    let (folder, from) = (tempfile::tempdir().expect("a folder"), fixture("qwen2"));
    for entry in std::fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("a copy");
    }
    change(folder.path());
    Model::load(folder.path(), &Device::flex())
        .expect_err("a refusal")
        .to_string()
}

#[test]
fn a_copy_without_a_change_is_loaded() {
    load_changed(|_| {}).expect("a model");
}

#[test]
fn tensors_that_do_not_fit_are_named() {
    const BIAS: &str = "model.layers.1.self_attn.k_proj.bias";
    let cases: [(&str, Change, &[&str]); 5] = [
        (
            "missing",
            Box::new(|tensors| drop(tensors.remove(BIAS))),
            &[BIAS, "has no tensor"],
        ),
        (
            "more",
            Box::new(|tensors| {
                let bias = tensors.remove(BIAS).expect("a bias");
                let copy = Stored {
                    data: bias.data.clone(),
                    shape: bias.shape.clone(),
                    ..bias
                };
                tensors.insert(BIAS.to_owned(), bias);
                tensors.insert("model.layers.1.self_attn.o_proj.bias".to_owned(), copy);
            }),
            &["model.layers.1.self_attn.o_proj.bias", "no place"],
        ),
        (
            "shape",
            Box::new(|tensors| tensors.get_mut(BIAS).expect("a bias").shape = vec![1, 12]),
            &[BIAS, "[1, 12]", "[12]"],
        ),
        (
            "type",
            Box::new(|tensors| tensors.get_mut(BIAS).expect("a bias").dtype = Dtype::I16),
            &[BIAS, "I16", "convert"],
        ),
        (
            "mixed",
            Box::new(|tensors| tensors.get_mut(BIAS).expect("a bias").dtype = Dtype::F16),
            &[BIAS, "F16", "q_proj.bias", "BF16"],
        ),
    ];
    for (name, change, words) in cases {
        let text = load_changed(change).expect_err("a refusal").to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{name}: {text}");
    }
}

#[test]
fn tensors_of_hybrids_that_do_not_fit_are_named() {
    const TAPS: &str = "model.layers.0.linear_attn.conv1d.weight";
    const PACKED: &str = "model.layers.0.linear_attn.in_proj_qkvz.weight";
    let copy = |tensors: &Tensors| Stored {
        dtype: Dtype::F16,
        shape: tensors[TAPS].shape.clone(),
        data: tensors[TAPS].data.clone(),
    };
    let cases: [(Change, &[&str]); 4] = [
        (
            Box::new(|tensors| drop(tensors.remove(TAPS))),
            &[TAPS, "has no tensor"],
        ),
        (
            Box::new(|tensors| tensors.get_mut(TAPS).expect("taps").shape = vec![80, 4]),
            &[TAPS, "[80, 4]", "[80, 1, 4]"],
        ),
        (
            Box::new(|tensors| tensors.get_mut(PACKED).expect("rows").shape = vec![24, 128]),
            &[PACKED, "[24, 128]", "[128, 24]"],
        ),
        (
            Box::new(move |tensors| {
                let copy = copy(tensors);
                tensors.insert("model.layers.0.mlp.experts.gate_up_proj".to_owned(), copy);
            }),
            &["mlp.experts.gate_up_proj", "no place"],
        ),
    ];
    for (change, words) in cases {
        let files = ["model.safetensors".to_owned()];
        let text = load_changed_files("qwen3_next", &files, change)
            .expect_err("a refusal")
            .to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
    }
}

#[test]
fn files_that_are_missing_or_cut_are_named() {
    const SHARD: &str = "model-00003-of-00005.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    let missing = folder_refusal(|folder| std::fs::remove_file(folder.join(SHARD)).expect("removed"));
    assert!(
        missing.contains(SHARD) && missing.contains("missing"),
        "{missing}"
    );
    let none = folder_refusal(|folder| std::fs::remove_file(folder.join(INDEX)).expect("removed"));
    assert!(none.contains("model.safetensors"), "{none}");
    let whole = std::fs::read(fixture("qwen2").join(SHARD)).expect("a shard");
    for length in [0, 7, 100, whole.len() - 1] {
        let cut = folder_refusal(|folder| {
            std::fs::write(folder.join(SHARD), &whole[..length]).expect("a file");
        });
        assert!(cut.contains(SHARD), "{length} bytes: {cut}");
    }
    for (index, words) in [
        (
            r#"{"weight_map": {"x": "../x.safetensors"}}"#,
            "not the name of a file",
        ),
        (r#"{"weight_map": {}}"#, "empty"),
        ("[]", "weight_map"),
        (
            r#"{"weight_map": {"lost": "model-00003-of-00005.safetensors"}}"#,
            "has no tensor lost",
        ),
    ] {
        let wrong = folder_refusal(|folder| std::fs::write(folder.join(INDEX), index).expect("a file"));
        assert!(wrong.contains(words), "{wrong}");
    }
    let config = folder_refusal(|folder| std::fs::remove_file(folder.join("config.json")).expect("removed"));
    assert!(config.contains("config.json"), "{config}");
}
