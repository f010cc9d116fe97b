//! Models against transformers (`decoder/fixtures/make.py`), and against themselves in other pieces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;

use super::{CacheSize, Kernels, KvCache, Logits, Model, PassError, Segment, Sequence, Wanted};

mod hybrids;
mod refusals;

const MODELS: [&str; 8] = [
    "llama",
    "llama_biased",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_5",
    "qwen3_5_vision",
    "qwen3_next",
];
const HYBRIDS: [&str; 3] = ["qwen3_5", "qwen3_5_vision", "qwen3_next"];
const ROPES: [&str; 5] = ["linear", "dynamic", "llama3", "yarn", "yarn_mscale"];

/// What transformers computes.
struct Expected {
    tokens: Vec<u32>,
    /// Logits of the last tokens, `vocab_size` each.
    logits: Vec<f32>,
    /// States of the layers of the gated delta rule after all tokens, by the recurrence; empty without such layers.
    states: Vec<f32>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn expected(path: &Path) -> Expected {
    let bytes = std::fs::read(path).expect("a fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("a fixture");
    let words = |name: &str| {
        let data = tensors.tensor(name).map(|tensor| tensor.data().to_vec());
        data.unwrap_or_default().as_chunks::<4>().0.to_vec()
    };
    let numbers = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect();
    Expected {
        tokens: words("tokens").into_iter().map(u32::from_le_bytes).collect(),
        logits: numbers("logits"),
        states: numbers("states"),
    }
}

fn model(name: &str) -> (Model, Expected) {
    let folder = fixture(name);
    let model = Model::load(&folder, &Device::flex()).expect("a model");
    (model, expected(&folder.join("expected.safetensors")))
}

/// A model of the folder `rope` with one of its configurations.
fn rope_model(name: &str) -> (Model, Expected) {
    let folder = tempfile::tempdir().expect("a folder");
    let from = fixture("rope");
    std::fs::copy(
        from.join(format!("{name}.json")),
        folder.path().join("config.json"),
    )
    .expect("a copy");
    let weights = "model.safetensors";
    std::fs::copy(from.join(weights), folder.path().join(weights)).expect("a copy");
    let model = Model::load(folder.path(), &Device::flex()).expect("a model");
    (model, expected(&from.join(format!("{name}.safetensors"))))
}

/// A sequence, and a cache of its own.
struct Alone<'a> {
    model: &'a Model,
    cache: KvCache,
    sequence: Sequence,
}

impl<'a> Alone<'a> {
    fn new(model: &'a Model, limit: usize) -> Self {
        let mut cache = KvCache::new(model, CacheSize::of_one(limit)).expect("a cache");
        let sequence = cache.sequence(&[], limit).expect("a sequence");
        Self {
            model,
            cache,
            sequence,
        }
    }

