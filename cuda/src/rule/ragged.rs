//! Sequences of different lengths in one batch, each with the slots in which its state lies.
//!
//! Rows of all sequences lie behind each other, without padding unless a sequence skips rows: so part of each
//! sequence of a larger batch can be a batch. States lie in a pool of slots of one size, so
//! does what the short convolution keeps; a sequence names the slot that it starts from (or none: zeros), the
//! slot to which its new state goes (the same one, another, or none), and a slot for a snapshot: the state in
//! the middle of the pass, at the border of a chunk, which costs one more write and no second pass. Several
//! sequences may start from one slot.
//!
//! [`RaggedPlan`] checks that; its tables go to device memory once a batch, for the launches of all layers.

use std::ffi::c_int;

use super::options::CHUNK;
use crate::device::{Address, Buffer, Stream};
use crate::error::Error;

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests;

/// Most tokens of a batch: rows are counted by the copy engine up to 2^30.
const MOST_TOKENS: usize = 1 << 30;
/// Most sequences, and chunks, of a batch: blocks of a launch in one dimension.
const MOST_BLOCKS: usize = 65_535;

/// A sequence of a ragged batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RaggedSequence {
    /// Rows between those of the sequence before it, or the beginning, and its own. They are left alone.
    pub skip: usize,
    /// Number of its tokens; none is allowed, and leaves the state as it is.
    pub tokens: usize,
    /// Slot of the state before the first token; `None` for a sequence that begins.
    pub from: Option<usize>,
    /// Slot to which the state after the last token goes, if it is wanted.
    pub to: Option<usize>,
    /// The state that is wanted in the middle.
    pub snapshot: Option<Snapshot>,
}

/// A state in the middle of a sequence's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Tokens of this pass that it has read: a multiple of [`CHUNK`], or all of them.
    pub after: usize,
    /// Slot to which it goes.
    pub slot: usize,
}

/// Why sequences cannot be a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RaggedError {
    /// A slot lies behind the pool.
    #[error("sequence {sequence} names slot {slot} of a pool of {slots}; name a slot of the pool")]
    Slot {
        /// Number of the sequence.
        sequence: usize,
        /// The slot.
        slot: usize,
        /// Slots of the pool.
        slots: usize,
    },
    /// A slot is written twice, or written by one sequence and read by another.
    #[error(
        "sequences {first} and {second} both use slot {slot}, and one of them writes it; give each its own, or run them one after the other"
    )]
    Shared {
        /// Number of a sequence.
        first: usize,
        /// Number of the other; the same if a sequence's state and its snapshot go to one slot.
        second: usize,
        /// The slot.
        slot: usize,
    },
    /// A snapshot that is not at a chunk's border.
    #[error(
        "sequence {sequence} of {tokens} tokens wants a snapshot after {after}; take a multiple of {CHUNK}, or all of them"
    )]
    Snapshot {
        /// Number of the sequence.
        sequence: usize,
        /// Tokens before the snapshot.
        after: usize,
        /// Tokens of the sequence.
        tokens: usize,
    },
    /// More than a launch can take.
    #[error(
        "{sequences} sequences with {tokens} tokens in {chunks} chunks; run at most {MOST_BLOCKS} sequences, {MOST_BLOCKS} chunks and {MOST_TOKENS} tokens together"
    )]
    Size {
        /// Number of sequences.
        sequences: usize,
        /// Tokens of all, and rows that they skip.
        tokens: usize,
        /// Chunks of all.
        chunks: usize,
    },
}

/// `Sequence` in common.cuh.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SequencePlace {
    row: c_int,
    tokens: c_int,
    chunk: c_int,
    from: c_int,
    to: c_int,
    snapshot: c_int,
    after: c_int,
    unused: c_int,
}

/// Numbers of a [`SequencePlace`].
const PLACE: usize = size_of::<SequencePlace>() / size_of::<c_int>();

impl SequencePlace {
    fn numbers(self) -> [c_int; PLACE] {
        [
            self.row,
            self.tokens,
            self.chunk,
            self.from,
            self.to,
            self.snapshot,
            self.after,
            self.unused,
        ]
    }
}

