//! The ranker on the processor: BERT over pairs of a question and a window, and a head for tokens and windows.

use super::config::{Config, ConfigError};
use super::cpu::{self, BATCH_TOKENS};
use super::forward::{Batch, Bert};
use crate::model::device;
use crate::model::encoder::{EncodeError, check_lengths};
use crate::model::ranker::{PAIR_TOKENS, QUESTION_TOKENS, Ranked, Ranker, WINDOW_TOKENS, shorten_question};
use crate::model::weights::{Weights, WeightsError};
use crate::vectors::dot;

/// A ranker that runs BERT on the processor.
pub(in crate::model) struct CpuRanker {
    bert: Bert,
    token_head: Head,
    window_head: Head,
    /// Batches that run side by side.
    lanes: usize,
}

/// A linear map of a hidden state to a logit.
struct Head {
    weight: Vec<f32>,
    bias: f32,
}

impl Head {
    fn load(weights: &Weights<'_>, prefix: &str, hidden: usize) -> Result<Self, WeightsError> {
        let bias = weights.take(&format!("{prefix}.bias"), &[1])?;
        Ok(Self {
            weight: weights.take(&format!("{prefix}.weight"), &[1, hidden])?,
            bias: bias.iter().sum(),
        })
    }

    fn logit(&self, state: &[f32]) -> f32 {
        dot(&self.weight, state) + self.bias
    }
}

impl CpuRanker {
    /// Loads the weights into memory, in the layout of the forward pass.
    ///
    /// # Errors
    /// [`WeightsError`] names the tensor that is missing or of another type or shape than the configuration
    /// says.
    pub(in crate::model) fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, WeightsError> {
        Ok(Self {
            bert: Bert::load(weights, config)?,
            token_head: Head::load(weights, "token_head", config.hidden_size)?,
            window_head: Head::load(weights, "window_head", config.hidden_size)?,
            lanes: device::lanes(),
        })
    }

    fn run(&self, pairs: &Pairs<'_>, batch: &[usize]) -> Result<Vec<Ranked>, EncodeError> {
        let padded = pairs.pad(batch);
        let states = self.bert.forward(&padded).map_err(EncodeError::Device)?;
        let dim = self.bert.config().hidden_size;
        let each = states.chunks_exact(padded.length * dim).zip(&padded.lengths);
        let first = pairs.window_start();
        Ok(each
            .map(|(states, length)| {
                let window = states[first * dim..(length - 1) * dim].chunks_exact(dim);
                Ranked {
                    window: self.window_head.logit(&states[..dim]),
                    tokens: window.map(|state| self.token_head.logit(state)).collect(),
                }
            })
            .collect())
    }
}

impl Ranker for CpuRanker {
    fn max_tokens(&self) -> usize {
        WINDOW_TOKENS
    }

    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError> {
        check_lengths(windows.iter().copied(), self.max_tokens())?;
        let question = &shorten_question(question);
        let pairs = Pairs { question, windows };
        let lengths: Vec<usize> = (0..windows.len()).map(|window| pairs.length(window)).collect();
        let batches = cpu::batches(&lengths, BATCH_TOKENS, self.lanes);
        cpu::run_batches(&batches, self.lanes, |batch| self.run(&pairs, batch))
    }
}

/// A question with the windows that it is read with.
struct Pairs<'a> {
    question: &'a [u32],
    windows: &'a [&'a [u32]],
}

impl Pairs<'_> {
    /// Returns the tokens of a pair.
    fn length(&self, window: usize) -> usize {
        self.question.len() + self.windows[window].len() + PAIR_TOKENS
    }

    /// Returns the place of a window's first piece: behind `[CLS]`, the question and its `[SEP]`.
    fn window_start(&self) -> usize {
        self.question.len() + PAIR_TOKENS - 1
    }

    fn pad(&self, batch: &[usize]) -> Batch {
        let rows = batch.iter().map(|window| [self.question, self.windows[*window]]);
        cpu::pad(rows, Some(self.window_start()))
    }
}

/// Checks that a model has room for the longest pair, and an embedding for its second segment.
///
/// # Errors
/// [`ConfigError::Unsupported`].
pub(in crate::model) fn check(config: &Config, path: &std::path::Path) -> Result<(), ConfigError> {
    const LONGEST: usize = QUESTION_TOKENS + WINDOW_TOKENS + PAIR_TOKENS;
    let unsupported = |field, value: usize, expected| ConfigError::Unsupported {
        path: path.to_owned(),
        field,
        value: value.to_string(),
        expected,
    };
    if config.max_position_embeddings < LONGEST {
        let value = config.max_position_embeddings;
        return Err(unsupported(
            "max_position_embeddings",
            value,
            "at least 287 in a ranker: a question of 64 and a window of 220",
        ));
    }
    if config.type_vocab_size < 2 {
        let value = config.type_vocab_size;
        return Err(unsupported(
            "type_vocab_size",
            value,
            "at least 2 in a ranker: question and window",
        ));
    }
    Ok(())
}
