//! Why a model cannot be loaded, and why a pass was refused.

use super::{ConfigError, WeightsError};
use crate::ops::DeviceError;

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
    /// The device has no buffers for as much at once.
    #[error("{count} {what} in a pass, and there are buffers for {most}; read them in several passes")]
    TooMany {
        /// Tokens or sequences.
        what: &'static str,
        /// How many.
        count: usize,
        /// The most.
        most: usize,
    },
    /// A sequence belongs to another cache, or the cache to a model of other sizes.
    #[error(
        "a sequence of another cache or model; begin it in the cache that is read, made for the model that reads it"
    )]
    OtherCache,
    /// All pages are promised to sequences.
    #[error("{needed} pages of keys and values are needed, and {left} are left; release a sequence first")]
    Full {
        /// Pages that the sequence needs.
        needed: usize,
        /// Pages that could be promised.
        left: usize,
    },
    /// All slots for states of the gated delta rule are used by sequences.
    #[error("all {slots} slots for states are used by sequences; release a sequence first")]
    StatesFull {
        /// The slots.
        slots: usize,
    },
    /// The system does not give the memory for keys, values and states.
    #[error("the system does not give {bytes} bytes for keys, values and states; take fewer pages")]
    Memory {
        /// Bytes.
        bytes: u64,
    },
    /// The device failed. What the sequences hold is not known.
    #[error("the device failed: {0}")]
    Device(String),
}

impl PassError {
    /// Checks that all tokens are in a vocabulary.
    pub(crate) fn check_tokens(tokens: &[u32], vocab_size: usize) -> Result<(), Self> {
        match tokens.iter().find(|token| **token as usize >= vocab_size) {
            Some(token) => Err(Self::UnknownToken {
                token: *token,
                vocab_size,
            }),
            None => Ok(()),
        }
    }
}

impl From<DeviceError> for PassError {
    fn from(error: DeviceError) -> Self {
        Self::Device(error.0)
    }
}
