//! States of the gated delta rule in device memory, and which of them a pass reads and writes.

#![allow(
    unsafe_code,
    reason = "copies slots on the device; see Safety in `crate::cuda`"
)]

use liquid_cuda::Error;
use liquid_cuda::device::{Address, Buffer, Context, Stream};
use liquid_cuda::rule::CHUNK;
use liquid_cuda::rule::ragged::{RaggedPlan, RaggedSequence, RaggedTables, SlotStrides, Snapshot};

use super::super::pages::Piece;
use super::super::states::StateShape;
use super::Capacity;
use crate::config::GatedDelta;

/// Bytes of which a table's place is a multiple.
const ALIGNMENT: usize = 16;

/// Slots for what the layers of the gated delta rule remember of sequences.
#[derive(Debug)]
pub(crate) struct CudaStates {
    shape: StateShape,
    delta: GatedDelta,
    context: Context,
    stream: Stream,
    /// `[slots, layers, value_heads, key_width, value_width]`, f32.
    heads: Buffer,
    /// Rows before the convolution, `[slots, layers, kernel - 1, channels]`, bf16.
    tails: Buffer,
    /// Tables of the pass that runs.
    tables: Buffer,
    /// Slots of sequences that have read nothing: what is in their memory does not count.
    fresh: Vec<bool>,
    whole: bool,
}

/// What a pass does in the layers of the gated delta rule, the same in each of them.
#[derive(Clone, Debug)]
pub(crate) struct Recurrence {
    pub(crate) delta: GatedDelta,
    pub(crate) place: StatesPlace,
    pub(crate) rows: RecurrentRows,
}

/// The rows of a pass.
#[derive(Clone, Debug)]
pub(crate) enum RecurrentRows {
    /// One row of every sequence.
    Single(RaggedTables),
    /// Any rows, in parts that run one after the other. A part of a sequence ends where a copy of its states is wanted.
    Parts(Vec<RaggedTables>),
}

/// Addresses of the memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatesPlace {
    heads: Address,
    tails: Address,
    /// Bytes of a layer in a slot.
    layer_heads: usize,
    layer_tail: usize,
}

/// What a layer remembers, in the slots of all sequences.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerStates {
    pub(crate) heads: Address,
    pub(crate) tails: Address,
}

impl StatesPlace {
    /// Returns a layer's part of the first slot; the other slots follow in the strides of the tables.
    pub(crate) fn layer(&self, index: usize) -> LayerStates {
        LayerStates {
            heads: self.heads.offset(index * self.layer_heads),
            tails: self.tails.offset(index * self.layer_tail),
        }
    }
}

/// Returns the bytes of a layer's states in a slot.
fn head_bytes(delta: GatedDelta) -> usize {
    delta.value_heads * delta.head_state() * size_of::<f32>()
}

/// Returns the bytes of what a layer's convolution keeps in a slot.
fn tail_bytes(delta: GatedDelta) -> usize {
    delta.tail() * size_of::<u16>()
}

/// Returns the bytes of a slot.
pub(crate) fn slot_bytes(shape: StateShape) -> usize {
    let layer = |delta| head_bytes(delta) + tail_bytes(delta);
    shape.layers * shape.delta.map_or(0, layer)
}

/// Returns the bytes that the tables of a pass take at most. A copy of states is at the end of a page, so there are at most as
/// many as there are pages and sequences, and one part more of each sequence. A captured step has more rows than sequences.
fn table_bytes(capacity: Capacity) -> usize {
    let Capacity {
        rows,
        sequences,
        wanted,
    } = capacity;
    let copies = rows / CHUNK + sequences;
    let parts = (copies + sequences)
        .max(sequences.next_multiple_of(CHUNK))
        .max(wanted);
    let chunks = rows / CHUNK + parts;
    32 * parts + size_of::<u32>() * chunks + ALIGNMENT * parts
}

impl CudaStates {
    /// Takes the memory.
    pub(crate) fn new(
        context: &Context,
        stream: &Stream,
        shape: StateShape,
        delta: GatedDelta,
        capacity: Capacity,
    ) -> Result<Self, Error> {
        let layers = shape.slots * shape.layers;
        Ok(Self {
            shape,
            delta,
            heads: context.allocate(layers * head_bytes(delta))?,
            tails: context.allocate(layers * tail_bytes(delta))?,
            tables: context.allocate(table_bytes(capacity))?,
            context: context.clone(),
            stream: stream.clone(),
            fresh: vec![true; shape.slots],
            whole: true,
        })
    }

