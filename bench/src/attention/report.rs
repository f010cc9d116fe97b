//! The report of the headline table: figures, and how they are printed.

use std::fmt;

use serde::Serialize;

/// Figures of one run on one device.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// burn's name of the device.
    pub(crate) device: String,
    /// Number type of weights and input.
    pub(crate) dtype: String,
    /// Width of the layer.
    pub(crate) embed_dim: usize,
    /// Heads.
    pub(crate) num_heads: usize,
    /// Sequences at once.
    pub(crate) batch_size: usize,
    /// Timed passes a figure.
    pub(crate) runs: usize,
    /// Version of the workspace.
    pub(crate) version: String,
    /// Versions of libraries and driver, and the device's full name.
    pub(crate) notes: Vec<String>,
    /// Figures in the order in which they were measured.
    pub(crate) rows: Vec<Row>,
}

/// One subject at one length.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    /// Name of the subject.
    pub(crate) name: String,
    /// Tokens of a sequence.
    pub(crate) tokens: usize,
    /// The figures, or why there are none.
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The subject ran.
    Measured {
        /// Milliseconds of a pass among passes behind each other, median; of single ones where one takes over
        /// 5 ms.
        ms: f64,
        /// Milliseconds of a single pass that is waited for, median.
        waited_ms: Option<f64>,
        /// Milliseconds of a pass on a GPU that has been at work for a while and is slower then.
        sustained_ms: Option<f64>,
        /// Memory beyond weights and input in GiB, where it can be known.
        extra_gib: Option<f64>,
        /// Milliseconds of the first pass, which may compile kernels.
        first_ms: Option<f64>,
    },
    /// The subject did not run, for this reason.
    Skipped(String),
}

impl Outcome {
    /// Milliseconds of a pass on a rested device.
    pub(crate) fn ms(&self) -> Option<f64> {
        match self {
            Self::Measured { ms, .. } => Some(*ms),
            Self::Skipped(_) => None,
        }
    }

    /// Milliseconds of a pass on a device at work.
    pub(crate) fn sustained_ms(&self) -> Option<f64> {
        match self {
            Self::Measured { sustained_ms, .. } => *sustained_ms,
            Self::Skipped(_) => None,
        }
    }
}

impl Report {
    /// The outcome of a subject at a length.
    pub(crate) fn outcome(&self, name: &str, tokens: usize) -> Option<&Outcome> {
        let row = self
            .rows
            .iter()
            .find(|row| row.name == name && row.tokens == tokens)?;
        Some(&row.outcome)
    }

    /// Power of the tokens with which a time of a subject grows from one length to another; 1 is linear.
    fn exponent(&self, growth: Growth<'_>, time: fn(&Outcome) -> Option<f64>) -> Option<f64> {
        let Growth { name, from, to } = growth;
        let at = |tokens| self.outcome(name, tokens).and_then(time);
        let ratio = at(to)? / at(from)?;
        (from != to).then(|| ratio.ln() / (to as f64 / from as f64).ln())
    }

    /// The first subject, from its second length to its last; shorter calls are not yet bound by the work.
    fn growth(&self) -> Option<Growth<'_>> {
        let name = &self.rows.first()?.name;
        let mut lengths: Vec<usize> = self
            .rows
            .iter()
            .filter(|row| row.name == *name)
            .map(|row| row.tokens)
            .collect();
        lengths.sort_unstable();
        Some(Growth {
            name,
            from: *lengths.get(1)?,
            to: *lengths.last()?,
        })
    }
}

/// A subject and the two lengths between which its time is compared.
#[derive(Clone, Copy)]
struct Growth<'a> {
    name: &'a str,
    from: usize,
    to: usize,
}

/// Width of the column of names, in characters.
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
        if let Some(growth) = self.growth()
            && let Some(rested) = self.exponent(growth, Outcome::ms)
        {
            let Growth { name, from, to } = growth;
            write!(
                f,
                "{name}: time grows with tokens^{rested:.3} from {from} to {to}"
            )?;
            if let Some(sustained) = self.exponent(growth, Outcome::sustained_ms) {
                write!(f, ", at work with tokens^{sustained:.3}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
