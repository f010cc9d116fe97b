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

impl Outcome {
    /// Milliseconds of a pass, of a rested device.
    pub fn ms(&self) -> Option<f64> {
        match self {
            Self::Measured { ms, .. } => Some(*ms),
            Self::Skipped(_) => None,
        }
    }

    /// Milliseconds of a pass, of a device at work.
    pub fn sustained_ms(&self) -> Option<f64> {
        match self {
            Self::Measured { sustained_ms, .. } => *sustained_ms,
            Self::Skipped(_) => None,
        }
    }
}

impl Report {
    /// What came of a subject at a length.
    pub fn outcome(&self, name: &str, tokens: usize) -> Option<&Outcome> {
        let row = self
            .rows
            .iter()
            .find(|row| row.name == name && row.tokens == tokens)?;
        Some(&row.outcome)
    }

    /// By which power of the tokens a time of a subject grows, from one length to another: 1 is linear.
    pub fn exponent(
        &self,
        name: &str,
        (from, to): (usize, usize),
        time: fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        let at = |tokens| self.outcome(name, tokens).and_then(time);
        let ratio = at(to)? / at(from)?;
        (from != to).then(|| ratio.ln() / (to as f64 / from as f64).ln())
    }

    /// The first subject, and its second and last length; shorter calls are not yet bound by the work.
    fn growth(&self) -> Option<(&str, (usize, usize))> {
        let name = &self.rows.first()?.name;
        let mut lengths: Vec<usize> = self
            .rows
            .iter()
            .filter(|row| row.name == *name)
            .map(|row| row.tokens)
            .collect();
        lengths.sort_unstable();
        Some((name, (*lengths.get(1)?, *lengths.last()?)))
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
        if let Some((name, lengths)) = self.growth()
            && let Some(rested) = self.exponent(name, lengths, Outcome::ms)
        {
            let (from, to) = lengths;
            write!(
                f,
                "{name}: time grows with tokens^{rested:.3} from {from} to {to}"
            )?;
            if let Some(sustained) = self.exponent(name, lengths, Outcome::sustained_ms) {
                write!(f, ", at work with tokens^{sustained:.3}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