    pub(crate) fn shape(&self) -> StateShape {
        self.shape
    }

    /// Whether no failure of the device has lost what the slots hold.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Makes a slot that of a sequence which has not begun.
    pub(crate) fn clear(&mut self, slot: u32) {
        self.set_fresh(slot, true);
    }

    /// Makes the slot `to` what `from` is, when all passes before have ended.
    pub(crate) fn copy(&mut self, from: u32, to: u32) {
        let fresh = self.fresh.get(from as usize).copied().unwrap_or(true);
        self.set_fresh(to, fresh);
        self.whole &= fresh || self.enqueue_copy(from, to).is_ok();
    }

    fn enqueue_copy(&self, from: u32, to: u32) -> Result<(), Error> {
        let slots = self.shape.slots;
        if from.max(to) as usize >= slots {
            return Err(Error::Unsupported(format!(
                "a copy from slot {from} to slot {to} of {slots}"
            )));
        }
        self.context.bind()?;
        let (from, to) = (from as usize, to as usize);
        for (buffer, layer) in [
            (&self.heads, head_bytes(self.delta)),
            (&self.tails, tail_bytes(self.delta)),
        ] {
            let (bytes, address) = (self.shape.layers * layer, buffer.address());
            // SAFETY: both slots are the buffer's, which lives until the stream has passed: see Safety in `crate::cuda`.
            unsafe {
                self.stream
                    .copy(address.offset(to * bytes), address.offset(from * bytes), bytes)?;
            }
        }
        Ok(())
    }

    fn set_fresh(&mut self, slot: u32, fresh: bool) {
        if let Some(own) = self.fresh.get_mut(slot as usize) {
            *own = fresh;
        }
    }

    /// Plans a pass over the rows of some sequences, and writes its tables; `rows` counts those that pad, too.
    pub(crate) fn plan(&mut self, pieces: &[Piece<'_>], rows: usize) -> Result<Recurrence, Error> {
        let parts: Vec<Vec<Part>> = pieces.iter().map(|piece| self.parts(piece)).collect();
        for slot in parts.iter().flatten().flat_map(Part::written) {
            self.set_fresh(slot, false);
        }
        if pieces.iter().all(|piece| piece.rows == 1) {
            let sequences = parts.iter().flatten().map(|part| part.after(0)).collect();
            return self.single(sequences, rows);
        }
        let count = parts.iter().map(Vec::len).max().unwrap_or(0);
        let (mut tables, mut offset) = (Vec::with_capacity(count), 0);
        for number in 0..count {
            let plan = self.ragged(&together(pieces, &parts, number))?;
            tables.push(plan.write_at(&self.stream, &self.tables, offset, self.strides())?);
            offset += plan.bytes().next_multiple_of(ALIGNMENT);
        }
        Ok(self.recurrence(RecurrentRows::Parts(tables)))
    }

    /// Plans a step of single tokens in which some rows are of sequences, and the others pad.
    pub(crate) fn single(
        &self,
        mut sequences: Vec<RaggedSequence>,
        rows: usize,
    ) -> Result<Recurrence, Error> {
        let padding = RaggedSequence {
            tokens: 1,
            ..RaggedSequence::default()
        };
        sequences.resize(rows.max(sequences.len()), padding);
        let plan = self.ragged(&sequences)?;
        let tables = plan.write(&self.stream, &self.tables, self.strides())?;
        Ok(self.recurrence(RecurrentRows::Single(tables)))
    }

    /// Plans a pass over a sequence of so many rows that is not remembered.
    pub(crate) fn forgotten(&self, rows: usize) -> Result<Recurrence, Error> {
        let sequence = RaggedSequence {
            tokens: rows,
            ..RaggedSequence::default()
        };
        let plan = self.ragged(&[sequence])?;
        let tables = plan.write(&self.stream, &self.tables, self.strides())?;
        Ok(self.recurrence(RecurrentRows::Parts(vec![tables])))
    }

    fn ragged(&self, sequences: &[RaggedSequence]) -> Result<RaggedPlan, Error> {
        let plan = RaggedPlan::new(sequences, self.shape.slots);
        plan.map_err(|error| Error::Unsupported(error.to_string()))
    }

    fn strides(&self) -> SlotStrides {
        let layers = self.shape.layers;
        SlotStrides {
            state: layers * self.delta.value_heads * self.delta.head_state(),
            tail: layers * self.delta.tail(),
        }
    }

    fn recurrence(&self, rows: RecurrentRows) -> Recurrence {
        Recurrence {
            delta: self.delta,
            place: StatesPlace {
                heads: self.heads.address(),
                tails: self.tails.address(),
                layer_heads: head_bytes(self.delta),
                layer_tail: tail_bytes(self.delta),
            },
            rows,
        }
    }

    /// Returns the parts of a sequence's rows.
    fn parts(&self, piece: &Piece<'_>) -> Vec<Part> {
        let Some(state) = piece.state else {
            return Vec::new();
        };
        let copies = state.snapshots.iter().filter_map(|snapshot| {
            let after = snapshot.position.checked_sub(piece.first)?;
            Some(Copy {
                after,
                slot: snapshot.slot,
            })
        });
        let fresh = self.fresh.get(state.slot as usize).copied().unwrap_or(true);
        parts(piece.rows, state.slot, fresh, copies.collect())
    }
}

/// A copy of a sequence's states that is wanted after some rows of a pass.
#[derive(Clone, Copy, Debug)]
struct Copy {
    after: usize,
    slot: u32,
}

/// Rows of a sequence that are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    start: usize,
    end: usize,
    /// None of a sequence that begins.
    from: Option<u32>,
    to: u32,
    /// Rows from the start on after which a copy is taken, and its slot.
    copy: Option<(usize, u32)>,
}

