//! A batch of sequences of any numbers of rows over pages, planned on the host and written for all layers at once.

use crate::device::{Address, Buffer, Stream};
use crate::error::Error;

/// Tokens of a page.
pub const PAGE: usize = 64;

/// Most rows of a sequence whose attention is split over its keys; more rows are tiles of a prefill.
pub const DECODE_ROWS: usize = 8;

/// Keys of a split: its size never changes, so a row's sums do not depend on its neighbours.
pub(super) const SPLIT: usize = 4 * PAGE;

/// Rows of a tile of a prefill.
pub(super) const TILE: usize = 128;

/// Slot of a row that is not written.
const NO_SLOT: u32 = u32::MAX;

/// Words of the header: decoding sequences, their splits, and two that pad.
const HEADER: usize = 4;

/// The largest batch that tables have room for. It decides where each table lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Rows of all sequences.
    pub rows: usize,
    /// Sequences.
    pub sequences: usize,
    /// Pages of all sequences, one that several share counted for each of them.
    pub pages: usize,
    /// Pages of the pool: page numbers are below.
    pub pool: usize,
    /// Most rows of a sequence that `attend_decode` serves, 1 to [`DECODE_ROWS`]; those of more go to
    /// `attend_prefill`.
    pub decode_rows: usize,
}

impl BatchLimits {
    /// Bytes of the tables.
    pub fn bytes(&self) -> usize {
        size_of::<u32>() * (self.pages_at() + self.pages)
    }

    /// Most splits of decoding sequences.
    pub(super) fn splits(&self) -> usize {
        self.pages.div_ceil(SPLIT / PAGE) + self.sequences
    }

    fn positions_at(&self) -> usize {
        HEADER
    }

    fn slots_at(&self) -> usize {
        self.positions_at() + self.rows.next_multiple_of(4)
    }

    fn sequences_at(&self) -> usize {
        self.slots_at() + self.rows.next_multiple_of(4)
    }

    fn decoding_at(&self) -> usize {
        self.sequences_at() + 4 * self.sequences
    }

    fn tiles_at(&self) -> usize {
        self.decoding_at() + 2 * self.sequences.next_multiple_of(2)
    }

    fn splits_at(&self) -> usize {
        (self.tiles_at() + 2 * (self.rows / TILE + self.sequences)).next_multiple_of(4)
    }

    fn pages_at(&self) -> usize {
        self.splits_at() + 4 * self.splits()
    }
}

/// The rows of a sequence in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchSequence<'a> {
    /// Rows, at least one. Those of all sequences lie behind each other in the order of the sequences.
    pub rows: usize,
    /// Position of the first row: tokens of the sequence whose keys and values are in its pages.
    pub position: usize,
    /// Page numbers of the sequence from its first token on, with room for the new rows. Pages that lie wholly
    /// before the window of every layer may be any.
    pub pages: &'a [u32],
}

/// Tables of a batch, as they will lie in device memory.
#[derive(Clone, Debug)]
pub struct BatchPlan {
    words: Vec<u32>,
    tiles: usize,
    limits: BatchLimits,
}

