//! Why a model cannot be loaded, and why a pass was refused.

use super::{ConfigError, WeightsError};

/// Why a folder holds no model that can be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be used.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The system gives no threads.
    #[error("cannot start the threads of a model: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// Why a pass was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// A segment has no tokens.
    #[error("a segment without tokens; leave it out")]
    Empty,
    /// A token is not in the vocabulary.
    #[error(
        "token {token} is not in the vocabulary of {vocab_size}; was the text encoded by another tokenizer?"
    )]
    UnknownToken {
        /// The token.
        token: u32,
        /// Size of the vocabulary.
        vocab_size: usize,
    },
    /// A sequence would be longer than it may be.
    #[error("{tokens} tokens after {length}, but the sequence holds at most {limit}; shorten the text")]
    TooLong {
        /// Tokens that are there.
        length: usize,
        /// Tokens to be added.
        tokens: usize,
        /// The most.
        limit: usize,
    },
    /// A sequence belongs to a model of other sizes.
    #[error("a sequence of another model; make it with the model that reads it")]
    OtherModel,
    /// The device failed. What the sequences hold is not known.
    #[error("the device failed: {0}")]
    Device(String),
}
