//! Weights in the format of Hugging Face: gated delta layers of Qwen3.5 and Qwen3-Next, and the softmax
//! projections that [`crate::patch_self_attention`] starts from.
//!
//! | `model_type` | layers | tensors below `..layers.N.` |
//! |---|---|---|
//! | `qwen3_5`, `qwen3_5_text` | [`GatedDeltaConfig::load`] | `linear_attn.in_proj_{qkv,z,b,a}` |
//! | `qwen3_next` | [`GatedDeltaConfig::load`] | `linear_attn.in_proj_{qkvz,ba}`, by group of key heads |
//! | `llama`, `mistral`, `qwen2`, `qwen3` | [`SoftmaxConfig::load`] | `self_attn.{q,k,v,o}_proj` |
//!
//! Names and layouts are those of `transformers`: `models/qwen3_5/modeling_qwen3_5.py`,
//! `models/qwen3_next/modeling_qwen3_next.py` and the model of each further type. Compared with their arithmetic in
//! `attention/fixtures/`.

mod checkpoint;
mod config;
mod gated_delta;
mod softmax;
#[cfg(test)]
mod tests;

pub use checkpoint::Checkpoint;
pub use config::GatedDeltaConfig;
pub use softmax::SoftmaxConfig;

use crate::error::AttentionError;

/// Why weights could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path}: {reason}")]
    Format {
        /// The file.
        path: String,
        /// The fault.
        reason: String,
    },
    /// A tensor that the layer needs is not in the checkpoint.
    #[error("{name}: not in the checkpoint; is this the right layer, and the whole checkpoint?")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor's shape is not the one that the configuration says.
    #[error("{name}: shape {given:?} where config.json makes it {wanted:?}")]
    Shape {
        /// Its name.
        name: String,
        /// Its shape.
        given: Vec<usize>,
        /// The shape by the configuration.
        wanted: Vec<usize>,
    },
    /// A key of `config.json` is missing or has another type.
    #[error("config.json: {key}: {reason}")]
    Config {
        /// The key.
        key: String,
        /// The fault.
        reason: String,
    },
    /// The layer that results cannot be built.
    #[error(transparent)]
    Attention(#[from] AttentionError),
}
