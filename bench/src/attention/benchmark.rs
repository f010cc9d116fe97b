//! The headline table: time and memory of a forward pass by length, beside what would be used instead.
//!
//! One run measures everything on one device: `LiquidAttention` and its `step`, burn's `MultiHeadAttention`
//! (which forms the N x N scores), burn's fused attention between the same four projections (by the layer's
//! product), and, where Python has them, PyTorch's attention and the layers of flash-linear-attention.
//! Figures of different runs are not comparable; the ratios of one run are.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Distribution, Tensor};
use liquid_attention::AttentionError;

use super::report::{Outcome, Report, Row};
use super::subjects::Subject;
use super::{meter, peers};
use crate::versions;

/// An addition to the report.
pub(super) enum Entry {
    /// A figure, or why there is none.
    Row(Row),
    /// Versions of libraries that were measured.
    Note(String),
}

/// Longest pass of a peer, in milliseconds; one that would take longer is left out.
const LONGEST_PASS: f64 = 60_000.0;

/// The same on a GPU, where burn tries each way to run a peer a hundred times before the first pass.
const LONGEST_TUNED_PASS: f64 = 1_000.0;

/// Sizes of a measurement. The defaults are those of the headline table.
#[derive(Clone, Debug)]
pub(crate) struct Benchmark {
    /// Width of the layer.
    pub(crate) embed_dim: usize,
    /// Heads.
    pub(crate) num_heads: usize,
    /// Sequences at once.
    pub(crate) batch_size: usize,
    /// Tokens of a sequence, one row each.
    pub(crate) seq_lengths: Vec<usize>,
    /// Number type of weights and input.
    pub(crate) dtype: DType,
    /// Device to run on.
    pub(crate) device: Device,
    /// Timed rounds of passes, after one pass that is not timed; the median counts.
    pub(crate) runs: usize,
    /// A subject that needs more memory than this is skipped, in GiB.
    pub(crate) memory_limit_gib: f64,
    /// The Python that may have torch and fla; `None` leaves those peers out.
    pub(crate) python: Option<PathBuf>,
}

/// Milliseconds of a pass at a length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) tokens: usize,
    pub(super) ms: f64,
}

impl Default for Benchmark {
    fn default() -> Self {
        Self {
            embed_dim: 4096,
            num_heads: 32,
            batch_size: 1,
            seq_lengths: vec![2048, 8192, 32_768, 131_072],
            dtype: DType::BF16,
            device: Device::default(),
            runs: 7,
            memory_limit_gib: 64.0,
            python: Some(PathBuf::from("python3")),
        }
    }
}

impl Benchmark {
    /// Measures everything; `show` is given the report so far after every row.
    ///
    /// # Errors
    /// Widths that do not fit. What cannot run is a row that says why.
    pub(crate) fn run(&self, mut show: impl FnMut(&Report)) -> Result<Report, AttentionError> {
        let mut report = self.report();
        let mut add = |entry: Entry| match entry {
            Entry::Note(note) => report.notes.push(note),
            Entry::Row(row) => {
                report.rows.push(row);
                show(&report);
            }
        };
        self.measure_all(&Subject::OURS, &mut add)?;
        if let Some(python) = &self.python {
            self.device.memory_cleanup();
            peers::run(self, python, &mut add);
        }
        // Last, as burn tunes their products for minutes when a shape is new.
        self.measure_all(&Subject::PEERS, &mut add)?;
        Ok(report)
    }

    /// A report without rows.
    pub(super) fn report(&self) -> Report {
        Report {
            device: format!("{:?}", self.device),
            dtype: peers::dtype_name(self.dtype).to_owned(),
            embed_dim: self.embed_dim,
            num_heads: self.num_heads,
            batch_size: self.batch_size,
            runs: self.runs,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            notes: vec![format!("burn {}, {}", versions::burn(), self.device_name())],
            rows: Vec::new(),
        }
    }

    /// The device's name as its maker has it where that is known, else burn's.
    fn device_name(&self) -> String {
        #[cfg(feature = "cuda")]
        if let Some(name) = liquid_attention::cuda::device_name(&self.device) {
            return name;
        }
        format!("{:?}", self.device)
    }

    /// Measures subjects at every length.
    fn measure_all(&self, subjects: &[Subject], add: &mut dyn FnMut(Entry)) -> Result<(), AttentionError> {
        for &subject in subjects {
            let mut last = None;
            for &tokens in &self.seq_lengths {
                let outcome = self.measure(subject, tokens, last)?;
                if let Some(ms) = outcome.ms() {
                    last = Some(Measured { tokens, ms });
                }
                add(Entry::Row(Row {
                    name: subject.name().to_owned(),
                    tokens,
                    outcome,
                }));
            }
        }
        Ok(())
    }

    /// Measures one subject at one length; `last` is what it took at the length before.
    pub(super) fn measure(
        &self,
        subject: Subject,
        tokens: usize,
        last: Option<Measured>,
    ) -> Result<Outcome, AttentionError> {
        let needed = subject.memory(self, tokens);
        if needed > self.memory_limit_gib {
            return Ok(Outcome::Skipped(format!("needs {needed:.0} GiB for the scores")));
        }
        let is_tuned = self.device.memory_pool_usage().is_some();
        let longest = if is_tuned {
            LONGEST_TUNED_PASS
        } else {
            LONGEST_PASS
        };
        if let Some(Measured { tokens: before, ms }) = last
            && subject.is_quadratic()
        {
            let expected = ms * (tokens as f64 / before as f64).powi(2);
            if expected > longest {
                let text = format!("would take {:.0} s a pass", expected / 1e3);
                return Ok(Outcome::Skipped(text));
            }
        }
        let mut pass = subject.prepare(self, tokens)?;
        Ok(match meter::measure(&self.device, self.runs, &mut pass) {
            Ok(measured) => measured,
            Err(reason) => Outcome::Skipped(reason),
        })
    }

    /// A random input, `[batch_size, tokens, embed_dim]`.
    pub(super) fn input(&self, tokens: usize) -> Tensor<3> {
        let shape = [self.batch_size, tokens, self.embed_dim];
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.device, self.dtype))
    }
}
