//! Special tokens by their roles, from the files that name them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::{TokenizerError, malformed};

/// File with the special tokens' texts and, before transformers 4.57, the chat template.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// Roles of tokens that chat templates name.
const ROLES: [&str; 4] = ["bos_token", "eos_token", "unk_token", "pad_token"];

/// A model's special tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialTokens {
    /// Text of each role that the model has.
    texts: BTreeMap<&'static str, String>,
    ends: Vec<u32>,
    chat_template: Option<Value>,
}

impl SpecialTokens {
    pub(super) fn read(folder: &Path, tokenizer: &tokenizers::Tokenizer) -> Result<Self, TokenizerError> {
        let mut special = Self::default();
        let path = folder.join(TOKENIZER_CONFIG);
        let config = optional(&path)?;
        for role in ROLES {
            let text = config[role].as_str().or_else(|| config[role]["content"].as_str());
            if let Some(text) = text {
                special.texts.insert(role, text.to_owned());
            }
        }
        if let Some(text) = special.texts.get("eos_token") {
            let unknown = || TokenizerError::UnknownToken {
                path: path.clone(),
                field: "eos_token".to_owned(),
                token: text.clone(),
            };
            special
                .ends
                .push(tokenizer.token_to_id(text).ok_or_else(unknown)?);
        }
        for file in ["generation_config.json", "config.json"] {
            let config = optional(&folder.join(file))?;
            // A language model within another has a configuration of its own there.
            for part in [&config, &config["text_config"]] {
                special.ends.extend(numbers(&part["eos_token_id"]));
            }
        }
        special.ends.sort_unstable();
        special.ends.dedup();
        special.chat_template = config
            .get("chat_template")
            .filter(|value| !value.is_null())
            .cloned();
        Ok(special)
    }

    /// Returns the tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Returns the texts by role: `bos_token` and others.
    pub(crate) fn texts(&self) -> &BTreeMap<&'static str, String> {
        &self.texts
    }

    /// Returns the chat template of `tokenizer_config.json`.
    pub(crate) fn chat_template(&self) -> Option<&Value> {
        self.chat_template.as_ref()
    }
}

/// Reads a JSON file; null if it is not there.
fn optional(path: &Path) -> Result<Value, TokenizerError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| malformed(path, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Value::Null),
        Err(source) => Err(TokenizerError::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Reads one token or a list of them.
fn numbers(value: &Value) -> Vec<u32> {
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    match value.as_array() {
        Some(values) => values.iter().filter_map(number).collect(),
        None => number(value).into_iter().collect(),
    }
}
