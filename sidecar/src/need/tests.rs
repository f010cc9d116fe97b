//! What the embedded model must keep: it is the one that the data gives, and it judges what it has not seen.
#![allow(clippy::expect_used, reason = "tests")]

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::*;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("needs")
}

#[test]
fn model_is_of_the_data() {
    let model = Model::read(FILE).expect("the embedded model can be read");
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .expect("the data can be read")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .filter(|name| name.ends_with(".txt"))
        .collect();
    names.sort();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(&name);
        hash.update(std::fs::read(folder().join(&name)).expect("a file of the data"));
    }
    let remedy = "run: cargo run -p liquid-sidecar --example train_needs";
    assert_eq!(model.data_hash, &hash.finalize()[..], "{remedy}");
}

#[test]
fn requests_that_it_has_not_seen_are_told_apart() {
    let file = std::fs::read_to_string(folder().join("test.jsonl")).expect("the test set can be read");
    let items: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let text = |item: &Value| item["text"].as_str().expect("a text").to_owned();
    let mut wrong = Vec::new();
    for item in &items {
        let found = judge(&text(item)).need;
        let enough = matches!(found, Need::Evidence | Need::Aspect);
        if item["need"].is_string() && enough != (item["need"] == "evidence" || item["need"] == "aspect") {
            wrong.push(format!("{found:?}: {}", text(item)));
        }
        let found = speech(&text(item)).0;
        if item["speech"] != format!("{found:?}").to_lowercase() {
            wrong.push(format!("{found:?}: {}", text(item)));
        }
    }
    assert!(
        wrong.len() * 20 <= 2 * items.len(),
        "{} of {}: {wrong:#?}",
        wrong.len(),
        2 * items.len()
    );
}

#[test]
fn what_no_model_can_read_is_refused() {
    assert!(Model::read(b"").is_none());
    assert!(Model::read(&FILE[..FILE.len() - 1]).is_none());
    assert!(Model::read(&[FILE, b"x"].concat()).is_none());
}

#[test]
fn of_a_long_text_the_ends_are_read() {
    let filler = "Grass grew over the road. ".repeat(100_000);
    let (first, last) = (
        "Translate the text below into German.\n",
        "\nTranslate the text above into German.",
    );
    let ends = format!("{first}{filler}{last}");
    let same = format!("{first}{}{last}", &filler[..filler.len() / 2 / 26 * 26]);
    assert_eq!(features::extract(&ends), features::extract(&same));
    assert!(features::extract(&ends).len() < 20_000);
}

#[test]
fn an_empty_request_needs_nothing_of_the_document_left_out() {
    for empty in ["", " \n\t", "\u{200b}", "...", "?"] {
        assert!(
            !matches!(judge(empty).need, Need::Evidence | Need::Aspect),
            "{empty:?}"
        );
    }
}

proptest! {
    #[test]
    fn any_text_has_a_judgement(text in "\\PC{0,400}|[\\x00-\\u{ffff}]{0,200}") {
        let judgement = judge(&text);
        prop_assert!((0.0..=1.0).contains(&judgement.confidence));
        let (_, confidence) = speech(&text);
        prop_assert!((0.0..=1.0).contains(&confidence));
        prop_assert!(features::extract(&text).iter().all(|number| *number < 1 << features::BITS));
    }
}