    fn read(&mut self, tokens: &[u32], wanted: Wanted) -> Logits {
        pass(self.model, &mut self.cache, &mut self.sequence, tokens, wanted)
    }
}

fn pass(
    model: &Model,
    cache: &mut KvCache,
    sequence: &mut Sequence,
    tokens: &[u32],
    wanted: Wanted,
) -> Logits {
    let mut segments = [Segment {
        sequence,
        tokens,
        wanted,
    }];
    let mut logits = model.pass(cache, &mut segments).expect("logits");
    logits.pop().expect("a segment")
}

/// Computes the logits of all tokens, read in pieces of some sizes.
fn in_pieces(model: &Model, tokens: &[u32], size: usize) -> Vec<f32> {
    let mut alone = Alone::new(model, tokens.len());
    let pieces = tokens.chunks(size);
    let logits = pieces.map(|piece| alone.read(piece, Wanted::All).into_values());
    logits.collect::<Vec<_>>().concat()
}

fn difference(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    let differences = left.iter().zip(right).map(|(left, right)| (left - right).abs());
    differences.fold(0.0, |worst, next| {
        if next > worst || next.is_nan() {
            next
        } else {
            worst
        }
    })
}

fn last(logits: &[f32], count: usize) -> &[f32] {
    &logits[logits.len() - count..]
}

#[test]
fn every_architecture_gives_the_logits_of_transformers() {
    for name in MODELS {
        let (model, expected) = model(name);
        let logits = in_pieces(&model, &expected.tokens, expected.tokens.len());
        let worst = difference(&logits, &expected.logits);
        assert!(worst < 1e-4, "{name}: {worst:e}");
    }
}

#[test]
fn positions_beyond_the_trained_length_are_turned_as_by_transformers() {
    for name in ROPES {
        let (model, expected) = rope_model(name);
        let logits = in_pieces(&model, &expected.tokens, expected.tokens.len());
        let worst = difference(last(&logits, expected.logits.len()), &expected.logits);
        assert!(worst < 2e-4, "{name}: {worst:e}");
    }
}

#[test]
fn a_prompt_in_pieces_gives_the_logits_of_one_pass() {
    for name in MODELS {
        let (model, expected) = model(name);
        for size in [1, 3, 16] {
            let worst = difference(&in_pieces(&model, &expected.tokens, size), &expected.logits);
            assert!(worst < 1e-4, "{name} in pieces of {size}: {worst:e}");
        }
    }
    for name in ROPES {
        let (model, expected) = rope_model(name);
        let logits = in_pieces(&model, &expected.tokens, 33);
        let worst = difference(last(&logits, expected.logits.len()), &expected.logits);
        assert!(worst < 2e-4, "{name} in pieces: {worst:e}");
    }
}

/// Begins sequences in one cache.
fn together<const N: usize>(model: &Model, limit: usize) -> (KvCache, [Sequence; N]) {
    let size = CacheSize {
        context_tokens: limit,
        pages: N * limit.div_ceil(KvCache::PAGE_TOKENS),
        states: N,
    };
    let mut cache = KvCache::new(model, size).expect("a cache");
    let sequences = [(); N].map(|()| cache.sequence(&[], limit).expect("a sequence"));
    (cache, sequences)
}

#[test]
fn rows_give_the_same_bits_alone_and_beside_others_and_in_any_pieces() {
    for name in MODELS {
        let (model, Expected { tokens, .. }) = model(name);
        let prompts = [&tokens[..5], &tokens[10..33], &tokens[7..8], &tokens[..40]];
        let (mut cache, mut sequences) = together::<4>(&model, 130);
        let mut segments: Vec<Segment<'_>> = sequences
            .iter_mut()
            .zip(prompts)
            .map(|(sequence, tokens)| Segment {
                sequence,
                tokens,
                wanted: Wanted::All,
            })
            .collect();
        let together = model.pass(&mut cache, &mut segments).expect("logits");
        let mut steps: Vec<Segment<'_>> = sequences
            .iter_mut()
            .map(|sequence| Segment {
                sequence,
                tokens: &tokens[..1],
                wanted: Wanted::Last,
            })
            .collect();
        let next = model.pass(&mut cache, &mut steps).expect("logits");
        for ((prompt, together), next) in prompts.iter().zip(together).zip(next) {
            for size in [1, 3, 9, 64] {
                let mut alone = Alone::new(&model, 130);
                let pieces = prompt.chunks(size);
                let logits = pieces.map(|piece| alone.read(piece, Wanted::All).into_values());
                let logits = logits.collect::<Vec<_>>().concat();
                assert_eq!(
                    logits,
                    together.clone().into_values(),
                    "{name} in pieces of {size}"
                );
                assert_eq!(alone.read(&tokens[..1], Wanted::Last), next, "{name}, next token");
            }
        }
    }
}

#[test]
fn a_sequence_over_many_pages_gives_the_same_bits_in_any_pieces() {
    for name in ["llama", "mistral", "qwen3_5", "qwen3_next"] {
        let (model, Expected { tokens, .. }) = model(name);
        let long: Vec<u32> = tokens.iter().copied().cycle().take(250).collect();
        let whole = in_pieces(&model, &long, 250);
        for size in [1, 50, 64, 100] {
            assert_eq!(
                in_pieces(&model, &long, size),
                whole,
                "{name} in pieces of {size}"
            );
        }
    }
}

#[test]
fn burns_operations_give_what_the_processors_own_code_gives() {
    for name in MODELS {
        let (mut model, expected) = model(name);
        model.kernels = Kernels::Portable;
        for size in [expected.tokens.len(), 7, 1] {
            let worst = difference(&in_pieces(&model, &expected.tokens, size), &expected.logits);
            assert!(worst < 1e-4, "{name} in pieces of {size}: {worst:e}");
        }
    }
}

#[test]
fn burns_operations_read_pages_as_the_processors_own_code_does() {
    for name in ["llama", "mistral", "qwen3_5", "qwen3_next"] {
        let (mut model, Expected { tokens, .. }) = model(name);
        let long: Vec<u32> = tokens.iter().copied().cycle().take(250).collect();
        let ours = in_pieces(&model, &long, 250);
        model.kernels = Kernels::Portable;
        for size in [250, 60] {
            let worst = difference(&in_pieces(&model, &long, size), &ours);
            assert!(worst < 1e-4, "{name} in pieces of {size}: {worst:e}");
        }
    }
}

#[test]
fn what_a_pass_cannot_read_is_refused_and_no_sequence_grows() {
    let (model, _) = model("llama");
    let (other, _) = self::model("mistral");
    let (mut cache, [mut sequence]) = together::<1>(&model, 4);
    let (_, [mut foreign]) = together::<1>(&other, 4);
    let mut refuse = |tokens: &[u32], sequence: &mut Sequence| {
        let mut segments = [Segment {
            sequence,
            tokens,
            wanted: Wanted::Last,
        }];
        model.pass(&mut cache, &mut segments).expect_err("a refusal")
    };
    assert_eq!(refuse(&[], &mut sequence), PassError::Empty);
    assert_eq!(refuse(&[1], &mut foreign), PassError::OtherCache);
    let unknown = refuse(&[1, 48], &mut sequence).to_string();
    assert!(
        unknown.contains("token 48") && unknown.contains("vocabulary of 48"),
        "{unknown}"
    );
    let long = refuse(&[1; 5], &mut sequence).to_string();
    assert!(
        long.contains("5 tokens after 0") && long.contains("at most 4"),
        "{long}"
    );
    assert_eq!(sequence.length(), 0);
    let full = cache.sequence(&[], 1).expect_err("a refusal");
    assert_eq!(full, PassError::Full { needed: 1, left: 0 });
    let mut segments = [Segment {
        sequence: &mut sequence,
        tokens: &[1],
        wanted: Wanted::Last,
    }];
    let error = other.pass(&mut cache, &mut segments).expect_err("a refusal");
    assert_eq!(error, PassError::OtherCache);
    for size in [0, 257] {
        let limit = KvCache::new(&model, CacheSize::of_one(size)).expect_err("a refusal");
        assert!(limit.to_string().contains("at most 256"), "{limit}");
    }
}
