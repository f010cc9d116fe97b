//! How windows are put into batches for a device that has little else to do than read: how many at a time,
//! with buffers of which sizes, and what happens when its memory does not suffice. Pure, so that it is tested
//! without one.

use std::ops::Range;

/// The smallest size of a buffer, in rows; what is smaller takes as long.
const LEAST_ROWS: usize = 128;

/// Returns the rows of the buffers for a batch of `tokens`: 128, 192, 256, 384, 512 and so on. Few sizes, so
/// that all of them are prepared at the start; at most a third of a batch is padding.
pub(super) fn rows(tokens: usize) -> usize {
    let power = tokens.next_power_of_two().max(LEAST_ROWS);
    if power > LEAST_ROWS && tokens <= power / 4 * 3 {
        power / 4 * 3
    } else {
        power
    }
}

/// Returns all sizes up to that of a batch of `most` tokens, smallest first.
pub(super) fn all_rows(most: usize) -> impl Iterator<Item = usize> {
    let next = |rows: &usize| Some(self::rows(rows + 1));
    std::iter::successors(Some(LEAST_ROWS), next).take_while(move |size| *size <= rows(most))
}

/// Why a batch failed.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// The device's memory does not suffice; a smaller batch may work.
    Memory,
    /// The device failed otherwise.
    Other(E),
}

/// Why windows could not be run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stopped<E> {
    /// Even this batch of tokens was too much for the device's memory.
    Memory(usize),
    /// The device failed otherwise.
    Other(E),
}

/// Runs neighbouring windows in batches of at most `most` tokens, or one window. Where the device's memory
/// does not suffice the batch is halved, and those after it are as small; one window alone that does not fit
/// ends it.
pub(super) fn run<E>(
    lengths: &[usize],
    most: usize,
    mut work: impl FnMut(Range<usize>) -> Result<(), Failure<E>>,
) -> Result<(), Stopped<E>> {
    let (mut start, mut most) = (0, most);
    while start < lengths.len() {
        let end = end_of_batch(lengths, start, most);
        let tokens: usize = lengths[start..end].iter().sum();
        match work(start..end) {
            Ok(()) => start = end,
            Err(Failure::Other(error)) => return Err(Stopped::Other(error)),
            Err(Failure::Memory) if end - start == 1 => return Err(Stopped::Memory(tokens)),
            Err(Failure::Memory) => most = tokens / 2,
        }
    }
    Ok(())
}

fn end_of_batch(lengths: &[usize], start: usize, most: usize) -> usize {
    let mut tokens = lengths[start];
    let fits = |length: &&usize| {
        tokens += **length;
        tokens <= most
    };
    start + 1 + lengths[start + 1..].iter().take_while(fits).count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    type Outcome = Result<(), Stopped<&'static str>>;

    /// Runs windows on a device that takes at most `memory` tokens, and returns the batches that it ran.
    fn on_a_device_of(memory: usize, lengths: &[usize], most: usize) -> (Vec<Range<usize>>, Outcome) {
        let mut ran = Vec::new();
        let outcome = run(lengths, most, |batch| {
            if lengths[batch.clone()].iter().sum::<usize>() > memory {
                return Err(Failure::Memory);
            }
            ran.push(batch);
            Ok(())
        });
        (ran, outcome)
    }

    #[test]
    fn a_batch_that_does_not_fit_is_halved_and_the_next_ones_are_small_from_the_start() {
        let lengths = [100; 16];
        let mut asked = Vec::new();
        let outcome: Outcome = run(&lengths, 1600, |batch| {
            asked.push(batch.len());
            if batch.len() > 5 {
                Err(Failure::Memory)
            } else {
                Ok(())
            }
        });
        assert_eq!(outcome, Ok(()));
        assert_eq!(asked, [16, 8, 4, 4, 4, 4]);
    }

    #[test]
    fn a_window_that_does_not_fit_alone_ends_the_work_with_its_size() {
        let (ran, outcome) = on_a_device_of(90, &[40, 40, 100, 10], 1000);
        assert_eq!((ran.len(), ran.first()), (1, Some(&(0..2))));
        assert_eq!(outcome, Err(Stopped::Memory(100)));
    }

    #[test]
    fn another_failure_is_not_tried_again() {
        let mut tries = 0;
        let outcome = run(&[1, 1], 10, |_| {
            tries += 1;
            Err(Failure::Other("broken"))
        });
        assert_eq!((outcome, tries), (Err(Stopped::Other("broken")), 1));
    }

    #[test]
    fn sizes_of_buffers_are_few_and_close() {
        let sizes: Vec<usize> = all_rows(32_768).collect();
        assert_eq!(sizes[..5], [128, 192, 256, 384, 512]);
        assert_eq!((sizes.len(), sizes.last()), (17, Some(&32_768)));
        for tokens in 1..=32_768 {
            let rows = rows(tokens);
            assert!(sizes.contains(&rows) && rows >= tokens && (rows == 128 || rows * 2 < tokens * 3 + 3));
        }
    }

    proptest! {
        #[test]
        fn every_window_runs_once_in_order_whatever_the_memory(
            lengths in proptest::collection::vec(1_usize..600, 0..60),
            memory in 600_usize..4000,
            most in 1_usize..8000,
        ) {
            let (ran, outcome) = on_a_device_of(memory, &lengths, most);
            prop_assert_eq!(outcome, Ok(()));
            let ran: Vec<usize> = ran.into_iter().flatten().collect();
            prop_assert_eq!(ran, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