impl BatchPlan {
    /// Plans a batch. Rows behind those of the sequences, up to the limit, pad: they have position 0 and are
    /// written nowhere, and attention leaves their outputs alone.
    ///
    /// # Errors
    /// [`Error::Unsupported`], with numbers: an empty sequence, more of anything than the limits have, a sequence
    /// with too few pages, or a page that is not in the pool.
    pub fn new(limits: &BatchLimits, sequences: &[BatchSequence<'_>]) -> Result<Self, Error> {
        check(limits, sequences)?;
        let mut words = vec![0; limits.pages_at()];
        let rows = limits.rows;
        words[limits.slots_at()..][..rows].fill(NO_SLOT);
        let (mut row, mut decoding, mut splits, mut tiles) = (0, 0, 0, Vec::new());
        for (number, sequence) in sequences.iter().enumerate() {
            let first_page = words.len() - limits.pages_at();
            words.extend_from_slice(sequence.pages);
            let place = [row, sequence.rows, sequence.position, first_page].map(|word| word as u32);
            words[limits.sequences_at() + 4 * number..][..4].copy_from_slice(&place);
            for offset in 0..sequence.rows {
                let position = sequence.position + offset;
                let slot = sequence.pages[position / PAGE] as usize * PAGE + position % PAGE;
                words[limits.positions_at() + row + offset] = position as u32;
                words[limits.slots_at() + row + offset] = slot as u32;
            }
            if sequence.rows <= limits.decode_rows {
                words[limits.decoding_at() + 2 * decoding..][..2]
                    .copy_from_slice(&[number as u32, splits as u32]);
                decoding += 1;
                for split in 0..(sequence.position + sequence.rows).div_ceil(SPLIT) {
                    let mut place = place;
                    place[1] |= (split as u32) << 8;
                    words[limits.splits_at() + 4 * splits..][..4].copy_from_slice(&place);
                    splits += 1;
                }
            } else {
                let firsts = (0..sequence.rows).step_by(TILE);
                tiles.extend(firsts.map(|first| (sequence.position + first, [number as u32, first as u32])));
            }
            row += sequence.rows;
        }
        words[..2].copy_from_slice(&[decoding as u32, splits as u32]);
        // Those that read the most keys first, so that none of them is left when the others have ended.
        tiles.sort_by_key(|(keys, _)| std::cmp::Reverse(*keys));
        for (number, (_, tile)) in tiles.iter().enumerate() {
            words[limits.tiles_at() + 2 * number..][..2].copy_from_slice(tile);
        }
        Ok(Self {
            words,
            tiles: tiles.len(),
            limits: *limits,
        })
    }

    /// Enqueues writing the tables, whose places depend on the limits alone, to the beginning of a buffer.
    ///
    /// # Errors
    /// [`Error::Extent`]: the buffer is smaller than [`BatchLimits::bytes`] says; [`Error::Driver`].
    pub fn write(&self, stream: &Stream, buffer: &Buffer) -> Result<BatchTables, Error> {
        stream.write(buffer, &self.words)?;
        Ok(BatchTables {
            tiles: self.tiles,
            ..BatchTables::new(&self.limits, buffer.address())
        })
    }
}

fn check(limits: &BatchLimits, sequences: &[BatchSequence<'_>]) -> Result<(), Error> {
    let refuse = |what: String| Err(Error::Unsupported(format!("a batch with {what}")));
    if !(1..=DECODE_ROWS).contains(&limits.decode_rows) {
        return refuse(format!(
            "decode_rows = {}; it is 1 to {DECODE_ROWS}",
            limits.decode_rows
        ));
    }
    let rows: usize = sequences.iter().map(|sequence| sequence.rows).sum();
    let pages: usize = sequences.iter().map(|sequence| sequence.pages.len()).sum();
    for (what, given, most) in [
        ("rows", rows, limits.rows),
        ("sequences", sequences.len(), limits.sequences),
        ("pages", pages, limits.pages),
    ] {
        if given > most {
            return refuse(format!("{given} {what}; its tables have room for {most}"));
        }
    }
    for (number, sequence) in sequences.iter().enumerate() {
        let tokens = sequence.position.saturating_add(sequence.rows);
        if sequence.rows == 0 {
            return refuse(format!("no row of sequence {number}"));
        }
        if tokens.div_ceil(PAGE) > sequence.pages.len() {
            return refuse(format!(
                "{} pages for {tokens} tokens of sequence {number}",
                sequence.pages.len()
            ));
        }
        if let Some(page) = sequence.pages.iter().find(|page| **page as usize >= limits.pool) {
            return refuse(format!(
                "page {page} of sequence {number}; the pool has {}",
                limits.pool
            ));
        }
    }
    Ok(())
}

/// Addresses of the tables of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchTables {
    address: Address,
    pub(super) limits: BatchLimits,
    pub(super) tiles: usize,
}

impl BatchTables {
    /// The tables that lie at an address, for launches of a captured step, whose batches are written later. They
    /// have no tiles: a prefill takes the tables that [`BatchPlan::write`] returns.
    pub fn new(limits: &BatchLimits, address: Address) -> Self {
        Self {
            address,
            limits: *limits,
            tiles: 0,
        }
    }

