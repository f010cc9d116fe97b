//! Mixed load on a small random model for some seconds: the example `soak`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

#[path = "../examples/soak.rs"]
#[allow(dead_code, reason = "its main function is not run here")]
mod example;

#[test]
fn seconds_of_mixed_load_give_no_wrong_answer_and_lose_no_page() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let folder = tempfile::tempdir().unwrap();
    for file in [
        "tokenizer.json",
        "mistral/config.json",
        "mistral/model.safetensors",
    ] {
        let name = Path::new(file).file_name().unwrap();
        std::fs::copy(fixtures.join(file), folder.path().join(name)).unwrap();
    }
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
