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

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    fn sequence(tokens: usize, from: Option<usize>, to: Option<usize>) -> RaggedSequence {
        RaggedSequence {
            tokens,
            from,
            to,
            ..RaggedSequence::default()
        }
    }

    fn with_snapshot(tokens: usize, after: usize, slot: usize) -> RaggedSequence {
        RaggedSequence {
            snapshot: Some(Snapshot { after, slot }),
            ..sequence(tokens, None, Some(0))
        }
    }

    #[test]
    fn tables_say_where_every_sequence_and_chunk_lies() {
        let plan = RaggedPlan::new(
            &[
                sequence(65, Some(3), Some(3)),
                sequence(0, Some(1), Some(2)),
                RaggedSequence {
                    snapshot: Some(Snapshot { after: 128, slot: 0 }),
                    ..sequence(200, None, None)
                },
            ],
            4,
        )
        .expect("a batch");
        let places: Vec<&[c_int]> = plan.table[..3 * PLACE].chunks(PLACE).collect();
        assert_eq!(places[0], [0, 65, 0, 3, 3, -1, 0, 0]);
        assert_eq!(places[1], [65, 0, 2, 1, 2, -1, 0, 0]);
        assert_eq!(places[2], [65, 200, 2, -1, -1, 0, 2, 0]);
        assert_eq!(plan.table[3 * PLACE..], [0, 0, 2, 2, 2, 2]);
        assert_eq!((plan.bytes(), plan.tokens, plan.chunks), (4 * 30, 265, 6));
        let strides = SlotStrides { state: 100, tail: 24 };
        let tables = plan.tables(Address::new(1 << 20), strides);
        assert_eq!(tables.of_chunk, Address::new((1 << 20) + 96));
        assert_eq!(
            (tables.count, tables.state_stride, tables.single),
            (3, 100, false)
        );
    }

    #[test]
    fn skipped_rows_are_of_no_sequence() {
        let later = RaggedSequence {
            skip: 36,
            ..sequence(64, None, Some(1))
        };
        let plan = RaggedPlan::new(&[sequence(64, None, Some(0)), later], 2).expect("a batch");
        assert_eq!(plan.table[PLACE..][..3], [100, 64, 1]);
        assert_eq!((plan.tokens, plan.chunks), (128, 2));
        let beyond = RaggedSequence {
            skip: MOST_TOKENS,
            ..sequence(1, None, None)
        };
        assert!(matches!(
            RaggedPlan::new(&[beyond], 0),
            Err(RaggedError::Size { .. })
        ));
    }

    #[test]
    fn one_token_each_is_a_step() {
        let one = sequence(1, None, None);
        let single = |sequences: &[RaggedSequence]| RaggedPlan::new(sequences, 0).expect("a batch").single;
        assert!(single(&[one, one]));
        assert!(!single(&[one, sequence(2, None, None)]) && !single(&[one, sequence(0, None, None)]));
    }

    #[test]
    fn a_slot_has_one_writer_and_no_other_reader() {
        let of = |sequences: &[RaggedSequence]| RaggedPlan::new(sequences, 4);
        // In place, to another slot, and several that start from one.
        assert!(of(&[sequence(1, Some(0), Some(0)), sequence(1, Some(1), Some(2))]).is_ok());
        assert!(of(&[sequence(1, Some(0), Some(1)), sequence(1, Some(0), Some(2))]).is_ok());
        let shared = |first, second, slot| Err(RaggedError::Shared { first, second, slot });
        let twice = of(&[sequence(1, None, Some(1)), sequence(1, None, Some(1))]);
        assert_eq!(twice, shared(0, 1, 1));
        let read = of(&[sequence(1, Some(2), Some(1)), sequence(1, None, Some(2))]);
        assert_eq!(read, shared(1, 0, 2));
        assert_eq!(of(&[with_snapshot(64, 64, 0)]), shared(0, 0, 0));
        let behind = |slot| {
            Err(RaggedError::Slot {
                sequence: 0,
                slot,
                slots: 4,
            })
        };
        assert_eq!(of(&[sequence(1, Some(4), None)]), behind(4));
        assert_eq!(of(&[sequence(1, None, Some(5))]), behind(5));
        assert_eq!(of(&[with_snapshot(64, 64, 6)]), behind(6));
    }

    #[test]
    fn a_snapshot_is_at_a_chunks_border_or_at_the_end() {
        let of = |tokens, after| RaggedPlan::new(&[with_snapshot(tokens, after, 1)], 2);
        for (tokens, after) in [(200, 64), (200, 192), (200, 200), (64, 64), (1, 1)] {
            assert!(of(tokens, after).is_ok(), "{after} of {tokens}");
        }
        for (tokens, after) in [(200, 0), (200, 63), (200, 256), (0, 0), (64, 128)] {
            let wanted = RaggedError::Snapshot {
                sequence: 0,
                after,
                tokens,
            };
            let text = wanted.to_string();
            assert_eq!(of(tokens, after), Err(wanted));
            assert!(text.contains("multiple of 64"), "{text}");
        }
    }

    #[test]
    fn slots_have_room_and_begin_where_sixteen_bytes_are_read() {
        let tables = RaggedTables::of_slots(24);
        assert!(tables.check_states(24).is_ok() && tables.check_tails(24).is_ok());
        assert!(
            tables
                .check_states(25)
                .is_err_and(|error| error.to_string().contains("SlotStrides::state to 25"))
        );
        assert!(
            tables
                .check_tails(25)
                .is_err_and(|error| error.to_string().contains("SlotStrides::tail"))
        );
        assert!(RaggedTables::of_slots(28).check_tails(24).is_err());
    }

    #[test]
    fn what_no_launch_can_take_is_refused() {
        let size = |tokens| RaggedPlan::new(&[sequence(tokens, None, None)], 0);
        assert!(size(MOST_BLOCKS * CHUNK).is_ok());
        assert!(matches!(
            size(MOST_BLOCKS * CHUNK + 1),
            Err(RaggedError::Size { chunks: 65_536, .. })
        ));
        assert!(matches!(size(usize::MAX), Err(RaggedError::Size { .. })));
    }
}
