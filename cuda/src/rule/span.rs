//! The tokens that a launch runs over.

use super::options::CHUNK;
use super::ragged::RaggedTables;
use super::tensors::{Gates, HeadNorm, Rows};
use crate::device::Address;
use crate::error::Error;

/// `sizeof(Record)` in common.cuh: both triangular factors and four coefficients a token.
pub(super) const RECORD: usize = 2 * FACTOR + 4 * CHUNK * 4;
/// `FACTOR` in common.cuh: bytes of a triangular factor.
pub(super) const FACTOR: usize = 6_144;

/// How the sequences of a span lie.
#[derive(Clone, Copy, Debug)]
pub enum Sequences {
    /// Sequences of one length.
    Equal {
        /// Number of sequences.
        count: usize,
        /// Tokens of each.
        tokens: usize,
    },
    /// Sequences of any lengths, with their states in slots.
    Ragged(RaggedTables),
}

impl Sequences {
    /// Number of sequences.
    pub fn count(&self) -> usize {
        match self {
            Self::Equal { count, .. } => *count,
            Self::Ragged(tables) => tables.count,
        }
    }

    /// Tokens of all sequences.
    pub fn rows(&self) -> usize {
        match self {
            Self::Equal { count, tokens } => count * tokens,
            Self::Ragged(tables) => tables.tokens,
        }
    }

    /// Chunks of all sequences.
    pub fn chunks(&self) -> usize {
        match self {
            Self::Equal { count, tokens } => count * tokens.div_ceil(CHUNK),
            Self::Ragged(tables) => tables.chunks,
        }
    }
}

/// Tokens to run the rule over: rows of all sequences behind each other. Rows are bf16.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// How many sequences and tokens there are.
    pub sequences: Sequences,
    /// Heads of the state.
    pub heads: usize,
    /// Numbers of a head's keys and values: 64, 128 or 256.
    pub width: usize,
    /// Heads, side by side, that share a head of queries and keys.
    pub group: usize,
    /// Queries `[rows, heads / group, width]`.
    pub q: Rows,
    /// Keys, as the queries.
    pub k: Rows,
    /// Values `[rows, heads, width]`.
    pub v: Rows,
    /// The heads' output `[rows, heads, width]`, written; it may lie where the values do.
    pub output: Rows,
    /// Log-gates and strengths.
    pub gates: Gates,
    /// Work space of [`Span::record_bytes`] bytes; not needed for a step.
    pub records: Address,
    /// States before the first token, f32: `[count, heads, width, width]`, or a pool of slots of ragged
    /// sequences. Null stands for zeros in a scan of sequences of one length.
    pub initial: Address,
    /// States after the last token, written, as `initial`; it may be `initial`.
    pub last: Address,
    /// Norm of every head's output, if the launch is to do it.
    pub norm: Option<HeadNorm>,
    /// The output gate before its `silu`, `[rows, heads, width]`, which follows the norm; none in a scan.
    pub gate: Rows,
}

impl Span {
    /// The same span without the first few rows: sequences, work space and states stay as they are.
    pub fn rows_from(self, rows: usize) -> Self {
        Self {
            q: self.q.rows_from(rows),
            k: self.k.rows_from(rows),
            v: self.v.rows_from(rows),
            output: self.output.rows_from(rows),
            gates: self.gates.rows_from(rows, self.heads),
            gate: self.gate.rows_from(rows),
            ..self
        }
    }

    /// Bytes of work space that the span needs.
    pub fn record_bytes(&self) -> usize {
        self.sequences.chunks() * self.heads * RECORD
    }

    /// Count and length of sequences of one length.
    pub(super) fn equal(&self, launch: &'static str) -> Result<Equal, Error> {
        match self.sequences {
            Sequences::Equal { count, tokens } => Ok(Equal { count, tokens }),
            Sequences::Ragged(_) => Err(Error::Unsupported(format!(
                "{launch} of ragged sequences; run sequences of one length"
            ))),
        }
    }

