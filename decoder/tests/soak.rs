//! Mixed load on small random models for some seconds: the example `soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

#[path = "../examples/soak.rs"]
#[allow(dead_code, reason = "its main function is not run here")]
mod example;

#[test]
fn seconds_of_mixed_load_give_no_wrong_answer_and_lose_no_page() {
    soak("mistral");
}

#[test]
fn seconds_of_mixed_load_on_a_hybrid_give_no_wrong_answer_and_lose_no_page() {
    soak("qwen3_next");
}

fn soak(name: &str) {
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
    let report = example::soak(folder.path(), Duration::from_secs(5)).unwrap();
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
}
