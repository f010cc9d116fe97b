//! The states of a hybrid's sequences: where copies are kept, and how a sequence takes one over.

use super::pool::Known;
use super::{KvCache, PAGE_TOKENS, Sequence};
use crate::ops::{Snapshot, StatePlace};

/// The states of a sequence.
#[derive(Debug)]
pub(super) struct SequenceStates {
    slot: u32,
    /// Positions at which copies are still to be kept: ends of pages, in order.
    keep: Vec<usize>,
    /// Copies that the pass takes which is running.
    taking: Vec<Snapshot>,
}

impl SequenceStates {
    /// Has a copy kept at the end of a page.
    pub(super) fn keep(&mut self, position: usize) {
        if let Err(place) = self.keep.binary_search(&position) {
            self.keep.insert(place, position);
        }
    }

    /// Returns where the states are during a pass.
    pub(super) fn place(&self) -> StatePlace<'_> {
        StatePlace {
            slot: self.slot,
            snapshots: &self.taking,
        }
    }

    /// Returns the slot of the copy that was taken at a position.
    pub(super) fn taken(&mut self, position: usize) -> Option<u32> {
        self.keep.retain(|kept| *kept != position);
        let index = self.taking.iter().position(|copy| copy.position == position)?;
        Some(self.taking.remove(index).slot)
    }
}

/// Returns where copies are kept of a prompt's states: at the last end of a page before its last token, and 1, 2, 4, 8 and
/// so on pages before.
fn positions(prompt_tokens: usize) -> Vec<usize> {
    let last = prompt_tokens.saturating_sub(1) / PAGE_TOKENS;
    let distances = std::iter::successors(Some(1_usize), |distance| distance.checked_mul(2));
    let pages = std::iter::once(0)
        .chain(distances)
        .map_while(|distance| last.checked_sub(distance).filter(|page| *page > 0));
    let mut positions: Vec<usize> = pages.map(|page| page * PAGE_TOKENS).collect();
    positions.reverse();
    positions
}

impl KvCache {
    /// Returns those of the pages that can be taken over: all, or of a hybrid those up to the last copy of its states.
    pub(super) fn reachable<'a>(&self, known: &'a [Known]) -> &'a [Known] {
        if self.memory.states.shape().delta.is_none() {
            return known;
        }
        let copied = known.iter().rposition(|page| self.states.holds(page.prefix));
        known
            .get(..copied.map_or(0, |index| index + 1))
            .unwrap_or_default()
    }

    /// Begins the states of a sequence that takes over some pages of its prompt; none if no slot is left.
    pub(super) fn begin_states(&mut self, prompt: &[u32], found: &[Known]) -> Option<SequenceStates> {
        let from = found.last().and_then(|page| self.states.find(page.prefix));
        let slot = self.states.take()?;
        match from {
            // The only copy that could make room: it is in its place already.
            Some(from) if from == slot => {}
            Some(from) => self.memory.states.copy(from, slot),
            None => self.memory.states.clear(slot),
        }
        let mut keep = positions(prompt.len());
        keep.retain(|position| *position > found.len() * PAGE_TOKENS);
        Some(SequenceStates {
            slot,
            keep,
            taking: Vec::new(),
        })
    }

    /// Takes over the states at the end of pages that were taken over.
    pub(super) fn take_over_states(&mut self, sequence: &mut Sequence, found: &[Known]) {
        let from = found.last().and_then(|page| self.states.find(page.prefix));
        if let (Some(states), Some(from)) = (&mut sequence.states, from) {
            self.memory.states.copy(from, states.slot);
            let length = sequence.length;
            states.keep.retain(|position| *position > length);
        }
    }

    /// Takes slots for the copies that a pass over further tokens leaves. Where there is none, no copy is kept.
    pub(super) fn plan_snapshots(&mut self, sequence: &mut Sequence, tokens: usize) {
        let end = sequence.length + tokens;
        let Some(states) = &mut sequence.states else {
            return;
        };
        for position in states.keep.iter().take_while(|position| **position <= end) {
            let planned = states.taking.iter().any(|copy| copy.position == *position);
            let slot = match planned {
                true => None,
                false => self.states.take(),
            };
            states.taking.extend(slot.map(|slot| Snapshot {
                position: *position,
                slot,
            }));
        }
        // What an earlier pass that failed has planned beyond this one.
        let beyond = states.taking.extract_if(.., |copy| copy.position > end);
        beyond.for_each(|copy| self.states.give_back(copy.slot));
    }

    /// Gives the slots of a sequence back.
    pub(super) fn release_states(&mut self, states: Option<SequenceStates>) {
        let Some(states) = states else {
            return;
        };
        self.states.give_back(states.slot);
        for copy in states.taking {
            self.states.give_back(copy.slot);
        }
    }

    #[cfg(test)]
    pub(in crate::model) fn check_states(&self, sequences: &[&Sequence]) -> usize {
        let slots = sequences.iter().filter_map(|sequence| sequence.states.as_ref());
        self.states
            .check(&slots.map(|states| states.slot).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_at_doubling_distances_from_the_end_of_a_prompt() {
        let pages = |tokens| {
            positions(tokens)
                .into_iter()
                .map(|position| position / 64)
                .collect::<Vec<_>>()
        };
        assert_eq!(pages(0), [0; 0]);
        assert_eq!(pages(64), [0; 0]);
        assert_eq!(pages(65), [1]);
        assert_eq!(pages(64 * 3 + 1), [1, 2, 3]);
        assert_eq!(pages(64 * 20), [3, 11, 15, 17, 18, 19]);
    }
}
