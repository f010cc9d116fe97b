//! The encoder on NVIDIA GPUs: BERT's forward pass over whole documents, and the comparison with the
//! question, without burn: the products by cuBLASLt (`liquid-cuda`), the steps between them by five kernels
//! of ours (`worker/kernels/encoder.cu`, compiled by NVRTC at the start). Nothing is needed to build it;
//! CUDA's libraries are loaded at run time.
//!
//! Why not burn's CUDA backend: its product reached a third of cuBLASLt's speed when measured, it tunes every
//! new shape for seconds, and a batch would have to be padded. Why not plain f16: units are ranked, and where
//! many lie close together small errors exchange some at the border of the budget. So products are sums of
//! three f16 products, as exact as f32 ones, and the rest is f32: `worker/kernels/README.md`.
//!
//! | file | what |
//! |---|---|
//! | `gpu` | the device (`liquid_cuda::device`) as the encoder uses it |
//! | `program` | the kernels, compiled |
//! | `weights` | the model in device memory |
//! | `batch` | windows as the kernels take them |
//! | `pass` | buffers, the forward pass, the comparison |
//!
//! # Safety
//! Three promises hold all unsafe calls: everything runs on one stream in the order in which it is enqueued,
//! and memory is only freed after that stream has come to rest (`Gpu::wait`, which every pass ends with); a
//! buffer is as large as the shapes that are passed with it, which `Space` sees to; the list of a launch's
//! arguments is that of the kernel.

#![allow(
    unsafe_code,
    reason = "calls of the CUDA driver and libraries; see Safety above"
)]

mod batch;
mod error;
mod gpu;
mod pass;
mod program;
mod weights;

use std::sync::Arc;
use std::time::Instant;

pub use error::CudaError;

use super::batches::{self, Failure, Stopped};
use super::bert::Config;
use super::comparison::{Compared, Comparison};
use super::encoder::{Comparer, EncodeError, Encoded, Encoder, pooled};
use super::weights::Weights;
use super::wordpiece::ADDED_TOKENS;
use super::{EmbeddingTable, LoadError};
use batch::Batch;
use gpu::{Gpu, Identity};
use pass::{Pass, Question, Space};
use weights::{OnDevice, OnHost};

/// Most tokens in a batch. More are no faster; their buffers take 0.6 GB.
const BATCH_TOKENS: usize = 32_768;

/// Tokens of a window in the warm-up: what a window of a document has.
const WARM_UP_WINDOW: usize = 64;

/// BERT on a GPU. Fields are dropped in this order: memory before the context.
pub(super) struct CudaEncoder {
    number: usize,
    identity: Identity,
    config: Config,
    space: Option<Space>,
    question: Option<Question>,
    model: Option<OnDevice>,
    /// The model until it is on the device, which may have no memory for it yet.
    waiting: Option<OnHost>,
    /// The device; `None` as long as it has no memory even for being opened.
    gpu: Option<Gpu>,
}

impl CudaEncoder {
    /// Opens the GPU and compiles the kernels. Too little memory is no error here: it is tried again at each
    /// use, as is the copy of the weights, so that a worker beside a greedy neighbour waits and does not
    /// restart for ever.
    pub(super) fn open(
        number: usize,
        weights: &Weights<'_>,
        config: &Config,
        words: EmbeddingTable,
    ) -> Result<Self, LoadError> {
        let waiting = OnHost::read(weights, config, words)?;
        let refuse = |source| LoadError::Gpu { number, source };
        let identity = Identity::find(number).map_err(refuse)?;
        let gpu = match Gpu::open(number, config) {
            Err(CudaError::Memory) => None,
            opened => Some(opened.map_err(refuse)?),
        };
        Ok(Self {
            number,
            identity,
            config: config.clone(),
            space: None,
            question: None,
            model: None,
            waiting: Some(waiting),
            gpu,
        })
    }

    /// The GPU in words, and its UUID.
    pub(super) fn names(&self) -> (String, String) {
        (self.identity.description.clone(), self.identity.uuid.clone())
    }

    /// Prepares a pass over that many tokens, which takes memory if they are more than before; also returns
    /// the last question.
    fn prepare(&mut self, tokens: usize) -> Result<(Pass<'_>, Option<&Question>), CudaError> {
        if self.gpu.is_none() {
            self.gpu = Some(Gpu::open(self.number, &self.config)?);
        }
        let gpu = self.gpu.as_mut().ok_or(CudaError::Memory)?;
        gpu.enter()?;
        if let Some(waiting) = &self.waiting {
            self.model = Some(waiting.upload(gpu)?);
            self.waiting = None;
        }
        let rows = batches::rows(tokens);
        if self.space.as_ref().is_none_or(|space| space.rows < rows) {
            // The old one first: both together may be too much.
            self.space = None;
            self.space = Some(Space::new(gpu, rows, &self.config)?);
        }
        let pass = Pass {
            gpu,
            model: self.model.as_ref().ok_or(CudaError::Memory)?,
            space: self.space.as_mut().ok_or(CudaError::Memory)?,
            config: &self.config,
            rows,
        };
        Ok((pass, self.question.as_ref()))
    }

