//! The tokenizer of a GGUF file as `tokenizer.json`: byte-level BPE whose digits are tokens of their own, the kind that
//! the file calls `smollm`.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::gguf::{self, Gguf};

/// Type of a token that stands for no text: it opens or closes a turn, or a document.
const CONTROL: i64 = 3;

/// Builds `tokenizer.json`.
pub(super) fn tokenizer(gguf: &Gguf<'_>) -> Result<Value> {
    let (model, split) = (
        gguf.text("tokenizer.ggml.model")?,
        gguf.text("tokenizer.ggml.pre")?,
    );
    if (model, split) != ("gpt2", "smollm") {
        bail!("a tokenizer {model} with {split}, expected gpt2 with smollm");
    }
    let tokens = gguf.texts("tokenizer.ggml.tokens")?;
    let mut added = Vec::new();
    for (id, (token, kind)) in tokens
        .iter()
        .zip(gguf.list("tokenizer.ggml.token_type")?)
        .enumerate()
    {
        if *kind == gguf::Value::Signed(CONTROL) {
            added.push(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true,
            }));
        }
    }
    let vocabulary: Map<String, Value> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| ((*token).to_owned(), json!(id)))
        .collect();
    if vocabulary.len() != tokens.len() {
        bail!("two tokens are the same text");
    }
    let unknown = special(gguf, "unknown")?;
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, &bytes],
        },
        "post_processor": null,
        "decoder": &bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": gguf.texts("tokenizer.ggml.merges")?,
        },
    }))
}

/// Builds `tokenizer_config.json`.
pub(super) fn tokenizer_config(gguf: &Gguf<'_>) -> Result<Value> {
    Ok(json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": gguf.number("llama.context_length")?,
        "clean_up_tokenization_spaces": false,
        "add_prefix_space": false,
        "bos_token": special(gguf, "bos")?,
        "eos_token": special(gguf, "eos")?,
        "unk_token": special(gguf, "unknown")?,
        "pad_token": special(gguf, "padding")?,
    }))
}

/// Returns the text of a special token.
fn special<'a>(gguf: &Gguf<'a>, role: &str) -> Result<String> {
    let id = usize::try_from(gguf.number(&format!("tokenizer.ggml.{role}_token_id"))?)?;
    match gguf.texts("tokenizer.ggml.tokens")?.get(id) {
        Some(token) => Ok((*token).to_owned()),
        None => bail!("the {role} token {id} is not in the vocabulary"),
    }
}
