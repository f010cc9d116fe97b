//! The encoder on the processor: batches windows by length and runs the batches side by side, one on each core.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use liquid_process::lock;

use super::config::Config;
use super::forward::{Batch, Bert};
use crate::model::device;
use crate::model::encoder::{EncodeError, Encoded, Encoder, check_lengths, pooled};
use crate::model::weights::{Weights, WeightsError};
use crate::model::wordpiece::{ADDED_TOKENS, CLS, SEP};

/// Padded tokens in a batch: its activations should stay in a core's cache.
pub(super) const BATCH_TOKENS: usize = 256;

/// An encoder that runs BERT on the processor.
pub(in crate::model) struct CpuEncoder {
    bert: Bert,
    /// Batches that run side by side.
    lanes: usize,
}

impl CpuEncoder {
    /// Loads the weights into memory, in the layout of the forward pass.
    ///
    /// # Errors
    /// [`WeightsError`] names the tensor that is missing or of another type or shape than the configuration
    /// says.
    pub(in crate::model) fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, WeightsError> {
        Ok(Self {
            bert: Bert::load(weights, config)?,
            lanes: device::lanes(),
        })
    }

    fn run(&self, windows: &[&[u32]], batch: &[usize]) -> Result<Vec<Encoded>, EncodeError> {
        let padded = pad(batch.iter().map(|window| [windows[*window]]), None);
        let states = self.bert.forward(&padded).map_err(EncodeError::Device)?;
        let rows = padded.length * self.dim();
        let each = states.chunks_exact(rows).zip(&padded.lengths);
        Ok(each
            .map(|(states, length)| pooled(&states[..length * self.dim()], self.dim()))
            .collect())
    }
}

impl Encoder for CpuEncoder {
    fn dim(&self) -> usize {
        self.bert.config().hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.bert.config().max_position_embeddings - ADDED_TOKENS
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        check_lengths(windows.iter().copied(), self.max_tokens())?;
        let lengths: Vec<usize> = windows.iter().map(|w| w.len() + ADDED_TOKENS).collect();
        let batches = batches(&lengths, BATCH_TOKENS, self.lanes);
        run_batches(&batches, self.lanes, |batch| self.run(windows, batch))
    }
}

/// Groups windows of these lengths, longest first, into batches of at most `budget` padded tokens (or one
/// window), and small enough that every lane has some.
pub(super) fn batches(lengths: &[usize], budget: usize, lanes: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|window| std::cmp::Reverse(lengths[*window]));
    let total: usize = lengths.iter().sum();
    let budget = budget.min(total.div_ceil(lanes));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for window in order {
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * lengths[batch[0]] <= budget => batch.push(window),
            _ => batches.push(vec![window]),
        }
    }
    batches
}

/// Runs batches of windows with `lanes` threads, and returns the answers in the order of the windows.
///
/// # Errors
/// The first one of a batch.
pub(super) fn run_batches<R: Send>(
    batches: &[Vec<usize>],
    lanes: usize,
    run: impl Fn(&[usize]) -> Result<Vec<R>, EncodeError> + Sync,
) -> Result<Vec<R>, EncodeError> {
    let done = side_by_side(batches, lanes, |batch| run(batch));
    let mut answers = Vec::new();
    for (batch, of_batch) in batches.iter().zip(done) {
        answers.extend(batch.iter().copied().zip(of_batch?));
    }
    answers.sort_by_key(|(window, _)| *window);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Pads rows, each of `PARTS` parts with `[CLS]` before the first and `[SEP]` behind each, to one length. What stands
/// behind `second_segment` tokens is of the second segment.
pub(super) fn pad<'w, const PARTS: usize>(
    rows: impl Iterator<Item = [&'w [u32]; PARTS]> + Clone,
    second_segment: Option<usize>,
) -> Batch {
    let tokens = |parts: [&[u32]; PARTS]| 1 + parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let lengths: Vec<usize> = rows.clone().map(tokens).collect();
    let length = lengths.iter().copied().max().unwrap_or(0);
    let mut ids = Vec::with_capacity(length * lengths.len());
    for parts in rows {
        let end = ids.len() + length;
        ids.push(CLS);
        for part in parts {
            ids.extend(part.iter().map(|id| *id as i32));
            ids.push(SEP);
        }
        ids.resize(end, 0);
    }
    Batch {
        ids,
        lengths,
        length,
        second_segment,
    }
}

/// Runs `work` on every item with `lanes` threads, this one included, and returns the results in order.
fn side_by_side<T: Sync, R: Send>(items: &[T], lanes: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        let run = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { break };
                let result = work(item);
                lock(&results).push((index, result));
            }
        };
        for _ in 1..lanes.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
