//! The encoder on a GPU: windows in, hidden states or cosines out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::batch::Batch;
use super::bert::{CudaBert, SharedGpu};
use super::error::CudaError;
use super::pass::Question;
use super::{BATCH_TOKENS, WARM_UP_WINDOW, failure, stopped};
use crate::model::bert::Config;
use crate::model::comparison::{Compared, Comparison};
use crate::model::encoder::{Comparer, EncodeError, Encoded, Encoder, check_lengths, pooled};
use crate::model::weights::Weights;
use crate::model::wordpiece::ADDED_TOKENS;
use crate::model::{EmbeddingTable, LoadError, batches};

/// An encoder that runs BERT on a GPU.
pub(in crate::model) struct CudaEncoder {
    bert: CudaBert,
    /// The last question.
    question: Option<Question>,
}

impl CudaEncoder {
    /// Loads the model; `words` are its word embeddings. Memory is taken at the first use.
    ///
    /// # Errors
    /// [`LoadError`].
    pub(in crate::model) fn load(
        shared: &SharedGpu,
        weights: &Weights<'_>,
        config: &Config,
        words: EmbeddingTable,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            bert: CudaBert::load(shared, weights, config, words)?,
            question: None,
        })
    }

    /// Reads the question unless it is the one of the last call.
    fn ask(&mut self, ids: &[u32], pieces: usize) -> Result<(), CudaError> {
        if self.question.as_ref().is_some_and(|known| known.is(ids, pieces)) {
            return Ok(());
        }
        self.question = None;
        let batch = Batch::of_windows(std::iter::once(ids));
        let dim = self.dim();
        let question = self.bert.run(batch.tokens, |mut pass| {
            pass.forward(&batch)?;
            let said = pooled(&pass.states(&batch)?, dim);
            Question::new(pass.gpu, ids, pieces, &said)
        })?;
        self.question = Some(question);
        Ok(())
    }

    fn compare_batch(
        &mut self,
        task: &Comparison,
        batch: &Batch,
        to: &mut Compared,
    ) -> Result<(), CudaError> {
        self.ask(&task.question, task.pieces)?;
        let question = self.question.as_ref().ok_or(CudaError::Memory)?;
        self.bert.run(batch.tokens, |mut pass| {
            pass.forward(batch)?;
            pass.compare(batch, question, to)
        })
    }
}

impl Encoder for CudaEncoder {
    fn dim(&self) -> usize {
        self.bert.config().hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.bert.config().max_position_embeddings - ADDED_TOKENS
    }

    fn encode(&mut self, windows: &[&[u32]]) -> Result<Vec<Encoded>, EncodeError> {
        check_lengths(windows.iter().copied(), self.max_tokens())?;
        let lengths: Vec<usize> = windows.iter().map(|ids| ids.len() + ADDED_TOKENS).collect();
        let dim = self.dim();
        let mut encoded = Vec::with_capacity(windows.len());
        let work = |run: Range<usize>| {
            let batch = Batch::of_windows(windows[run].iter().copied());
            let read = self.bert.run(batch.tokens, |mut pass| {
                pass.forward(&batch)?;
                pass.states(&batch)
            });
            let states = read.map_err(failure)?;
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
        check_lengths(task.windows(), self.max_tokens())?;
        let question = task.question.as_slice();
        check_lengths([question].into_iter(), self.max_tokens())?;
        let lengths: Vec<usize> = task.windows().map(|ids| ids.len() + ADDED_TOKENS).collect();
        let mut compared = Compared {
            units: vec![0.0; task.unit_count()],
            ..Compared::default()
        };
        let work = |run: Range<usize>| {
            let batch = Batch::with_units(task, run);
            self.compare_batch(task, &batch, &mut compared).map_err(failure)
        };
        batches::run(&lengths, BATCH_TOKENS, work).map_err(stopped)?;
        Ok(compared)
    }
}
