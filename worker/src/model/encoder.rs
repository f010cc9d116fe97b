//! What an encoder is to the engine: windows of word pieces in, hidden states or cosines out. Each model has
//! a folder of its own that implements [`Encoder`].

use std::sync::Arc;

use super::comparison::{Compared, Comparison};

/// A model that turns windows of word pieces into vectors. One thread owns it; it may use more inside.
pub trait Encoder: Send {
    /// Returns the width of the vectors.
    fn dim(&self) -> usize;

    /// Returns the most word pieces of a window, `[CLS]` and `[SEP]` not counted.
    fn max_tokens(&self) -> usize;

    /// Encodes windows of vocabulary ids without `[CLS]` and `[SEP]`, which are added here. The answers come
    /// in the order of the windows. Windows of similar length are cheapest together.
    ///
    /// # Errors
    /// [`EncodeError`]; then nothing is known about any window.
    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError>;

    /// Returns the encoder as one that compares windows itself, if it can: a device of its own that reads a
    /// whole document sooner than its hidden states could be fetched.
    fn comparer(&mut self) -> Option<&mut dyn Comparer> {
        None
    }

    /// Runs every size of batch once, so that no request meets one for the first time. Returns how many
    /// tokens a second it reads, if that was measured.
    ///
    /// # Errors
    /// [`EncodeError`].
    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        Ok(None)
    }
}

/// An encoder that compares windows with a question on its device and keeps the hidden states there.
pub trait Comparer {
    /// Returns the tokens to ask for at a time; fewer take as long.
    fn step_tokens(&self) -> usize;

    /// Compares windows with a question. The answers come in the order of the windows.
    ///
    /// # Errors
    /// [`EncodeError`]; then nothing is known about any window.
    fn compare(&mut self, task: &Arc<Comparison>) -> Result<Compared, EncodeError>;
}

/// The vectors of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// Last hidden states of the window's pieces, `[pieces, dim]` row-major, as they are (not normalised).
    pub tokens: Vec<f32>,
    /// The window's embedding, `[dim]`: the mean over all positions, those of `[CLS]` and `[SEP]` included, at
    /// length 1 (as sentence-transformers pools this model).
    pub sentence: Vec<f32>,
}

/// Why windows could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A window does not fit the model.
    #[error("window {window} has {tokens} word pieces, but the model reads at most {limit}; cut it shorter")]
    TooLong {
        /// Index of the window in the call.
        window: usize,
        /// Word pieces of the window.
        tokens: usize,
        /// The most that fit.
        limit: usize,
    },
    /// The device failed.
    #[error("the encoder's device failed: {0}")]
    Device(String),
    /// The device has not enough free memory, not even for a batch this small.
    #[error(
        "the encoder's device has no memory left for a batch of {tokens} tokens; end what else runs on it, \
         or give the worker a device of its own"
    )]
    OutOfMemory {
        /// Tokens of the smallest batch that was tried.
        tokens: usize,
    },
    /// The request was cancelled, or its deadline passed, before the device came to it.
    #[error("cancelled while waiting for the encoder's device")]
    Cancelled,
}

/// Checks that every window fits the model.
pub(super) fn check_lengths<'a>(
    windows: impl Iterator<Item = &'a [u32]>,
    limit: usize,
) -> Result<(), EncodeError> {
    let lengths = windows.map(<[u32]>::len).enumerate();
    for (window, tokens) in lengths {
        if tokens > limit {
            return Err(EncodeError::TooLong {
                window,
                tokens,
                limit,
            });
        }
    }
    Ok(())
}

/// Makes the vectors of one window from its hidden states, `[tokens, dim]` row-major, those of `[CLS]` and
/// `[SEP]` included.
pub(super) fn pooled(states: &[f32], dim: usize) -> Encoded {
    let mut sentence = vec![0.0_f32; dim];
    for row in states.chunks_exact(dim) {
        for (sum, x) in sentence.iter_mut().zip(row) {
            *sum += *x;
        }
    }
    let length = sentence
        .iter()
        .map(|x| x * x)
        .sum::<f32>()
        .sqrt()
        .max(f32::MIN_POSITIVE);
    for x in &mut sentence {
        *x /= length;
    }
    Encoded {
        tokens: states[dim..states.len() - dim].to_vec(),
        sentence,
    }
}
