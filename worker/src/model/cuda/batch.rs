//! Windows as the kernels take them: the tokens of all windows one after the other, and lists of integers
//! that say what lies where. The layouts are those of `kernels/encoder.cu`.

use std::ops::Range;

use liquid_cuda::device::Address;

use crate::model::comparison::Comparison;
use crate::model::wordpiece::{ADDED_TOKENS, CLS, SEP};

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
        Self::build(windows.map(|ids| (ids, 0..0)), 0..0, |_| 0..0)
    }

    /// A batch of some windows of a comparison, with their units.
    pub(super) fn with_units(task: &Comparison, run: Range<usize>) -> Self {
        let first = task.units_of(run.start).start;
        let units = first..task.units_of(run.end - 1).end;
        let windows = task.windows().enumerate().skip(run.start).take(run.len());
        Self::build(
            windows.map(|(window, ids)| (ids, task.units_of(window))),
            units,
            |unit| task.unit(unit),
        )
    }

    fn build<'a>(
        windows: impl Iterator<Item = (&'a [u32], Range<usize>)>,
        units: Range<usize>,
        unit: impl Fn(usize) -> Range<usize>,
    ) -> Self {
        let (mut ids, mut places, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tasks, mut of_windows, mut of_units) = (Vec::new(), Vec::new(), Vec::new());
        for (window, its_units) in windows {
            let (start, tokens) = (ids.len(), window.len() + ADDED_TOKENS);
            starts.push(start);
            ids.push(CLS);
            ids.extend(window.iter().map(|id| *id as i32));
            ids.push(SEP);
            places.extend(0..tokens as i32);
            for first in (0..tokens).step_by(QUERIES) {
                tasks.extend([start, tokens, first].map(|x| x as i32));
            }
            let first_unit = its_units.start.saturating_sub(units.start);
            of_windows.extend([start, tokens, first_unit, its_units.len()].map(|x| x as i32));
            // Behind [CLS].
            let rows = its_units
                .map(&unit)
                .map(|range| [start + 1 + range.start, start + 1 + range.end]);
            of_units.extend(rows.flatten().map(|x| x as i32));
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

    /// The rows of each window.
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
}