impl Part {
    /// Returns the slots that are written.
    fn written(&self) -> impl Iterator<Item = u32> + use<> {
        [Some(self.to), self.copy.map(|(_, slot)| slot)]
            .into_iter()
            .flatten()
    }

    /// Returns the part behind so many rows that are left out.
    fn after(&self, skip: usize) -> RaggedSequence {
        RaggedSequence {
            skip,
            tokens: self.end - self.start,
            from: self.from.map(|slot| slot as usize),
            to: Some(self.to as usize),
            snapshot: self.copy.map(|(after, slot)| Snapshot {
                after,
                slot: slot as usize,
            }),
        }
    }
}

/// Cuts a sequence's rows where copies of its states are wanted. A part leaves up to two: one in its middle, if that is
/// the end of a chunk, and one as its last state, from which the next part goes on. Only the last part writes the
/// sequence's own slot.
fn parts(rows: usize, own: u32, fresh: bool, mut copies: Vec<Copy>) -> Vec<Part> {
    copies.retain(|copy| (1..=rows).contains(&copy.after));
    copies.sort_by_key(|copy| copy.after);
    let mut copies = copies.into_iter().peekable();
    let mut parts = Vec::new();
    let (mut start, mut from) = (0, (!fresh).then_some(own));
    while start < rows {
        let ends = |copy: &Copy| copy.after == rows;
        let middle = copies.next_if(|copy| ends(copy) || (copy.after - start).is_multiple_of(CHUNK));
        // At the end of all rows a copy and the sequence's own state are wanted.
        let last = match middle.is_some_and(|copy| ends(&copy)) {
            true => None,
            false => copies.next_if(|copy| !ends(copy)),
        };
        let (middle, last) = match (middle, last, copies.peek()) {
            // The end's copy takes the place of the one in the middle.
            (Some(middle), None, Some(_)) => (None, Some(middle)),
            other => (other.0, other.1),
        };
        let end = last.map_or(rows, |copy| copy.after);
        let to = last.map_or(own, |copy| copy.slot);
        parts.push(Part {
            start,
            end,
            from,
            to,
            copy: middle.map(|copy| (copy.after - start, copy.slot)),
        });
        (start, from) = (end, Some(to));
    }
    parts
}

