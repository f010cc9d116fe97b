//! The sizes of a BERT model, from its `config.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Why a model's `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not JSON, or lacks a field.
    #[error("{path}: not the configuration of a BERT model: {source}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Error of the JSON reader.
        source: serde_json::Error,
    },
    /// A field has a value that this implementation does not run.
    #[error("{path}: {field} is {value}, but must be {expected}", path = .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Value of the field.
        value: String,
        /// The values that can be run.
        expected: &'static str,
    },
}

/// Sizes and constants in the `config.json` of a BERT model.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::model) struct Config {
    pub(in crate::model) hidden_size: usize,
    pub(in crate::model) intermediate_size: usize,
    pub(in crate::model) max_position_embeddings: usize,
    pub(in crate::model) num_attention_heads: usize,
    pub(in crate::model) num_hidden_layers: usize,
    pub(in crate::model) type_vocab_size: usize,
    pub(in crate::model) vocab_size: usize,
    hidden_act: String,
    pub(in crate::model) layer_norm_eps: f64,
    model_type: String,
}

impl Config {
    /// Returns what is added to a variance before its root is taken.
    #[cfg(feature = "cuda")]
    pub(in crate::model) fn epsilon(&self) -> f32 {
        self.layer_norm_eps as f32
    }

    /// Reads `config.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// [`ConfigError`] for anything but a BERT model with exact GELU.
    pub(in crate::model) fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self, ConfigError> {
        let config: Self = serde_json::from_slice(bytes).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source,
        })?;
        let unsupported = |field, value: String, expected| {
            Err(ConfigError::Unsupported {
                path: path.to_owned(),
                field,
                value,
                expected,
            })
        };
        if config.model_type != "bert" {
            return unsupported("model_type", config.model_type, "bert");
        }
        if config.hidden_act != "gelu" {
            return unsupported("hidden_act", config.hidden_act, "gelu");
        }
        let (hidden, heads) = (config.hidden_size, config.num_attention_heads);
        if hidden == 0 || heads == 0 || !hidden.is_multiple_of(heads) {
            return unsupported(
                "hidden_size",
                hidden.to_string(),
                "a multiple of num_attention_heads",
            );
        }
        if config.type_vocab_size == 0 {
            return unsupported("type_vocab_size", "0".to_owned(), "at least 1");
        }
        if config.max_position_embeddings < 3 {
            let value = config.max_position_embeddings.to_string();
            return unsupported("max_position_embeddings", value, "at least 3");
        }
        Ok(config)
    }
}