/// `Ragged` in common.cuh.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct RaggedArguments {
    sequences: Address,
    of_chunk: Address,
    state_stride: i64,
    tail_stride: i64,
    chunks: c_int,
}

/// A checked batch of ragged sequences, on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaggedPlan {
    /// Places of the sequences, then the sequence of every chunk.
    table: Vec<c_int>,
    count: usize,
    tokens: usize,
    chunks: usize,
    /// Whether every sequence has one token.
    single: bool,
}

/// A batch of ragged sequences in device memory. It keeps the memory of its tables no longer than their
/// buffer lives.
#[derive(Clone, Copy, Debug, Default)]
pub struct RaggedTables {
    pub(super) sequences: Address,
    pub(super) of_chunk: Address,
    pub(super) count: usize,
    pub(super) tokens: usize,
    pub(super) chunks: usize,
    pub(super) single: bool,
    pub(super) state_stride: usize,
    pub(super) tail_stride: usize,
}

/// Elements between the slots of the pools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotStrides {
    /// Elements from slot to slot of the states' pool, at least `heads * width * width`.
    pub state: usize,
    /// Elements from slot to slot of the pool of what a convolution keeps, at least `(width - 1) * channels`,
    /// a multiple of 8; 0 without a convolution.
    pub tail: usize,
}

impl RaggedPlan {
    /// Checks a batch of sequences whose states lie in a pool of so many slots.
    ///
    /// # Errors
    /// [`RaggedError`].
    pub fn new(sequences: &[RaggedSequence], slots: usize) -> Result<Self, RaggedError> {
        let sum = |of: fn(&RaggedSequence) -> usize| {
            let numbers = sequences.iter().map(of);
            numbers.fold(0_usize, usize::saturating_add)
        };
        let tokens = sum(|sequence| sequence.tokens);
        let rows = sum(|sequence| sequence.skip).saturating_add(tokens);
        let chunks = sum(|sequence| sequence.tokens.div_ceil(CHUNK));
        if rows > MOST_TOKENS || chunks > MOST_BLOCKS || sequences.len() > MOST_BLOCKS {
            return Err(RaggedError::Size {
                sequences: sequences.len(),
                tokens: rows,
                chunks,
            });
        }
        check_slots(sequences, slots)?;
        let mut table = Vec::with_capacity(PLACE * sequences.len() + chunks);
        let mut of_chunk = Vec::with_capacity(chunks);
        let mut row = 0;
        for (number, sequence) in sequences.iter().enumerate() {
            row += sequence.skip;
            table.extend(place(number, sequence, row, of_chunk.len())?.numbers());
            row += sequence.tokens;
            of_chunk.extend(std::iter::repeat_n(
                number as c_int,
                sequence.tokens.div_ceil(CHUNK),
            ));
        }
        table.extend(of_chunk);
        Ok(Self {
            table,
            count: sequences.len(),
            tokens,
            chunks,
            single: sequences.iter().all(|sequence| sequence.tokens == 1),
        })
    }

    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        size_of_val(self.table.as_slice())
    }

    /// Enqueues writing the tables to a buffer, which must outlive the launches that take them.
    ///
    /// # Errors
    /// [`Error::Extent`]: the buffer has fewer than [`Self::bytes`] bytes; [`Error::Driver`].
    pub fn write(&self, stream: &Stream, to: &Buffer, strides: SlotStrides) -> Result<RaggedTables, Error> {
        self.write_at(stream, to, 0, strides)
    }

    /// [`Self::write`], so many bytes behind the beginning of the buffer: a multiple of 16.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_at(
        &self,
        stream: &Stream,
        to: &Buffer,
        offset: usize,
        strides: SlotStrides,
    ) -> Result<RaggedTables, Error> {
        stream.write_at(to, offset, &self.table)?;
        Ok(self.tables(to.address().offset(offset), strides))
    }

    fn tables(&self, address: Address, strides: SlotStrides) -> RaggedTables {
        RaggedTables {
            sequences: address,
            of_chunk: address.offset(self.count * size_of::<SequencePlace>()),
            count: self.count,
            tokens: self.tokens,
            chunks: self.chunks,
            single: self.single,
            state_stride: strides.state,
            tail_stride: strides.tail,
        }
    }
}

