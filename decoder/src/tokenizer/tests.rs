//! Texts in any pieces, and the tokenizers whose tokens' bytes are known.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use serde_json::json;

use super::detokenizer::Utf8Stream;
use super::*;

/// Bytes that are often UTF-8, cut short or not.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        any::<char>().prop_flat_map(|c| {
            let bytes = c.to_string().into_bytes();
            (0..=bytes.len()).prop_map(move |end| bytes[..end].to_vec())
        }),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn bytes_in_any_pieces_give_the_text_of_all_at_once(
        bytes in bytes(),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let mut borders: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        borders.extend([0, bytes.len()]);
        borders.sort();
        let (mut stream, mut text) = (Utf8Stream::default(), String::new());
        for pair in borders.windows(2) {
            let before = text.len();
            stream.push(&bytes[pair[0]..pair[1]], &mut text);
            // What was given out is never taken back.
            prop_assert!(text.is_char_boundary(before));
        }
        text.push_str(&stream.finish());
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn tokens_give_the_text_that_the_tokenizer_gives(tokens in proptest::collection::vec(0..270_u32, 0..12)) {
        let folder = byte_level();
        let tokenizer = Tokenizer::read(folder.path()).unwrap();
        let whole = tokenizer.inner.decode(&tokens, true).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokens), whole);
    }
}

/// Writes a folder with a tokenizer.
fn folder(
    model: serde_json::Value,
    decoder: serde_json::Value,
    added: &[(u32, &str, bool)],
) -> tempfile::TempDir {
    let added = added.iter().map(|(id, content, special)| {
        json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null, "decoder": decoder, "model": model,
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), tokenizer.to_string()).unwrap();
    folder
}

fn byte_chars() -> Vec<String> {
    let tokenizer = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
    let mut chars: Vec<String> = tokenizer.into_iter().map(String::from).collect();
    chars.sort();
    chars
}

/// All bytes, three merges, an added token with a space in it and a special one.
fn byte_level() -> tempfile::TempDir {
    let mut vocab: Vec<String> = byte_chars();
    vocab.extend(["Ġt", "he", "Ġthe"].map(str::to_owned));
    let vocab: serde_json::Map<String, serde_json::Value> = vocab
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let model = json!({"type": "BPE", "vocab": vocab, "merges": ["Ġ t", "h e", "Ġt he"]});
    let decoder =
        json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    folder(model, decoder, &[(259, "<a b>", false), (260, "<|end|>", true)])
}

/// Two words with low lines, and all bytes.
fn spaces(strip: bool) -> tempfile::TempDir {
    let mut vocab: Vec<String> = ["<unk>", "\u{2581}the", "\u{2581}", "cat"]
        .map(str::to_owned)
        .to_vec();
    vocab.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    let vocab: serde_json::Map<String, serde_json::Value> = vocab
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let model =
        json!({"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": true, "unk_token": "<unk>"});
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if strip {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    folder(
        model,
        json!({"type": "Sequence", "decoders": steps}),
        &[(0, "<unk>", true)],
    )
}

#[test]
fn a_character_comes_with_its_last_byte() {
    let folder = byte_level();
    let tokenizer = Tokenizer::read(folder.path()).unwrap();
    let tokens = tokenizer.encode("the é<|end|>!", false).unwrap();
    let mut detokenizer = tokenizer.detokenizer();
    let texts: Vec<String> = tokens.iter().map(|token| detokenizer.push(*token)).collect();
    assert_eq!(texts, ["t", "he", " ", "", "é", "", "!"]);
    assert_eq!(detokenizer.finish(), "");
    assert_eq!(tokenizer.bytes(260), None);
    assert_eq!(tokenizer.bytes(259), Some("<a b>".as_bytes()));
    assert_eq!(tokenizer.bytes(261), None);
}

#[test]
fn low_lines_are_spaces_and_the_first_one_is_left_out_where_the_tokenizer_does() {
    for strip in [true, false] {
        let folder = spaces(strip);
        let tokenizer = Tokenizer::read(folder.path()).unwrap();
        let byte = |byte: u32| 4 + byte;
        for tokens in [
            vec![1, 3, 1, 2, 2, 3],
            vec![2, 1, byte(0xc3), byte(0xa9), 3],
            vec![0, 1, 0, 3],
            vec![byte(0x20), 3],
        ] {
            let whole = tokenizer.inner.decode(&tokens, true).unwrap();
            assert_eq!(tokenizer.decode(&tokens), whole, "{tokens:?}");
        }
    }
}

#[test]
fn other_decoders_are_refused_by_name() {
    let model = json!({"type": "BPE", "vocab": {"a": 0}, "merges": []});
    for (decoder, name) in [
        (
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            "WordPiece",
        ),
        (json!(null), "missing"),
        (
            json!({"type": "Sequence", "decoders": [{"type": "Fuse"}]}),
            "a Sequence of Fuse",
        ),
    ] {
        let folder = folder(model.clone(), decoder, &[]);
        let error = Tokenizer::read(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("must be ByteLevel"),
            "{error}"
        );
    }
}

#[test]
fn tokens_that_end_an_answer_come_from_all_files_that_name_them() {
    let folder = byte_level();
    let write = |name: &str, json: serde_json::Value| {
        std::fs::write(folder.path().join(name), json.to_string()).unwrap();
    };
    write(
        "tokenizer_config.json",
        json!({"eos_token": {"content": "<|end|>"}, "bos_token": "t"}),
    );
    write("generation_config.json", json!({"eos_token_id": [7, 260]}));
    write("config.json", json!({"eos_token_id": 9}));
    let tokenizer = Tokenizer::read(folder.path()).unwrap();
    assert_eq!(tokenizer.end_tokens(), [7, 9, 260]);
    write("tokenizer_config.json", json!({"eos_token": "<lost>"}));
    let error = Tokenizer::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("eos_token") && error.contains("<lost>"), "{error}");
}
