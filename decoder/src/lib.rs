//! Decoder language models: weights of Hugging Face in, text out.
//!
//! A folder is read in steps that each refuse by name what they do not know: [`Architecture`] from `config.json`, then
//! the weights, then the tokenizer. [`Model::pass`] is the forward pass: rows of any number of sequences, whole prompts,
//! pieces of them or single tokens, in one call.

mod config;
mod model;
mod ops;
mod weights;

pub use config::{Architecture, Biases, ConfigError, Family, LayerKind, Rope, RopeScaling};
pub use model::{LoadError, Logits, Model, PassError, Segment, Sequence, Wanted};
pub use weights::WeightsError;
