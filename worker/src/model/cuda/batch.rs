//! Windows as the kernels take them: the tokens of all windows one after the other, and lists of integers
//! that say what lies where. The layouts are those of `kernels/encoder.cu`.

use std::ops::Range;

use liquid_cuda::device::Address;

use crate::model::comparison::Comparison;
use crate::model::wordpiece::{CLS, SEP};

/// Queries of a block of the kernel `attend`; its constant QUERIES.
const QUERIES: usize = 80;

/// A batch, ready to be copied to the device.
pub(super) struct Batch {
    /// Tokens of all windows, `[CLS]` and `[SEP]` included.
    pub(super) tokens: usize,
    /// Units of the comparison that the batch holds.
    pub(super) units: Range<usize>,
    /// Blocks of `attend`, for each head.
    pub(super) tasks: usize,
    /// First token of each window, and the end of the last.
    starts: Vec<usize>,
    /// The five lists one after the other: vocabulary ids, positions, tasks, windows, units.
    pub(super) integers: Vec<i32>,
    /// Index of the first position.
    places_at: usize,
    /// Index of the first task.
    tasks_at: usize,
    /// Index of the first window.
    windows_at: usize,
    /// Index of the first unit.
    units_at: usize,
}

/// A window with what stands before it, each part a segment of its own, and its units.
struct Row<'a, const PARTS: usize> {
    parts: [&'a [u32]; PARTS],
    units: Range<usize>,
}

/// Addresses of a batch's lists.
#[derive(Clone, Copy)]
pub(super) struct Lists {
    pub(super) ids: Address,
    pub(super) places: Address,
    pub(super) tasks: Address,
    pub(super) windows: Address,
    pub(super) units: Address,
}

