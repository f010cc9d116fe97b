//! Models against transformers (`decoder/fixtures/make.py`), and against themselves in other pieces.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::SafeTensors;

use super::{Kernels, Logits, Model, PassError, Segment, Sequence, Wanted};

mod refusals;

const MODELS: [&str; 5] = ["llama", "llama_biased", "mistral", "qwen2", "qwen3"];
const ROPES: [&str; 5] = ["linear", "dynamic", "llama3", "yarn", "yarn_mscale"];

/// What transformers computes.
struct Expected {
    tokens: Vec<u32>,
    /// Logits of the last tokens, `vocab_size` each.
    logits: Vec<f32>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn expected(path: &Path) -> Expected {
    let bytes = std::fs::read(path).expect("a fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("a fixture");
    let words = |name: &str| {
        let data = tensors.tensor(name).expect("a tensor").data().to_vec();
        data.as_chunks::<4>().0.to_vec()
    };
    Expected {
        tokens: words("tokens").into_iter().map(u32::from_le_bytes).collect(),
        logits: words("logits").into_iter().map(f32::from_le_bytes).collect(),
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

fn pass(model: &Model, sequence: &mut Sequence, tokens: &[u32], wanted: Wanted) -> Logits {
    let mut segments = [Segment {
        sequence,
        tokens,
        wanted,
    }];
    model
        .pass(&mut segments)
        .expect("logits")
        .pop()
        .expect("a segment")
}

/// Computes the logits of all tokens, read in pieces of some sizes.
fn in_pieces(model: &Model, tokens: &[u32], size: usize) -> Vec<f32> {
    let mut sequence = model.sequence(tokens.len()).expect("a sequence");
    let pieces = tokens.chunks(size);
    let logits = pieces.map(|piece| pass(model, &mut sequence, piece, Wanted::All).into_values());
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

#[test]
fn sequences_of_different_lengths_in_one_pass_give_what_they_give_alone() {
    for name in MODELS {
        let (model, Expected { tokens, .. }) = model(name);
        let prompts = [&tokens[..5], &tokens[10..33], &tokens[7..8]];
        let mut sequences = [0; 3].map(|_| model.sequence(64).expect("a sequence"));
        let mut segments: Vec<Segment<'_>> = sequences
            .iter_mut()
            .zip(prompts)
            .map(|(sequence, tokens)| Segment {
                sequence,
                tokens,
                wanted: Wanted::All,
            })
            .collect();
        let together = model.pass(&mut segments).expect("logits");
        let mut steps: Vec<Segment<'_>> = sequences
            .iter_mut()
            .map(|sequence| Segment {
                sequence,
                tokens: &tokens[..1],
                wanted: Wanted::Last,
            })
            .collect();
        let next = model.pass(&mut steps).expect("logits");
        for ((prompt, together), next) in prompts.iter().zip(together).zip(next) {
            let mut alone = model.sequence(64).expect("a sequence");
            let first = pass(&model, &mut alone, prompt, Wanted::All).into_values();
            let worst = difference(&together.into_values(), &first);
            assert!(worst < 2e-5, "{name}: {worst:e}");
            let second = pass(&model, &mut alone, &tokens[..1], Wanted::Last).into_values();
            let worst = difference(&next.into_values(), &second);
            assert!(worst < 2e-5, "{name}, next token: {worst:e}");
        }
    }
}

#[test]
fn a_step_gives_the_same_bits_alone_and_beside_others() {
    let (model, Expected { tokens, .. }) = model("llama");
    let mut sequences = [0; 6].map(|_| model.sequence(64).expect("a sequence"));
    for (index, sequence) in sequences.iter_mut().enumerate() {
        pass(&model, sequence, &tokens[..=index], Wanted::Nothing);
    }
    let mut steps: Vec<Segment<'_>> = sequences
        .iter_mut()
        .map(|sequence| Segment {
            sequence,
            tokens: &tokens[20..21],
            wanted: Wanted::Last,
        })
        .collect();
    let together = model.pass(&mut steps).expect("logits");
    for (index, (sequence, together)) in sequences.iter_mut().zip(together).enumerate() {
        sequence.truncate(index + 1);
        assert_eq!(pass(&model, sequence, &tokens[20..21], Wanted::Last), together);
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
fn a_sequence_grows_over_its_first_memory_and_never_over_its_limit() {
    let (mut model, Expected { tokens, .. }) = model("llama");
    model.architecture.max_positions = 1000;
    let long: Vec<u32> = tokens.iter().copied().cycle().take(600).collect();
    let mut sequence = model.sequence(600).expect("a sequence");
    assert_eq!(sequence.bytes(), 0);
    let mut logits = Vec::new();
    for piece in long.chunks(50) {
        logits = pass(&model, &mut sequence, piece, Wanted::Last).into_values();
    }
    let mut whole = model.sequence(600).expect("a sequence");
    let at_once = pass(&model, &mut whole, &long, Wanted::Last).into_values();
    let worst = difference(&logits, &at_once);
    assert!(worst < 1e-4, "{worst:e}");
    assert_eq!(sequence.length(), 600);
    // Two layers, keys and values, two heads of six numbers of four bytes.
    assert_eq!(sequence.bytes(), 2 * 2 * 2 * 6 * 4 * 600);
}

#[test]
fn a_sequence_that_is_cut_reads_on_as_if_the_rest_had_not_been() {
    let (model, Expected { tokens, .. }) = model("qwen2");
    let mut sequence = model.sequence(64).expect("a sequence");
    pass(&model, &mut sequence, &tokens[..11], Wanted::Nothing);
    pass(&model, &mut sequence, &tokens[30..], Wanted::Nothing);
    sequence.truncate(11);
    let again = pass(&model, &mut sequence, &tokens[11..20], Wanted::All).into_values();
    let mut fresh = model.sequence(64).expect("a sequence");
    pass(&model, &mut fresh, &tokens[..11], Wanted::Nothing);
    let first = pass(&model, &mut fresh, &tokens[11..20], Wanted::All).into_values();
    assert_eq!(again, first);
}

#[test]
fn what_a_pass_cannot_read_is_refused_and_no_sequence_grows() {
    let (model, _) = model("llama");
    let (other, _) = self::model("mistral");
    let mut sequence = model.sequence(4).expect("a sequence");
    let mut foreign = other.sequence(4).expect("a sequence");
    let refuse = |tokens: &[u32], sequence: &mut Sequence| {
        let mut segments = [Segment {
            sequence,
            tokens,
            wanted: Wanted::Last,
        }];
        model.pass(&mut segments).expect_err("a refusal")
    };
    assert_eq!(refuse(&[], &mut sequence), PassError::Empty);
    assert_eq!(refuse(&[1], &mut foreign), PassError::OtherModel);
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
    let limit = model.sequence(257).expect_err("a refusal").to_string();
    assert!(limit.contains("at most 256"), "{limit}");
}
