//! The ranker on a GPU: a question and windows in, logits out. The pass is the encoder's; a pair's second segment
//! has position embeddings of its own, and one kernel makes logits of the last hidden states.

use std::ops::Range;
use std::time::Instant;

use liquid_cuda::device::Buffer;

use super::batch::Batch;
use super::bert::{CudaBert, SharedGpu};
use super::{BATCH_TOKENS, WARM_UP_WINDOW, failure, stopped};
use crate::model::bert::{Config, WORD_EMBEDDINGS};
use crate::model::encoder::{EncodeError, check_lengths};
use crate::model::ranker::{PAIR_TOKENS, QUESTION_TOKENS, Ranked, Ranker, WINDOW_TOKENS, shorten_question};
use crate::model::weights::{Weights, WeightsError};
use crate::model::{EmbeddingTable, LoadError, batches};

/// Tokens of the question in the warm-up.
const WARM_UP_QUESTION: usize = 12;

/// The two linear maps of a hidden state to a logit. Their weights are `V`: `[2, hidden]`, those of a token and those
/// of a window.
pub(super) struct Heads<V> {
    pub(super) weights: V,
    pub(super) token_bias: f32,
    pub(super) window_bias: f32,
}

impl Heads<Vec<f32>> {
    fn read(weights: &Weights<'_>, hidden: usize) -> Result<Self, WeightsError> {
        let weight = |name: &str| weights.take(&format!("{name}.weight"), &[1, hidden]);
        let bias = |name: &str| -> Result<f32, WeightsError> {
            let bias = weights.take(&format!("{name}.bias"), &[1])?;
            Ok(bias.iter().sum())
        };
        Ok(Self {
            weights: [weight("token_head")?, weight("window_head")?].concat(),
            token_bias: bias("token_head")?,
            window_bias: bias("window_head")?,
        })
    }
}

/// A ranker that runs BERT on a GPU.
pub(in crate::model) struct CudaRanker {
    bert: CudaBert,
    heads: Heads<Vec<f32>>,
    /// The heads in device memory, from the first use on.
    on_device: Option<Heads<Buffer>>,
}

impl CudaRanker {
    /// Loads the model. Memory is taken at the first use.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(in crate::model) fn load(
        shared: &SharedGpu,
        weights: &Weights<'_>,
        config: &Config,
    ) -> Result<Self, LoadError> {
        let hidden = config.hidden_size;
        let words = weights.take(WORD_EMBEDDINGS, &[config.vocab_size, hidden])?;
        Ok(Self {
            heads: Heads::read(weights, hidden)?,
            on_device: None,
            bert: CudaBert::load(shared, weights, config, EmbeddingTable::new(hidden, words))?,
        })
    }
}

impl Ranker for CudaRanker {
    fn max_tokens(&self) -> usize {
        WINDOW_TOKENS
    }

    fn step_tokens(&self) -> Option<usize> {
        // A step ends with the window that exceeds it; so it is still one batch.
        Some(BATCH_TOKENS - QUESTION_TOKENS - WINDOW_TOKENS - PAIR_TOKENS)
    }

    fn rank(&mut self, question: &[u32], windows: &[&[u32]]) -> Result<Vec<Ranked>, EncodeError> {
        check_lengths(windows.iter().copied(), self.max_tokens())?;
        let question = &*shorten_question(question);
        let before = question.len() + PAIR_TOKENS - 1;
        let lengths: Vec<usize> = windows.iter().map(|ids| before + ids.len() + 1).collect();
        let places = self.bert.config().max_position_embeddings;
        let mut ranked = Vec::with_capacity(windows.len());
        let (heads, on_device) = (&self.heads, &mut self.on_device);
        let work = |run: Range<usize>| {
            let batch = Batch::of_pairs(question, windows[run].iter().copied(), places);
            let read = self.bert.run(batch.tokens, |mut pass| {
                let heads = match &mut *on_device {
                    Some(heads) => heads,
                    none => none.insert(Heads {
                        weights: pass.gpu.upload(&heads.weights)?,
                        token_bias: heads.token_bias,
                        window_bias: heads.window_bias,
                    }),
                };
                pass.forward(&batch)?;
                pass.rank(&batch, heads)
            });
            let logits = read.map_err(failure)?;
            ranked.extend(batch.rows_of_windows().map(|rows| Ranked {
                window: logits[rows.start],
                tokens: logits[rows.start + before..rows.end - 1].to_vec(),
            }));
            Ok(())
        };
        batches::run(&lengths, BATCH_TOKENS, work).map_err(stopped)?;
        Ok(ranked)
    }

    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        let question = [101_u32; WARM_UP_QUESTION];
        let window = [100_u32; 2 * WARM_UP_WINDOW - WARM_UP_QUESTION - PAIR_TOKENS];
        let mut speed = 0.0_f64;
        for rows in batches::all_rows(BATCH_TOKENS).chain([BATCH_TOKENS; 2]) {
            let windows = vec![window.as_slice(); rows / (2 * WARM_UP_WINDOW)];
            let start = Instant::now();
            self.rank(&question, &windows)?;
            speed = speed.max(rows as f64 / start.elapsed().as_secs_f64());
        }
        Ok(Some(speed))
    }
}
