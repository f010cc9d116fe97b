//! Decoder language models: weights of Hugging Face in, text out.
//!
//! A folder is read in steps that each refuse by name what they do not know: [`Architecture`] from `config.json`, then
//! the weights, then the tokenizer and the chat template. [`Model::pass`] is the forward pass: rows of any number of
//! sequences, whole prompts, pieces of them or single tokens, in one call. [`Generation`] is an answer on top of it.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use burn::tensor::Device;
//! use liquid_decoder::{Cancellation, Event, Generation, Model, Request, Tokenizer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = Path::new(".cache/models/smollm2-135m-instruct");
//! let (model, tokenizer) = (Model::load(folder, &Device::flex())?, Tokenizer::read(folder)?);
//! let request = Request {
//!     prompt: tokenizer.encode("The capital of France is", true)?,
//!     max_tokens: 20,
//!     ..Request::default()
//! };
//! for event in Generation::new(&model, &tokenizer, request, Cancellation::default())? {
//!     match event? {
//!         Event::Token { text, .. } => print!("{text}"),
//!         Event::Finished { text, reason, .. } => println!("{text} ({})", reason.name()),
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod chat;
mod config;
mod constraint;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod engine;
pub mod facts;
mod generate;
pub mod lanes;
mod model;
mod ops;
mod passage;
mod sample;
mod tokenizer;
mod weights;

pub use chat::{ChatError, ChatTemplate, Conversation};
pub use config::{Architecture, Biases, ConfigError, Family, GatedDelta, LayerKind, Rope, RopeScaling};
pub use constraint::{Constraint, ConstraintError, Quote};
pub use generate::{
    Cancellation, Event, FinishReason, GenerateError, Generation, Request, StopStrings, Usage,
};
pub use model::{CacheSize, KvCache, LoadError, Logits, Model, PassError, Segment, Sequence, Wanted};
pub use sample::{Draw, Sample, Sampler, Sampling, SamplingError, TokenLogprob};
pub use tokenizer::{Detokenizer, Tokenizer, TokenizerError};
pub use weights::WeightsError;
