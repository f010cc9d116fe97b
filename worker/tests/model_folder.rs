//! What loading refuses, on a tiny model that is made here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;

use liquid_signing::{PrivateKey, sign_folder};
use liquid_worker::config::{Config, Verify};
use liquid_worker::model::{Device, LoadError, ManifestError, Models, WeightsError};
use liquid_worker::runtime::{Runtime, StartError};
use safetensors::Dtype;
use tempfile::TempDir;

fn tiny() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    support::write_tiny_model(folder.path());
    folder
}

fn load(folder: &Path) -> Result<Models, LoadError> {
    Models::load(folder, Device::Cpu)
}

/// Changes one tensor's type and shape, with sums that fit.
fn with_tensor(name: &str, dtype: Dtype, shape: &[usize]) -> TempDir {
    let folder = tiny();
    let mut tensors = support::tiny_tensors(support::tiny_vocabulary().len());
    tensors.insert(name.to_owned(), (dtype, shape.to_vec()));
    support::write_weights(folder.path(), &tensors);
    support::write_manifest(folder.path());
    folder
}

#[test]
fn a_good_folder_loads_and_encodes() {
    let mut models = load(tiny().path()).unwrap();
    assert_eq!(models.name, "tiny");
    assert_eq!(models.card.sha256.len(), 64);
    assert_eq!(models.embeddings.dim(), 8);
    let pieces = models
        .tokenizer
        .encode("the law of Delaware, [SEP] amending Ünits");
    assert!(pieces.len() > 8 && pieces.ids.contains(&102));
    let encoded = models.encoder.encode(&[&pieces.ids, &pieces.ids[..3]]).unwrap();
    assert_eq!(encoded[1].tokens.len(), 3 * 8);
    let length: f32 = encoded[0].sentence.iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5);
}

#[test]
fn a_gpu_that_cannot_serve_is_an_error_that_says_why() {
    // Without the feature no GPU can; with it the tiny model cannot, on whatever machine: its heads are 4 wide.
    let error = Models::load(tiny().path(), Device::Cuda(0))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("model.device = cuda:0: "), "{error}");
    let reason = if cfg!(feature = "cuda") {
        ""
    } else {
        "built for processors alone"
    };
    assert!(error.contains(reason), "{error}");
}

#[test]
fn a_missing_manifest_or_file_is_named() {
    let folder = tiny();
    std::fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::Manifest(ManifestError::Unreadable { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("tokenizer.json"), "{error}");
    let error = load(tempfile::tempdir().unwrap().path()).unwrap_err();
    assert!(
        error.to_string().contains("manifest.json") && error.to_string().contains("xtask model"),
        "{error}"
    );
}

#[test]
fn another_model_than_the_one_asked_for_is_refused() {
    let folder = tiny();
    let start = |sha256: &str| {
        let mut config = Config::default();
        config.model.folder = Some(folder.path().to_owned());
        config.model.sha256 = Some(sha256.to_owned());
        Runtime::start(&config).map(|_| ())
    };
    let error = start(&"0".repeat(64)).unwrap_err();
    let StartError::Model(LoadError::Manifest(ManifestError::OtherModel { actual, .. })) = &error else {
        panic!("{error}");
    };
    assert!(error.to_string().contains("correct the sum"), "{error}");
    start(actual).unwrap();
    start(&actual.to_ascii_uppercase()).unwrap();
}

#[test]
fn a_changed_byte_is_a_wrong_sum() {
    let folder = tiny();
    let path = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::Manifest(ManifestError::WrongSum { .. })),
        "{error}"
    );
}

#[test]
fn a_manifest_must_be_whole() {
    let folder = tiny();
    let manifest = folder.path().join("manifest.json");
    std::fs::write(&manifest, "{\"name\": \"tiny\"}").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::Manifest(ManifestError::Malformed { .. })),
        "{error}"
    );
    std::fs::write(&manifest, "{\"name\": \"tiny\", \"files\": {}}").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(
        matches!(error, LoadError::Manifest(ManifestError::Unlisted { .. })),
        "{error}"
    );
}

#[test]
fn a_wrong_shape_names_the_tensor_and_both_shapes() {
    let folder = with_tensor("encoder.layer.0.output.dense.weight", Dtype::F32, &[8, 15]);
    let LoadError::Weights(WeightsError::WrongShape {
        name,
        expected,
        actual,
        ..
    }) = load(folder.path()).unwrap_err()
    else {
        panic!("not a wrong shape")
    };
    assert_eq!(
        (name.as_str(), expected, actual),
        ("encoder.layer.0.output.dense.weight", vec![8, 16], vec![8, 15])
    );
}

#[test]
fn a_wrong_type_is_refused() {
    let folder = with_tensor("embeddings.LayerNorm.bias", Dtype::BF16, &[8]);
    let error = load(folder.path()).unwrap_err();
    assert!(
        matches!(
            error,
            LoadError::Weights(WeightsError::WrongType {
                actual: Dtype::BF16,
                ..
            })
        ),
        "{error}"
    );
}