    /// Address of the rows' positions `[rows]`, u32.
    pub fn positions(&self) -> Address {
        self.at(self.limits.positions_at())
    }

    /// Address of the rows' slots `[rows]`, u32: page times [`PAGE`] and place in it; `u32::MAX` for none.
    pub fn slots(&self) -> Address {
        self.at(self.limits.slots_at())
    }

    /// Address of the header.
    pub(super) fn header(&self) -> Address {
        self.address
    }

    /// Address of the sequences, four words each.
    pub(super) fn sequences(&self) -> Address {
        self.at(self.limits.sequences_at())
    }

    /// Address of the splits, four words each: those of their sequence, with the split's number in the upper 24 bits
    /// of the rows.
    pub(super) fn splits(&self) -> Address {
        self.at(self.limits.splits_at())
    }

    /// Address of the decoding sequences, two words each: number and first split.
    pub(super) fn decoding(&self) -> Address {
        self.at(self.limits.decoding_at())
    }

    /// Address of the tiles, two words each: sequence and first row.
    pub(super) fn tile_list(&self) -> Address {
        self.at(self.limits.tiles_at())
    }

    /// Address of the page numbers.
    pub(super) fn pages(&self) -> Address {
        self.at(self.limits.pages_at())
    }

    fn at(&self, words: usize) -> Address {
        self.address.offset(size_of::<u32>() * words)
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "a failed plan fails its test")]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits {
        rows: 300,
        sequences: 4,
        pages: 20,
        pool: 50,
        decode_rows: 2,
    };

    fn sequence(rows: usize, position: usize, pages: &[u32]) -> BatchSequence<'_> {
        BatchSequence {
            rows,
            position,
            pages,
        }
    }

    #[test]
    fn every_row_has_its_place_and_the_rest_none() {
        let plan = BatchPlan::new(
            &LIMITS,
            &[sequence(2, 63, &[7, 3]), sequence(130, 1, &[9, 8, 40])],
        )
        .expect("the batch fits");
        let table = |at: usize, count: usize| plan.words[at..][..count].to_vec();
        assert_eq!(table(0, 2), [1, 1]);
        assert_eq!(table(LIMITS.positions_at(), 4), [63, 64, 1, 2]);
        assert_eq!(table(LIMITS.slots_at(), 3), [7 * 64 + 63, 3 * 64, 9 * 64 + 1]);
        assert_eq!(table(LIMITS.slots_at() + 132, 1), [NO_SLOT]);
        assert_eq!(table(LIMITS.sequences_at(), 8), [0, 2, 63, 0, 2, 130, 1, 2]);
        assert_eq!(table(LIMITS.decoding_at(), 2), [0, 0]);
        assert_eq!(table(LIMITS.splits_at(), 4), [0, 2, 63, 0]);
        // The later tile reads more keys.
        assert_eq!((plan.tiles, table(LIMITS.tiles_at(), 4)), (2, vec![1, 128, 1, 0]));
        assert_eq!(table(LIMITS.pages_at(), 5), [7, 3, 9, 8, 40]);
    }

    #[test]
    fn what_has_no_room_is_refused_with_its_number() {
        let refused = |sequences: &[BatchSequence<'_>]| {
            BatchPlan::new(&LIMITS, sequences).map_or_else(|error| error.to_string(), |_| "taken".to_owned())
        };
        assert!(refused(&[sequence(0, 0, &[1])]).contains("no row of sequence 0"));
        assert!(refused(&[sequence(1, 64, &[1])]).contains("1 pages for 65 tokens"));
        assert!(refused(&[sequence(1, 0, &[50])]).contains("page 50"));
        assert!(refused(&[sequence(301, 0, &[1; 6])]).contains("301 rows"));
        assert!(refused(&[sequence(1, 0, &[1]); 5]).contains("5 sequences"));
        assert!(refused(&[sequence(1, 0, &[1; 21])]).contains("21 pages"));
    }
}
