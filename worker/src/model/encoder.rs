//! Windows of word pieces in, hidden states out: batches them by length for the forward pass.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::bert::{Batch, Bert};
use super::comparison::{Compared, Comparison};
use super::device;

/// `[CLS]` and `[SEP]` of BERT's vocabulary.
pub(super) const CLS: i32 = 101;
pub(super) const SEP: i32 = 102;
/// Those two, which every window gets.
pub(crate) const ADDED_TOKENS: usize = 2;

/// Padded tokens in a batch on a processor: its activations should stay in a core's cache.
const BATCH_TOKENS: usize = 256;

/// Turns windows of word pieces into vectors. One thread owns an encoder; it may use more inside.
pub trait Encoder: Send {
    /// Width of the vectors.
    fn dim(&self) -> usize;

    /// Most word pieces in a window, without `[CLS]` and `[SEP]`.
    fn max_tokens(&self) -> usize;

    /// Encodes windows of vocabulary ids without `[CLS]` and `[SEP]`, which are added here. The answers come
    /// in the order of the windows. Windows of similar length are cheapest together.
    ///
    /// # Errors
    /// [`EncodeError`]; then nothing is known about any window.
    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError>;

    /// The encoder as one that compares windows itself, if that is what it is good at: a device of its own that reads
    /// a whole document sooner than its hidden states could be fetched.
    fn comparer(&mut self) -> Option<&mut dyn Comparer> {
        None
    }

    /// Runs every size of batch once, so that no request meets one for the first time, and says how many tokens a second
    /// it reads, if that was measured.
    ///
    /// # Errors
    /// [`EncodeError`].
    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        Ok(None)
    }
}

/// An encoder that keeps the hidden states to itself.
pub trait Comparer {
    /// Tokens to ask for at a time; fewer take as long.
    fn step_tokens(&self) -> usize;

    /// Compares windows with a question. The answers come in the order of the windows.
    ///
    /// # Errors
    /// [`EncodeError`]; then nothing is known about any window.
    fn compare(&mut self, task: &Arc<Comparison>) -> Result<Compared, EncodeError>;
}

/// What the encoder says about a window.
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
        /// Its index in the call.
        window: usize,
        /// Its word pieces.
        tokens: usize,
        /// The most that fit.
        limit: usize,
    },
    /// The device failed.
    #[error("the encoder's device failed: {0}")]
    Device(String),
    /// The device has not enough free memory, not even for a batch this small.
    #[error(
        "the encoder's device has no memory left for a batch of {tokens} tokens; end what else runs on it, or give \
         the worker a device of its own"
    )]
    OutOfMemory {
        /// Tokens of the smallest batch that was tried.
        tokens: usize,
    },
    /// The request was cancelled, or its deadline passed, before the device came to it.
    #[error("cancelled while waiting for the encoder's device")]
    Cancelled,
}

/// MiniLM on the processor.
pub(super) struct MiniLm {
    bert: Bert,
    /// Batches that run side by side.
    lanes: usize,
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

impl MiniLm {
    pub(super) fn new(bert: Bert) -> Self {
        Self {
            bert,
            lanes: device::lanes(),
        }
    }

    fn run(&self, windows: &[&[u32]], batch: &[usize]) -> Result<Vec<Encoded>, EncodeError> {
        let padded = pad(windows, batch);
        let states = self.bert.forward(&padded).map_err(EncodeError::Device)?;
        let rows = padded.length * self.dim();
        let each = states.chunks_exact(rows).zip(&padded.lengths);
        Ok(each
            .map(|(states, length)| pooled(&states[..length * self.dim()], self.dim()))
            .collect())
    }
}

impl Encoder for MiniLm {
    fn dim(&self) -> usize {
        self.bert.config().hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.bert.config().max_position_embeddings - ADDED_TOKENS
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        check_lengths(windows.iter().copied(), self.max_tokens())?;
        let batches = batches(windows, BATCH_TOKENS, self.lanes);
        let done = side_by_side(&batches, self.lanes, |batch| self.run(windows, batch));
        let mut encoded: Vec<Option<Encoded>> = windows.iter().map(|_| None).collect();
        for (batch, answers) in batches.iter().zip(done) {
            for (window, answer) in batch.iter().zip(answers?) {
                encoded[*window] = Some(answer);
            }
        }
        Ok(encoded.into_iter().flatten().collect())
    }
}

/// Groups windows, longest first, into batches of at most `budget` padded tokens (or one window), and small
/// enough that every lane has some.
fn batches(windows: &[&[u32]], budget: usize, lanes: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..windows.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(windows[*i].len()));
    let total: usize = windows.iter().map(|w| w.len() + ADDED_TOKENS).sum();
    let budget = budget.min(total.div_ceil(lanes));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for window in order {
        match batches.last_mut() {
            Some(batch) if (batch.len() + 1) * (windows[batch[0]].len() + ADDED_TOKENS) <= budget => {
                batch.push(window)
            }
            _ => batches.push(vec![window]),
        }
    }
    batches
}

fn pad(windows: &[&[u32]], batch: &[usize]) -> Batch {
    let lengths: Vec<usize> = batch.iter().map(|i| windows[*i].len() + ADDED_TOKENS).collect();
    let length = lengths.iter().copied().max().unwrap_or(0);
    let mut ids = Vec::with_capacity(length * batch.len());
    for window in batch {
        let end = ids.len() + length;
        ids.push(CLS);
        ids.extend(windows[*window].iter().map(|id| *id as i32));
        ids.push(SEP);
        ids.resize(end, 0);
    }
    Batch { ids, lengths, length }
}

/// The answer for one window from its hidden states, those of `[CLS]` and `[SEP]` included.
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

/// Runs `work` on every item with `lanes` threads, this one included, and gives the results in order.
fn side_by_side<T: Sync, R: Send>(items: &[T], lanes: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        let run = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(item) = items.get(index) else { break };
                let result = work(item);
                results
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((index, result));
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