impl Batch {
    /// A batch of windows without units.
    pub(super) fn of_windows<'a>(windows: impl Iterator<Item = &'a [u32]>) -> Self {
        let rows = windows.map(|ids| Row {
            parts: [ids],
            units: 0..0,
        });
        Self::build(rows, 0..0, 0, |_| 0..0)
    }

    /// A batch of windows, each behind a question. What is of the second segment has the embeddings of its
    /// places `places` rows further down.
    pub(super) fn of_pairs<'a>(
        question: &'a [u32],
        windows: impl Iterator<Item = &'a [u32]>,
        places: usize,
    ) -> Self {
        let rows = windows.map(|ids| Row {
            parts: [question, ids],
            units: 0..0,
        });
        Self::build(rows, 0..0, places, |_| 0..0)
    }

    /// A batch of some windows of a comparison, with their units.
    pub(super) fn with_units(task: &Comparison, run: Range<usize>) -> Self {
        let first = task.units_of(run.start).start;
        let units = first..task.units_of(run.end - 1).end;
        let windows = task.windows().enumerate().skip(run.start).take(run.len());
        let rows = windows.map(|(window, ids)| Row {
            parts: [ids],
            units: task.units_of(window),
        });
        Self::build(rows, units, 0, |unit| task.unit(unit))
    }

    fn build<'a, const PARTS: usize>(
        rows: impl Iterator<Item = Row<'a, PARTS>>,
        units: Range<usize>,
        second_places: usize,
        unit: impl Fn(usize) -> Range<usize>,
    ) -> Self {
        let (mut ids, mut places, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tasks, mut of_windows, mut of_units) = (Vec::new(), Vec::new(), Vec::new());
        for Row {
            parts,
            units: its_units,
        } in rows
        {
            let start = ids.len();
            starts.push(start);
            ids.push(CLS);
            places.push(0);
            for (segment, part) in parts.into_iter().enumerate() {
                ids.extend(part.iter().map(|id| *id as i32));
                ids.push(SEP);
                let place = |at: usize| (segment * second_places + at - start) as i32;
                places.extend((places.len()..ids.len()).map(place));
            }
            let tokens = ids.len() - start;
            for first in (0..tokens).step_by(QUERIES) {
                tasks.extend([start, tokens, first].map(|x| x as i32));
            }
            let first_unit = its_units.start.saturating_sub(units.start);
            of_windows.extend([start, tokens, first_unit, its_units.len()].map(|x| x as i32));
            // Behind [CLS].
            let of_row = its_units
                .map(&unit)
                .map(|range| [start + 1 + range.start, start + 1 + range.end]);
            of_units.extend(of_row.flatten().map(|x| x as i32));
        }
        let tokens = ids.len();
        starts.push(tokens);
        let tasks_at = 2 * tokens;
        let windows_at = tasks_at + tasks.len();
        let units_at = windows_at + of_windows.len();
        let blocks = tasks.len() / 3;
        let integers = [ids, places, tasks, of_windows, of_units].concat();
        Self {
            tokens,
            units,
            tasks: blocks,
            starts,
            integers,
            places_at: tokens,
            tasks_at,
            windows_at,
            units_at,
        }
    }

    /// Number of windows.
    pub(super) fn windows(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of each window, those of a question before it included.
    pub(super) fn rows_of_windows(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.starts.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Addresses of the lists, given that of the integers.
    pub(super) fn lists(&self, integers: Address) -> Lists {
        let at = |index: usize| integers.offset(index * size_of::<i32>());
        Lists {
            ids: integers,
            places: at(self.places_at),
            tasks: at(self.tasks_at),
            windows: at(self.windows_at),
            units: at(self.units_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_say_what_lies_where() {
        let mut task = Comparison::new(vec![1], 1);
        task.push(&[7; 3], [0..1, 1..3].into_iter());
        task.push(&[8; 90], [0..40, 40..90].into_iter());
        task.push(&[9], std::iter::once(0..1));
        let batch = Batch::with_units(&task, 1..3);
        assert_eq!(
            (batch.tokens, batch.windows(), batch.tasks, batch.units.clone()),
            (95, 2, 3, 2..5)
        );
        const BASE: u64 = 4096;
        let lists = batch.lists(Address::new(BASE));
        let from = |address: Address, count: usize| {
            let start = (address.get() - BASE) as usize / 4;
            &batch.integers[start..start + count]
        };
        assert_eq!(
            (batch.integers[0], batch.integers[1], batch.integers[91]),
            (CLS, 8, SEP)
        );
        assert_eq!(from(lists.ids.offset(4 * 92), 3), [CLS, 9, SEP]);
        assert_eq!(
            (from(lists.places, 2), from(lists.places.offset(4 * 92), 3)),
            (&[0, 1][..], &[0, 1, 2][..])
        );
        assert_eq!(from(lists.tasks, 9), [0, 92, 0, 0, 92, 80, 92, 3, 0]);
        assert_eq!(from(lists.windows, 8), [0, 92, 0, 2, 92, 3, 2, 1]);
        assert_eq!(from(lists.units, 6), [1, 41, 41, 91, 93, 94]);
        assert_eq!(batch.rows_of_windows().collect::<Vec<_>>(), [0..92, 92..95]);
    }

    #[test]
    fn a_pair_has_the_places_of_the_second_segment_behind_the_question() {
        let windows: [&[u32]; 2] = [&[7, 8], &[9]];
        let batch = Batch::of_pairs(&[5, 6], windows.into_iter(), 100);
        let (ids, rest) = batch.integers.split_at(batch.tokens);
        assert_eq!(ids, [CLS, 5, 6, SEP, 7, 8, SEP, CLS, 5, 6, SEP, 9, SEP]);
        assert_eq!(
            rest[..batch.tokens],
            [0, 1, 2, 3, 104, 105, 106, 0, 1, 2, 3, 104, 105]
        );
        assert_eq!(batch.rows_of_windows().collect::<Vec<_>>(), [0..7, 7..13]);
    }
}
