//! What was measured, and the table of it.

use std::fmt;

use serde::Serialize;

/// Figures of one run on one device.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// burn's name of the device.
    pub device: String,
    /// Number type of weights and input.
    pub dtype: String,
    /// Width of the layer.
    pub embed_dim: usize,
    /// Heads.
    pub num_heads: usize,
    /// Sequences at once.
    pub batch_size: usize,
    /// Timed passes a figure.
    pub runs: usize,
    /// Version of this crate.
    pub version: String,
    /// What else ran: device, driver, libraries and their versions.
    pub notes: Vec<String>,
    /// In the order measured.
    pub rows: Vec<Row>,
}

/// One subject at one length.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The subject.
    pub name: String,
    /// Tokens of a sequence.
    pub tokens: usize,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran.
    Measured {
        /// Milliseconds of a pass among passes behind each other, median; of single ones where one takes over 5 ms.
        ms: f64,
        /// Milliseconds of a single pass that is waited for, median.
        waited_ms: Option<f64>,
        /// Milliseconds of a pass when the device has been at work for a while; on GPUs only, where it is slower then.
        sustained_ms: Option<f64>,
        /// GiB beyond weights and input, where it can be known.
        extra_gib: Option<f64>,
        /// Milliseconds of the first pass, which may compile kernels.
        first_ms: Option<f64>,
    },
    /// It did not run.
    Skipped(String),
}

impl Report {
    /// Milliseconds of a subject at a length.
    pub fn ms(&self, name: &str, tokens: usize) -> Option<f64> {
        let row = self
            .rows
            .iter()
            .find(|row| row.name == name && row.tokens == tokens)?;
        match row.outcome {
            Outcome::Measured { ms, .. } => Some(ms),
            Outcome::Skipped(_) => None,
        }
    }

    /// By which power of the tokens a subject's time grows, from one length to another: 1 is linear.
    pub fn exponent(&self, name: &str, from: usize, to: usize) -> Option<f64> {
        let ratio = self.ms(name, to)? / self.ms(name, from)?;
        (from != to).then(|| ratio.ln() / (to as f64 / from as f64).ln())
    }

    /// The first subject's exponent from its second length to its last; short calls are not yet bound by the work.
    fn growth(&self) -> Option<(usize, usize, f64)> {
        let name = &self.rows.first()?.name;
        let mut lengths: Vec<usize> = self
            .rows
            .iter()
            .filter(|row| row.name == *name)
            .map(|row| row.tokens)
            .collect();
        lengths.sort_unstable();
        let (from, to) = (*lengths.get(1)?, *lengths.last()?);
        Some((from, to, self.exponent(name, from, to)?))
    }
}

/// Width of the column of names.
const NAME: usize = 38;

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:NAME$} {:>8}", self.name, self.tokens)?;
        match &self.outcome {
            Outcome::Measured {
                ms,
                waited_ms,
                sustained_ms,
                extra_gib,
                first_ms,
            } => {
                let figure =
                    |figure: &Option<f64>| figure.map_or("-".to_owned(), |value| format!("{value:.3}"));
                let (waited, sustained) = (figure(waited_ms), figure(sustained_ms));
                let (gib, first) = (figure(extra_gib), figure(first_ms));
                write!(
                    f,
                    " {ms:>11.3} {waited:>11} {sustained:>12} {gib:>10} {first:>11}"
                )
            }
            Outcome::Skipped(reason) => write!(f, "  {reason}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            dtype,
            embed_dim,
            num_heads,
            batch_size,
            runs,
            ..
        } = self;
        writeln!(
            f,
            "{device}, {dtype}, embed {embed_dim}, {num_heads} heads, batch {batch_size}, median of {runs}"
        )?;
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        writeln!(
            f,
            "{:NAME$} {:>8} {:>11} {:>11} {:>12} {:>10} {:>11}",
            "", "tokens", "ms", "waited ms", "sustained ms", "extra GiB", "first ms"
        )?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        if let Some((from, to, exponent)) = self.growth() {
            let name = &self.rows[0].name;
            writeln!(
                f,
                "{name}: time grows with tokens^{exponent:.3} from {from} to {to}"
            )?;
        }
        Ok(())
    }
}
