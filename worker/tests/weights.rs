//! What needs the model itself: the encoder and the tokenizer against their references.
//!
//! `cargo xtask model` fetches the weights. Where they are absent each test here is listed as ignored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use libtest_mimic::{Arguments, Failed, Trial};
use liquid_worker::model::{Device, EncodeError, Models, Pieces, WordPiece};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use safetensors::SafeTensors;
use tokenizers::Tokenizer;

type Outcome = Result<(), Failed>;

fn main() {
    let absent = !folder().join("manifest.json").exists();
    let test = |name: &str, run: fn() -> Outcome| Trial::test(name, run).with_ignored_flag(absent);
    let tests = vec![
        test(
            "encoder_agrees_with_numpy_on_sentences",
            encoder_agrees_with_numpy_on_sentences,
        ),
        test(
            "encoder_agrees_with_numpy_on_tokens",
            encoder_agrees_with_numpy_on_tokens,
        ),
        test("batching_changes_no_answer", batching_changes_no_answer),
        test("too_long_window_is_refused", too_long_window_is_refused),
        test("tokenizer_agrees_on_the_texts", tokenizer_agrees_on_the_texts),
        test("tokenizer_agrees_on_any_text", tokenizer_agrees_on_any_text),
        test("tokenizer_agrees_across_threads", tokenizer_agrees_across_threads),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.cache/models/all-minilm-l6-v2")
}

fn models() -> Models {
    Models::load(&folder(), Device::Cpu).unwrap()
}

fn texts() -> Vec<String> {
    serde_json::from_str(include_str!("data/texts.json")).unwrap()
}

/// Reads a tensor of `data/reference.safetensors`, made by `data/reference.py`.
fn reference(name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(include_bytes!("data/reference.safetensors")).unwrap();
    let bytes = file.tensor(name).unwrap().data().to_vec();
    bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn worst_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn encoder_agrees_with_numpy_on_sentences() -> Outcome {
    let mut models = models();
    let pieces: Vec<Pieces> = texts().iter().map(|t| models.tokenizer.encode(t)).collect();
    assert!(pieces.len() >= 20);
    let windows: Vec<&[u32]> = pieces.iter().map(|p| p.ids.as_slice()).collect();
    let encoded = models.encoder.encode(&windows)?;
    for (n, expected) in reference("sentence")
        .chunks_exact(models.encoder.dim())
        .enumerate()
    {
        let worst = worst_difference(&encoded[n].sentence, expected);
        assert!(worst < 1e-4, "text {n}: differs by {worst:e}");
    }
    Ok(())
}

fn encoder_agrees_with_numpy_on_tokens() -> Outcome {
    let mut models = models();
    for (n, text) in texts().iter().take(3).enumerate() {
        let pieces = models.tokenizer.encode(text);
        let encoded = models.encoder.encode(&[&pieces.ids])?;
        let worst = worst_difference(&encoded[0].tokens, &reference(&format!("tokens.{n}")));
        assert!(worst < 1e-4, "text {n}: differs by {worst:e}");
    }
    Ok(())
}

fn batching_changes_no_answer() -> Outcome {
    let mut models = models();
    let pieces: Vec<Pieces> = texts().iter().map(|t| models.tokenizer.encode(t)).collect();
    let windows: Vec<&[u32]> = pieces
        .iter()
        .map(|p| p.ids.as_slice())
        .filter(|w| w.len() < 200)
        .collect();
    let together = models.encoder.encode(&windows)?;
    for (window, batched) in windows.iter().zip(&together) {
        let alone = &models.encoder.encode(&[window])?[0];
        assert_eq!(batched.tokens.len(), window.len() * models.encoder.dim());
        assert!(worst_difference(&batched.tokens, &alone.tokens) < 1e-4);
        assert!(worst_difference(&batched.sentence, &alone.sentence) < 1e-5);
    }
    Ok(())
}

fn too_long_window_is_refused() -> Outcome {
    let mut models = models();
    assert_eq!(models.encoder.max_tokens(), 510);
    let error = models.encoder.encode(&[&[1000; 3], &[1000; 511]]).unwrap_err();
    assert!(
        matches!(
            error,
            EncodeError::TooLong {
                window: 1,
                tokens: 511,
                limit: 510
            }
        ),
        "{error}"
    );
    Ok(())
}

/// Loads plain `tokenizers` with the model's file, as anyone would call it.
fn plain() -> Tokenizer {
    let mut tokenizer = Tokenizer::from_file(folder().join("tokenizer.json")).unwrap();
    tokenizer.with_padding(None).with_truncation(None).unwrap();
    tokenizer
}

fn expected(tokenizer: &Tokenizer, text: &str) -> Pieces {
    let encoding = tokenizer.encode(text, false).unwrap();
    let ranges = encoding
        .get_offsets()
        .iter()
        .map(|(a, b)| (*a as u32, *b as u32))
        .collect();
    Pieces {
        ids: encoding.get_ids().to_vec(),
        ranges,
    }
}

fn tokenizer() -> WordPiece {
    let path = folder().join("tokenizer.json");
    WordPiece::from_bytes(&std::fs::read(&path).unwrap(), path).unwrap()
}

fn tokenizer_agrees_on_the_texts() -> Outcome {
    let (ours, plain) = (tokenizer(), plain());
    for text in texts() {
        assert_eq!(ours.encode(&text), expected(&plain, &text), "{text:?}");
        assert_eq!(ours.count(&text), expected(&plain, &text).len());
    }
    Ok(())
}

/// Generates words, marks and characters that meet every branch of the normaliser, between random ones.
fn tricky_text() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "the",
        "Agreement",
        "unaffable",
        "governing",
        "'s",
        ".",
        ",",
        "[SEP]",
        "[CLS",
        "[MASK]x",
        "##ing",
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "\u{b}",
        "\u{c}",
        "\0",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{ad}",
        "\u{200b}",
        "\u{200d}",
        "\u{2028}",
        "\u{3000}",
        "\u{feff}",
        "\u{fffd}",
        "é",
        "e\u{301}",
        "İ",
        "ß",
        "ﬁ",
        "Å",
        "\u{301}",
        "\u{64b}",
        "中",
        "国",
        "中\u{301}",
        "\u{f900}",
        "\u{20000}",
        "か\u{3099}",
        "한국",
        "“",
        "—",
        "…",
        "🙂",
        "👩‍👩‍👧",
        "$",
        "^",
        "1,000.50",
    ]);
    let word = prop_oneof![
        6 => known.prop_map(str::to_owned),
        2 => "[a-zA-Z0-9]{1,12}",
        1 => "[!-~]{1,8}",
        1 => "[a-z]{90,140}",
        2 => "\\PC{1,6}",
        1 => any::<String>(),
    ];
    prop::collection::vec((word, prop::sample::select(vec!["", " "])), 0..24).prop_map(|words| {
        words
            .into_iter()
            .flat_map(|(word, gap)| [word, gap.to_owned()])
            .collect()
    })
}

fn tokenizer_agrees_on_any_text() -> Outcome {
    let (ours, plain) = (tokenizer(), plain());
    let config = Config {
        cases: 3000,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config).run(&tricky_text(), |text| {
        prop_assert_eq!(ours.encode(&text), expected(&plain, &text));
        Ok(())
    })?;
    Ok(())
}

fn tokenizer_agrees_across_threads() -> Outcome {
    let (ours, plain) = (tokenizer(), plain());
    let paragraph = texts().join("\n");
    let text = paragraph.repeat(1 + 600_000 / paragraph.len());
    assert_eq!(ours.encode(&text), expected(&plain, &text));
    let unbroken = "中文无空格".repeat(20_000);
    assert_eq!(ours.encode(&unbroken), expected(&plain, &unbroken));
    Ok(())
}