    /// An error unless the kernels serve these sizes and the gates fit the sequences.
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self {
            heads, width, group, ..
        } = *self;
        if !super::serves(heads, width, width) || group == 0 || !heads.is_multiple_of(group) {
            return Err(Error::Unsupported(format!(
                "{heads} heads of {width} numbers, {group} to a head of queries and keys; the kernels take heads of 64, 128 or 256 in whole groups"
            )));
        }
        if let Sequences::Ragged(tables) = &self.sequences {
            if !self.gates.lengths.is_null() {
                return Err(Error::Unsupported(
                    "padding in ragged sequences; give each its own length".to_owned(),
                ));
            }
            tables.check_states(heads * width * width)?;
        }
        Ok(())
    }
}

/// Sequences of one length.
#[derive(Clone, Copy, Debug)]
pub(super) struct Equal {
    pub(super) count: usize,
    pub(super) tokens: usize,
}

impl Equal {
    /// Chunks of a sequence.
    pub(super) fn chunks(self) -> usize {
        self.tokens.div_ceil(CHUNK)
    }
}

/// Bytes of work space of so many sequences of one length.
pub fn record_bytes(count: usize, tokens: usize, heads: usize) -> usize {
    count * tokens.div_ceil(CHUNK) * heads * RECORD
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ragged::RaggedTables;
    use super::*;

    pub(in crate::rule) fn span(sequences: Sequences) -> Span {
        let rows = |address| Rows {
            address: Address::new(address),
            stride: 3 * 64,
        };
        Span {
            sequences,
            heads: 3,
            width: 64,
            group: 1,
            q: rows(1_000_000),
            k: rows(2_000_000),
            v: rows(3_000_000),
            output: rows(4_000_000),
            gates: Gates::numbers(Address::new(5_000_000), Address::new(6_000_000)),
            records: Address::new(7),
            initial: Address::new(8),
            last: Address::new(9),
            norm: None,
            gate: rows(10_000_000),
        }
    }

    const EQUAL: Sequences = Sequences::Equal { count: 1, tokens: 10 };

    #[test]
    fn a_span_from_a_later_row_starts_there_in_every_tensor() {
        let later = span(EQUAL).rows_from(5);
        // Rows of 192 numbers in bf16, and of 3 in f32.
        let addresses = [later.q, later.k, later.v, later.output, later.gate].map(|rows| rows.address.get());
        assert_eq!(
            addresses,
            [1_001_920, 2_001_920, 3_001_920, 4_001_920, 10_001_920]
        );
        assert_eq!(
            (later.gates.log_gate.get(), later.gates.beta.get()),
            (5_000_060, 6_000_060)
        );
        let states = [later.records, later.initial, later.last].map(Address::get);
        assert_eq!((states, later.q.stride), ([7, 8, 9], 192));
    }

    #[test]
    fn sizes_that_no_kernel_has_are_refused_with_the_sizes() {
        let refused = |change: fn(&mut Span)| {
            let mut span = span(EQUAL);
            change(&mut span);
            span.check().map_err(|error| error.to_string())
        };
        assert!(refused(|_| ()).is_ok());
        let wrong: [fn(&mut Span); 4] = [
            |span| span.width = 96,
            |span| span.heads = 0,
            |span| span.group = 2,
            |span| span.group = 0,
        ];
        for change in wrong {
            let text = refused(change);
            assert!(
                text.as_ref().is_err_and(|text| text.contains("64, 128 or 256")),
                "{text:?}"
            );
        }
    }

    #[test]
    fn work_space_is_of_whole_chunks() {
        assert_eq!(span(EQUAL).record_bytes(), 3 * RECORD);
        assert_eq!(record_bytes(2, 65, 3), 2 * 2 * 3 * RECORD);
        let ragged = Sequences::Ragged(RaggedTables {
            count: 2,
            tokens: 66,
            chunks: 3,
            ..RaggedTables::default()
        });
        assert_eq!(span(ragged).record_bytes(), 3 * 3 * RECORD);
        assert_eq!((ragged.rows(), ragged.count()), (66, 2));
    }

    #[test]
    fn ragged_sequences_have_no_padding_and_no_gradients() {
        let mut ragged = span(Sequences::Ragged(RaggedTables::of_slots(3 * 64 * 64)));
        assert!(ragged.check().is_ok());
        assert!(ragged.equal("gradients").is_err());
        ragged.gates = ragged.gates.padded(Address::new(16), 0);
        assert!(
            ragged
                .check()
                .is_err_and(|error| error.to_string().contains("its own length"))
        );
    }
}