    /// Reads the question unless it is the one of the last call.
    fn ask(&mut self, ids: &[u32], pieces: usize) -> Result<(), CudaError> {
        if self.question.as_ref().is_some_and(|known| known.is(ids, pieces)) {
            return Ok(());
        }
        self.question = None;
        let batch = Batch::of_windows(std::iter::once(ids));
        let dim = self.dim();
        let (mut pass, _) = self.prepare(batch.tokens)?;
        pass.forward(&batch)?;
        let said = pooled(&pass.states(&batch)?, dim);
        let question = Question::new(pass.gpu, ids, pieces, &said)?;
        self.question = Some(question);
        Ok(())
    }

    fn check<'a>(&self, windows: impl ExactSizeIterator<Item = &'a [u32]>) -> Result<(), EncodeError> {
        super::encoder::check_lengths(windows, self.max_tokens())
    }

    fn compare_batch(
        &mut self,
        task: &Comparison,
        batch: &Batch,
        to: &mut Compared,
    ) -> Result<(), CudaError> {
        self.ask(&task.question, task.pieces)?;
        let (mut pass, question) = self.prepare(batch.tokens)?;
        pass.forward(batch)?;
        match question {
            Some(question) => pass.compare(batch, question, to),
            None => Err(CudaError::Memory),
        }
    }
}

/// A failure of the device for `batches`.
fn failure(error: CudaError) -> Failure<CudaError> {
    match error {
        CudaError::Memory => Failure::Memory,
        other => Failure::Other(other),
    }
}

fn stopped(stopped: Stopped<CudaError>) -> EncodeError {
    match stopped {
        Stopped::Memory(tokens) => EncodeError::OutOfMemory { tokens },
        Stopped::Other(error) => EncodeError::Device(error.to_string()),
    }
}

impl Encoder for CudaEncoder {
    fn dim(&self) -> usize {
        self.config.hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.config.max_position_embeddings - ADDED_TOKENS
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        self.check(windows.iter().copied())?;
        let lengths: Vec<usize> = windows.iter().map(|ids| ids.len() + ADDED_TOKENS).collect();
        let dim = self.dim();
        let mut encoded = Vec::with_capacity(windows.len());
        let work = |run: std::ops::Range<usize>| {
            let batch = Batch::of_windows(windows[run].iter().copied());
            let mut read = || {
                let (mut pass, _) = self.prepare(batch.tokens)?;
                pass.forward(&batch)?;
                pass.states(&batch)
            };
            let states = read().map_err(failure)?;
            encoded.extend(
                batch
                    .rows_of_windows()
                    .map(|rows| pooled(&states[rows.start * dim..rows.end * dim], dim)),
            );
            Ok(())
        };
        batches::run(&lengths, BATCH_TOKENS, work).map_err(stopped)?;
        Ok(encoded)
    }

    fn comparer(&mut self) -> Option<&mut dyn Comparer> {
        Some(self)
    }

    fn warm_up(&mut self) -> Result<Option<f64>, EncodeError> {
        let window = vec![100_u32; WARM_UP_WINDOW - ADDED_TOKENS];
        let mut speed = 0.0_f64;
        for rows in batches::all_rows(BATCH_TOKENS).chain([BATCH_TOKENS, BATCH_TOKENS]) {
            for pieces in if rows < BATCH_TOKENS { 1..2 } else { 1..5 } {
                let mut task = Comparison::new(vec![101; pieces * 32 - 8], pieces * 32 - 8);
                for _ in 0..rows / WARM_UP_WINDOW {
                    task.push(&window, std::iter::once(0..window.len()));
                }
                let start = Instant::now();
                self.compare(&Arc::new(task))?;
                speed = speed.max(rows as f64 / start.elapsed().as_secs_f64());
            }
        }
        Ok(Some(speed))
    }
}

impl Comparer for CudaEncoder {
    fn step_tokens(&self) -> usize {
        BATCH_TOKENS
    }

    fn compare(&mut self, task: &Arc<Comparison>) -> Result<Compared, EncodeError> {
        self.check(task.windows())?;
        let question = task.question.as_slice();
        self.check([question].into_iter())?;
        let lengths: Vec<usize> = task.windows().map(|ids| ids.len() + ADDED_TOKENS).collect();
        let mut compared = Compared {
            units: vec![0.0; task.unit_count()],
            ..Compared::default()
        };
        let work = |run: std::ops::Range<usize>| {
            let batch = Batch::with_units(task, run);
            self.compare_batch(task, &batch, &mut compared).map_err(failure)
        };
        batches::run(&lengths, BATCH_TOKENS, work).map_err(stopped)?;
        Ok(compared)
    }
}
