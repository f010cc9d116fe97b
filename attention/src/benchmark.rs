//! The headline table: time and memory of a forward pass by length, beside what would be used instead.
//!
//! One run measures everything on one device: this crate's layer and its `step`, burn's `MultiHeadAttention` (which
//! forms the N x N scores), burn's fused attention between the same four projections (by this crate's product), and,
//! where Python has them, PyTorch's attention and the layers of flash-linear-attention. Figures of different runs are not comparable; the
//! ratios of one run are.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Distribution, Tensor};

use crate::attention::LiquidAttention;
use crate::error::AttentionError;

mod meter;
mod peers;
mod report;
mod subjects;
#[cfg(test)]
mod tests;

pub use report::{Outcome, Report, Row};
use subjects::Subject;

/// What a report grows by.
enum Said {
    Row(Row),
    /// Versions of what else ran.
    Note(String),
}

/// A peer of which a pass would take longer than this, in milliseconds, is left out: on a GPU burn tries each way to
/// run it a hundred times before the first pass.
const LONGEST_PASS: f64 = 60_000.0;
const LONGEST_TUNED_PASS: f64 = 1_000.0;

/// Version of burn, as the workspace pins it.
const BURN: &str = "0.22.1";

/// What to measure. The defaults are those of the headline table.
#[derive(Clone, Debug)]
pub struct Benchmark {
    /// Width of the layer.
    pub embed_dim: usize,
    /// Heads.
    pub num_heads: usize,
    /// Sequences at once.
    pub batch_size: usize,
    /// Tokens of a sequence, one row each.
    pub seq_lengths: Vec<usize>,
    /// Number type of weights and input.
    pub dtype: DType,
    /// Where to run.
    pub device: Device,
    /// Timed rounds of passes, after one pass that is not timed; the median counts.
    pub runs: usize,
    /// A subject that needs more memory than this is skipped, in GiB.
    pub memory_limit_gib: f64,
    /// The Python that may have torch and fla; `None` leaves those peers out.
    pub python: Option<PathBuf>,
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

impl LiquidAttention {
    /// Measures; see [`Benchmark`]. After every row, `say` is given the report so far.
    ///
    /// # Errors
    /// Widths that do not fit. What cannot run is a row that says why.
    pub fn benchmark(benchmark: &Benchmark, mut say: impl FnMut(&Report)) -> Result<Report, AttentionError> {
        let mut report = benchmark.report();
        let mut add = |said: Said| match said {
            Said::Note(note) => report.notes.push(note),
            Said::Row(row) => {
                report.rows.push(row);
                say(&report);
            }
        };
        benchmark.all(&Subject::OURS, &mut add)?;
        if let Some(python) = &benchmark.python {
            benchmark.device.memory_cleanup();
            peers::run(benchmark, python, &mut add);
        }
        // Last, as burn tunes their products for minutes when a shape is new.
        benchmark.all(&Subject::PEERS, &mut add)?;
        Ok(report)
    }
}

impl Benchmark {
    /// A report without rows.
    fn report(&self) -> Report {
        Report {
            device: format!("{:?}", self.device),
            dtype: peers::dtype_name(self.dtype).to_owned(),
            embed_dim: self.embed_dim,
            num_heads: self.num_heads,
            batch_size: self.batch_size,
            runs: self.runs,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            notes: vec![format!("burn {BURN}, {}", self.place())],
            rows: Vec::new(),
        }
    }

    /// What the device is, in its maker's words where they are known.
    fn place(&self) -> String {
        #[cfg(feature = "cuda")]
        if let Some(name) = crate::cuda::device_name(&self.device) {
            return name;
        }
        format!("{:?}", self.device)
    }

    /// Subjects at every length.
    fn all(&self, subjects: &[Subject], add: &mut dyn FnMut(Said)) -> Result<(), AttentionError> {
        for &subject in subjects {
            let mut last = None;
            for &tokens in &self.seq_lengths {
                let outcome = self.measure(subject, tokens, last)?;
                if let Some(ms) = outcome.ms() {
                    last = Some((tokens, ms));
                }
                add(Said::Row(Row {
                    name: subject.name().to_owned(),
                    tokens,
                    outcome,
                }));
            }
        }
        Ok(())
    }

    /// One subject at one length; `last` are the length before that it was measured at, and its milliseconds there.
    fn measure(
        &self,
        subject: Subject,
        tokens: usize,
        last: Option<(usize, f64)>,
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
        if let Some((before, ms)) = last
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

    /// An input, `[batch_size, tokens, embed_dim]`.
    fn input(&self, tokens: usize) -> Tensor<3> {
        let shape = [self.batch_size, tokens, self.embed_dim];
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), (&self.device, self.dtype))
    }
}
