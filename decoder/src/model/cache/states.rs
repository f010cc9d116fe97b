//! Who uses which slot for states, and which hold a copy that can be found: the states at the end of a full page, by the prefix
//! that ends there.

use std::collections::{BTreeMap, HashMap};

use super::pool::Prefix;

/// A copy that can be found.
#[derive(Clone, Copy, Debug)]
struct Kept {
    slot: u32,
    /// When it was last used.
    used: u64,
}

/// The slots of a memory for states. Each is used by a sequence, or free, or holds a copy, which is forgotten when its slot is
/// needed.
#[derive(Debug)]
pub(super) struct StatePool {
    slots: usize,
    free: Vec<u32>,
    kept: HashMap<Prefix, Kept>,
    /// By the time when they were used: the first one is forgotten first.
    ages: BTreeMap<u64, Prefix>,
    clock: u64,
}

impl StatePool {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            free: (0..slots as u32).rev().collect(),
            kept: HashMap::new(),
            ages: BTreeMap::new(),
            clock: 0,
        }
    }

    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Takes a slot: a free one, or that of the copy which was not used for longest. What it holds stays until it is written.
    pub(super) fn take(&mut self) -> Option<u32> {
        let free = self.free.pop();
        free.or_else(|| {
            let (_, prefix) = self.ages.pop_first()?;
            self.kept.remove(&prefix).map(|kept| kept.slot)
        })
    }

    pub(super) fn give_back(&mut self, slot: u32) {
        self.free.push(slot);
    }

    /// Whether there is a copy of the states at the end of a prefix.
    pub(super) fn holds(&self, prefix: Prefix) -> bool {
        self.kept.contains_key(&prefix)
    }

    /// Returns the slot of a copy, which is the last one to be forgotten now.
    pub(super) fn find(&mut self, prefix: Prefix) -> Option<u32> {
        self.clock += 1;
        let kept = self.kept.get_mut(&prefix)?;
        self.ages.remove(&kept.used);
        kept.used = self.clock;
        self.ages.insert(self.clock, prefix);
        Some(kept.slot)
    }

    /// Lets a copy be found. A second one of the same prefix is given back.
    pub(super) fn keep(&mut self, prefix: Prefix, slot: u32) {
        if self.find(prefix).is_some() {
            return self.give_back(slot);
        }
        let used = self.clock;
        self.kept.insert(prefix, Kept { slot, used });
        self.ages.insert(used, prefix);
    }

    /// Gives the copy of a prefix back whose page is not there any more.
    pub(super) fn forget(&mut self, prefix: Prefix) {
        if let Some(kept) = self.kept.remove(&prefix) {
            self.ages.remove(&kept.used);
            self.give_back(kept.slot);
        }
    }
}

#[cfg(test)]
impl StatePool {
    /// Checks that no slot is lost or counted twice, and returns how many copies there are.
    pub(super) fn check(&self, used: &[u32]) -> usize {
        let kept = self.kept.values().map(|kept| kept.slot);
        let mut slots: Vec<u32> = self.free.iter().chain(used).copied().chain(kept).collect();
        slots.sort_unstable();
        assert_eq!(slots, (0..self.slots as u32).collect::<Vec<_>>());
        assert_eq!(self.ages.len(), self.kept.len());
        for (used, prefix) in &self.ages {
            assert_eq!(self.kept[prefix].used, *used);
        }
        self.kept.len()
    }
}