/// Returns the parts of one number of all sequences, as a batch.
fn together(pieces: &[Piece<'_>], parts: &[Vec<Part>], number: usize) -> Vec<RaggedSequence> {
    let mut sequences = Vec::new();
    // Of all rows: where the piece begins, and where the last part ended.
    let (mut first, mut end) = (0, 0);
    for (piece, parts) in pieces.iter().zip(parts) {
        if let Some(part) = parts.get(number) {
            sequences.push(part.after(first + part.start - end));
            end = first + part.end;
        }
        first += piece.rows;
    }
    sequences
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 9;

    /// Start, end, slots before and after, and copy of every part.
    type Summary = (usize, usize, Option<u32>, u32, Option<(usize, u32)>);

    fn cut(rows: usize, fresh: bool, copies: &[(usize, u32)]) -> Vec<Summary> {
        let copies = copies.iter().map(|(after, slot)| Copy {
            after: *after,
            slot: *slot,
        });
        let parts = parts(rows, OWN, fresh, copies.collect());
        let summary = |part: &Part| (part.start, part.end, part.from, part.to, part.copy);
        parts.iter().map(summary).collect()
    }

    #[test]
    fn rows_without_copies_are_one_part() {
        assert_eq!(cut(100, false, &[]), [(0, 100, Some(OWN), OWN, None)]);
        assert_eq!(cut(1, true, &[]), [(0, 1, None, OWN, None)]);
        // Behind the rows, or before them.
        assert_eq!(cut(50, true, &[(64, 1), (0, 2)]), [(0, 50, None, OWN, None)]);
    }

    #[test]
    fn a_part_leaves_a_copy_in_its_middle_or_at_its_end() {
        assert_eq!(cut(100, true, &[(64, 1)]), [(0, 100, None, OWN, Some((64, 1)))]);
        assert_eq!(cut(64, true, &[(64, 1)]), [(0, 64, None, OWN, Some((64, 1)))]);
        assert_eq!(
            cut(200, true, &[(128, 2), (64, 1)]),
            [(0, 128, None, 2, Some((64, 1))), (128, 200, Some(2), OWN, None)]
        );
        assert_eq!(
            cut(128, true, &[(64, 1), (128, 2)]),
            [(0, 64, None, 1, None), (64, 128, Some(1), OWN, Some((64, 2)))]
        );
        // Not at the end of a chunk of these rows.
        assert_eq!(
            cut(100, false, &[(27, 1), (91, 2)]),
            [
                (0, 27, Some(OWN), 1, None),
                (27, 100, Some(1), OWN, Some((64, 2)))
            ]
        );
    }

    #[test]
    fn every_copy_is_taken_once_and_every_row_read_once() {
        for rows in [1, 63, 64, 65, 640, 1000] {
            for first in [0, 27, 64] {
                let ends = (1..=rows / 64 + 1).map(|page: usize| page * 64);
                let copies: Vec<(usize, u32)> = ends
                    .filter_map(|end| Some((end.checked_sub(first)?, 100 + end as u32)))
                    .filter(|(after, _)| (1..=rows).contains(after))
                    .collect();
                let parts = cut(rows, true, &copies);
                let mut taken: Vec<(usize, u32)> = Vec::new();
                let mut read = 0;
                for (start, end, _, to, copy) in &parts {
                    assert_eq!(*start, read);
                    assert!(end > start);
                    read = *end;
                    taken.extend(copy.map(|(after, slot)| (start + after, slot)));
                    taken.extend((*to != OWN).then_some((*end, *to)));
                }
                assert_eq!(taken, copies, "{rows} rows from {first}");
                assert_eq!(read, rows);
                assert_eq!(parts.last().map(|part| part.3), Some(OWN));
                assert!(parts.len() <= copies.len() / 2 + 2);
            }
        }
    }

    #[test]
    fn parts_of_one_number_lie_where_their_rows_do() {
        let piece = |rows| Piece {
            rows,
            first: 0,
            pages: &[],
            state: None,
        };
        let copy = |after, slot| Copy { after, slot };
        let parts = [
            parts(100, 0, true, vec![copy(27, 5)]),
            parts(30, 1, false, Vec::new()),
            parts(70, 2, true, vec![copy(10, 6)]),
        ];
        let places = |number| {
            let mut row = 0;
            let sequences = together(&[piece(100), piece(30), piece(70)], &parts, number);
            let place = |sequence: RaggedSequence| {
                row += sequence.skip + sequence.tokens;
                (row - sequence.tokens, sequence.tokens, sequence.to)
            };
            sequences.into_iter().map(place).collect::<Vec<_>>()
        };
        assert_eq!(
            places(0),
            [(0, 27, Some(5)), (100, 30, Some(1)), (130, 10, Some(6))]
        );
        assert_eq!(places(1), [(27, 73, Some(0)), (140, 60, Some(2))]);
    }
}
