//! Mixed load on small random models: the example `soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use burn::tensor::Device;
use liquid_decoder::engine::Runner;
use liquid_decoder::{FinishReason, Model};
use tempfile::TempDir;

#[path = "../examples/soak/main.rs"]
#[allow(dead_code, reason = "its main function is not run here")]
mod example;

use example::alone::{Alone, Reader, lift_ties};
use example::{End, Extent, judge, requests};

/// Requests of a client.
const REQUESTS: u64 = 100;

#[test]
fn mixed_load_gives_no_wrong_answer_and_loses_no_page() {
    soak("mistral");
}

#[test]
fn mixed_load_on_a_hybrid_gives_no_wrong_answer_and_loses_no_page() {
    soak("qwen3_next");
}

fn soak(name: &str) {
    let folder = folder(name);
    let report = example::soak(folder.path(), Extent::Requests(REQUESTS)).unwrap();
    println!("{report:#?}");
    for (kind, count) in [
        ("whole", report.whole),
        ("cancelled", report.cancelled),
        ("late", report.late),
        ("too long", report.too_long),
        ("queue full", report.queue_full),
        ("cached tokens", report.cached_tokens),
    ] {
        assert!(count > 0, "none was {kind}");
    }
    assert_eq!(report.ties, 0, "the processor knows no ties");
}

/// Makes the folder of a small random model.
fn folder(name: &str) -> TempDir {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures.join(name).join(file), folder.path().join(file)).unwrap();
    }
    std::fs::copy(
        fixtures.join("tokenizer.json"),
        folder.path().join("tokenizer.json"),
    )
    .unwrap();
    folder
}

#[test]
fn an_answer_is_measured_twice_and_on_the_processor_with_the_same_bits() {
    let folder = folder("mistral");
    let model = Model::load(folder.path(), &Device::flex()).unwrap();
    let context = 300.min(Runner::architecture(&model).most_tokens());
    let vocabulary = Runner::architecture(&model).vocab_size as u32;
    let mut reader = Reader::new(model, context).unwrap();
    for seed in 0..4 {
        let request = requests::likeliest(seed, vocabulary, context);
        let alone = reader.answer(&request).unwrap();
        assert_eq!(alone.tokens.len(), request.max_tokens);
        assert_eq!(alone.ties, vec![0.0; request.max_tokens]);
        assert!(alone.leads.iter().all(|lead| *lead > 0.0), "{:?}", alone.leads);
    }
}

#[test]
fn equal_bits_by_chance_are_no_proof_that_nothing_is_rounded() {
    let ties = [vec![0.0, 0.1], vec![0.2, 0.3, 1.5]];
    let [mut short, mut long] = ties.map(|ties| Alone {
        ties,
        ..Alone::default()
    });
    lift_ties(&mut [&mut short, &mut long]);
    assert_eq!((short.ties, long.ties), (vec![0.2, 0.2], vec![0.2, 0.3, 1.5]));
}

#[test]
fn an_answer_may_part_at_a_tie_and_nowhere_else() {
    let alone = Alone {
        tokens: vec![1, 2, 3],
        leads: vec![0.5, 0.2, 0.5],
        ties: vec![0.3, 0.3, 0.3],
    };
    let whole = Some(FinishReason::Length);
    let judged = |tokens: &[u32]| judge(tokens, whole, &alone).map_err(|error| error.to_string());
    assert_eq!(judged(&[1, 2, 3]), Ok(End::Reason(FinishReason::Length)));
    assert_eq!(judged(&[1, 9, 8]), Ok(End::Tied));
    for wrong in [&[9, 2, 3][..], &[1, 2, 9], &[1, 2]] {
        assert!(judged(wrong).unwrap_err().starts_with("a wrong answer"));
    }
    assert!(judged(&[1, 2, 9]).unwrap_err().contains("leads by 0.500"));
    assert_eq!(judge(&[1, 2], None, &alone).unwrap(), End::Dropped);
}