impl RaggedTables {
    /// An error unless a slot has room for a state of so many numbers.
    pub(super) fn check_states(&self, numbers: usize) -> Result<(), Error> {
        if self.state_stride >= numbers {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "slots {} numbers apart for states of {numbers}; set SlotStrides::state to {numbers} or more",
            self.state_stride
        )))
    }

    /// An error unless a slot has room for so many numbers that a convolution keeps, and begins where 16 bytes
    /// may be read at once.
    pub(super) fn check_tails(&self, numbers: usize) -> Result<(), Error> {
        if self.tail_stride >= numbers && self.tail_stride.is_multiple_of(8) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "slots {} numbers apart for tails of {numbers}; set SlotStrides::tail to a multiple of 8 from {numbers} on",
            self.tail_stride
        )))
    }

    pub(super) fn arguments(&self) -> RaggedArguments {
        RaggedArguments {
            sequences: self.sequences,
            of_chunk: self.of_chunk,
            state_stride: self.state_stride as i64,
            tail_stride: self.tail_stride as i64,
            chunks: self.chunks as c_int,
        }
    }
}

/// The place of a sequence that begins at a row and a chunk.
fn place(
    number: usize,
    sequence: &RaggedSequence,
    row: usize,
    chunk: usize,
) -> Result<SequencePlace, RaggedError> {
    let tokens = sequence.tokens;
    if let Some(Snapshot { after, .. }) = sequence.snapshot {
        let at_border = after.is_multiple_of(CHUNK) && after > 0 && after <= tokens;
        if !at_border && (after != tokens || tokens == 0) {
            return Err(RaggedError::Snapshot {
                sequence: number,
                after,
                tokens,
            });
        }
    }
    let slot = |slot: Option<usize>| slot.map_or(-1, |slot| slot as c_int);
    Ok(SequencePlace {
        row: row as c_int,
        tokens: tokens as c_int,
        chunk: chunk as c_int,
        from: slot(sequence.from),
        to: slot(sequence.to),
        snapshot: slot(sequence.snapshot.map(|snapshot| snapshot.slot)),
        after: sequence
            .snapshot
            .map_or(0, |snapshot| snapshot.after.div_ceil(CHUNK) as c_int),
        unused: 0,
    })
}

/// Every slot is in the pool, is written at most once, and is read by none but its writer if it is written.
fn check_slots(sequences: &[RaggedSequence], slots: usize) -> Result<(), RaggedError> {
    let mut writers = vec![None; slots];
    for (sequence, RaggedSequence { to, snapshot, .. }) in sequences.iter().enumerate() {
        for slot in to.iter().copied().chain(snapshot.map(|snapshot| snapshot.slot)) {
            let writer = writers.get_mut(slot).ok_or(RaggedError::Slot {
                sequence,
                slot,
                slots,
            })?;
            if let Some(first) = writer.replace(sequence) {
                return Err(RaggedError::Shared {
                    first,
                    second: sequence,
                    slot,
                });
            }
        }
    }
    for (sequence, from) in sequences.iter().enumerate() {
        let Some(slot) = from.from else { continue };
        let writer = writers.get(slot).ok_or(RaggedError::Slot {
            sequence,
            slot,
            slots,
        })?;
        if let Some(first) = writer.filter(|writer| *writer != sequence) {
            return Err(RaggedError::Shared {
                first,
                second: sequence,
                slot,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
impl RaggedTables {
    /// Tables of single tokens in slots for states of so many numbers, and for as many that a convolution keeps.
    pub(super) fn of_slots(numbers: usize) -> Self {
        Self {
            single: true,
            state_stride: numbers,
            tail_stride: numbers,
            ..Self::default()
        }
    }
}