#[test]
fn a_missing_tensor_is_named() {
    let folder = tiny();
    let mut tensors = support::tiny_tensors(support::tiny_vocabulary().len());
    tensors.remove("encoder.layer.0.attention.self.key.bias");
    support::write_weights(folder.path(), &tensors);
    support::write_manifest(folder.path());
    let error = load(folder.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("encoder.layer.0.attention.self.key.bias"),
        "{error}"
    );
}

#[test]
fn what_is_not_this_kind_of_model_is_refused() {
    for (file, from, to) in [
        ("config.json", "\"gelu\"", "\"gelu_new\""),
        ("config.json", "\"bert\"", "\"roberta\""),
        ("config.json", "\"hidden_size\":8", "\"hidden_size\":7"),
        ("config.json", "{", ""),
        ("tokenizer.json", "\"lowercase\":true", "\"lowercase\":false"),
        ("tokenizer.json", "{", ""),
        ("model.safetensors", "embeddings", "embedding_"),
    ] {
        let folder = tiny();
        let path = folder.path().join(file);
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes
            .windows(from.len())
            .position(|part| part == from.as_bytes())
            .unwrap();
        let changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
        std::fs::write(&path, changed).unwrap();
        support::write_manifest(folder.path());
        let error = load(folder.path()).expect_err(&format!("{file} with {to} for {from}"));
        let expected = match file {
            "config.json" => matches!(error, LoadError::Config(_)),
            "tokenizer.json" => matches!(error, LoadError::Tokenizer(_)),
            _ => matches!(error, LoadError::Weights(_)),
        };
        assert!(
            expected && error.to_string().contains(file),
            "{file} with {to} for {from}: {error}"
        );
    }
}

/// A configuration that takes only models that the key has signed.
fn signed_by(key: &PrivateKey, folder: &Path) -> Config {
    let mut config = Config::default();
    config.model.folder = Some(folder.to_owned());
    config.model.verify = Verify::Required;
    config.model.public_key = Some(key.public_key().to_string());
    config
}

fn start(config: &Config) -> Result<(), String> {
    Runtime::start(config)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[test]
fn where_signatures_are_required_only_a_signed_folder_as_it_was_signed_starts() {
    let (models, key) = (tempfile::tempdir().unwrap(), PrivateKey::generate().unwrap());
    let (folder, ranker) = (models.path().join("tiny"), models.path().join("liquid-ranker"));
    for folder in [&folder, &ranker] {
        std::fs::create_dir(folder).unwrap();
    }
    support::write_tiny_model(&folder);
    support::write_tiny_ranker(&ranker);
    let config = signed_by(&key, &folder);
    let refused = |expected: &[&str]| {
        let error = start(&config).unwrap_err();
        assert!(
            expected.iter().all(|part| error.contains(part)),
            "{expected:?}: {error}"
        );
    };
    refused(&["tiny: SHA256SUMS: not found", "model.verify = \"required\""]);
    sign_folder(&folder, &key).unwrap();
    refused(&["liquid-ranker: SHA256SUMS: not found"]);
    sign_folder(&ranker, &PrivateKey::generate().unwrap()).unwrap();
    refused(&[
        "liquid-ranker: SHA256SUMS.sig: not made over",
        &key.public_key().fingerprint(),
    ]);
    sign_folder(&ranker, &key).unwrap();
    start(&config).unwrap();
    // Altered as one that has the manifest's sums written again would be: without the signature nobody would notice.
    support::write_weights(&folder, &support::tiny_tensors(support::tiny_vocabulary().len()));
    std::fs::write(
        folder.join("config.json"),
        std::fs::read_to_string(folder.join("config.json")).unwrap() + " ",
    )
    .unwrap();
    support::write_manifest(&folder);
    refused(&["tiny: config.json: sha256 is"]);
    sign_folder(&folder, &key).unwrap();
    std::fs::write(folder.join("more.json"), "{}").unwrap();
    refused(&["tiny: more.json: not in SHA256SUMS"]);
}

#[test]
fn where_signatures_are_required_a_decoder_needs_one_too() {
    let (folder, key) = (tempfile::tempdir().unwrap(), PrivateKey::generate().unwrap());
    support::write_tiny_decoder(folder.path());
    let mut config = signed_by(&key, folder.path());
    config.model.folder = None;
    config.decoder.folder = Some(folder.path().to_owned());
    config.decoder.name = Some("tiny".to_owned());
    let error = start(&config).unwrap_err();
    assert!(error.contains("SHA256SUMS: not found"), "{error}");
    sign_folder(folder.path(), &key).unwrap();
    start(&config).unwrap();
}

#[test]
fn a_key_that_is_none_turns_no_check_off() {
    let folder = tiny();
    let mut config = signed_by(&PrivateKey::generate().unwrap(), folder.path());
    for wrong in [None, Some("MCow".to_owned())] {
        config.model.public_key = wrong;
        let error = start(&config).unwrap_err();
        assert!(
            error.starts_with("model.public_key: no Ed25519 public key"),
            "{error}"
        );
    }
}
