//! Who uses which page, and what can be found in those that nobody uses. A page is found by the tokens in it and by the
//! page before it, which is again found so: by all tokens up to its end, exactly.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// All tokens of a sequence up to the end of a full page, as a number that is never used again. The default is the empty
/// prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Prefix(u64);

/// What a full page holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    before: Prefix,
    tokens: Arc<[u32]>,
}

/// A page that can be found, and the prefix that ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) page: u32,
    pub(super) prefix: Prefix,
}

/// A page that was taken, and the prefix that ended with it and cannot be found any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) page: u32,
    pub(super) forgotten: Option<Prefix>,
}

#[derive(Debug, Default)]
struct Page {
    /// Sequences that use it.
    users: usize,
    /// Present if the page can be found.
    content: Option<Content>,
    /// When it was last given back.
    given_back: u64,
}

/// The pages of a memory. Each is used, or free, or idle: used by nobody, but it can be found.
#[derive(Debug)]
pub(super) struct PagePool {
    pages: Vec<Page>,
    free: Vec<u32>,
    known: HashMap<Content, Known>,
    /// By the time when they were given back: the first one is taken first.
    idle: BTreeMap<u64, u32>,
    /// Pages that are promised to sequences, and not taken yet.
    promised: usize,
    clock: u64,
    last_prefix: u64,
}

impl PagePool {
    pub(super) fn new(pages: usize) -> Self {
        let pages = pages.min(u32::MAX as usize);
        Self {
            pages: (0..pages).map(|_| Page::default()).collect(),
            free: (0..pages as u32).rev().collect(),
            known: HashMap::new(),
            idle: BTreeMap::new(),
            promised: 0,
            clock: 0,
            last_prefix: 0,
        }
    }

    pub(super) fn pages(&self) -> usize {
        self.pages.len()
    }

    pub(super) fn used(&self) -> usize {
        self.pages.len() - self.free.len() - self.idle.len()
    }

    /// Returns the page that holds `tokens` after a prefix.
    pub(super) fn find(&self, before: Prefix, tokens: &[u32]) -> Option<Known> {
        let content = Content {
            before,
            tokens: tokens.into(),
        };
        self.known.get(&content).copied()
    }

    /// Returns how many pages can be promised to a sequence that also takes over pages which were found.
    pub(super) fn left(&self, found: &[Known]) -> usize {
        self.unused_beside(found).saturating_sub(self.promised)
    }

    /// Promises pages to a sequence that also takes over pages which were found. Returns whether there are enough.
    pub(super) fn promise(&mut self, count: usize, found: &[Known]) -> bool {
        let enough = self.promised + count <= self.unused_beside(found);
        if enough {
            self.promised += count;
        }
        enough
    }

    /// Returns the pages that nobody uses, without those that were found.
    fn unused_beside(&self, found: &[Known]) -> usize {
        let unused = |known: &&Known| {
            let page = self.pages.get(known.page as usize);
            page.is_some_and(|page| page.users == 0)
        };
        let found = found.iter().filter(unused).count();
        self.free.len() + self.idle.len() - found
    }

    /// Takes a promise back.
    pub(super) fn cancel_promise(&mut self, count: usize) {
        self.promised = self.promised.saturating_sub(count);
    }

    /// Counts another user of a page that was found.
    pub(super) fn share(&mut self, page: u32) {
        let Some(shared) = self.pages.get_mut(page as usize) else {
            return;
        };
        if shared.users == 0 {
            self.idle.remove(&shared.given_back);
        }
        shared.users += 1;
    }

    /// Takes a page that was promised: a free one, or the one that has been idle for longest, whose content is forgotten.
    pub(super) fn take(&mut self) -> Option<Taken> {
        let page = self
            .free
            .pop()
            .or_else(|| self.idle.pop_first().map(|(_, page)| page))?;
        self.cancel_promise(1);
        let taken = self.pages.get_mut(page as usize)?;
        let content = taken.content.take();
        taken.users = 1;
        let forgotten = content.and_then(|content| self.known.remove(&content));
        Some(Taken {
            page,
            forgotten: forgotten.map(|known| known.prefix),
        })
    }

    /// Notes what a full page holds. Where another page holds the same, it is used from now on, and the page is given back:
    /// so all pages before one that is used are used too, and idle ones are taken from the ends of prefixes.
    pub(super) fn register(&mut self, page: u32, before: Prefix, tokens: &[u32]) -> Known {
        let content = Content {
            before,
            tokens: tokens.into(),
        };
        if let Some(known) = self.known.get(&content).copied() {
            self.share(known.page);
            self.give_back(page);
            return known;
        }
        self.last_prefix += 1;
        let prefix = Prefix(self.last_prefix);
        let known = Known { page, prefix };
        if let Some(registered) = self.pages.get_mut(page as usize) {
            registered.content = Some(content.clone());
            self.known.insert(content, known);
        }
        known
    }

    /// Counts one user less.
    pub(super) fn give_back(&mut self, page: u32) {
        let Some(given) = self.pages.get_mut(page as usize) else {
            return;
        };
        given.users = given.users.saturating_sub(1);
        if given.users > 0 {
            return;
        }
        if given.content.is_none() {
            self.free.push(page);
            return;
        }
        self.clock += 1;
        given.given_back = self.clock;
        self.idle.insert(self.clock, page);
    }
}

#[cfg(test)]
impl PagePool {
    /// Checks that no page is lost or counted twice, and that each page that is known can be reached.
    pub(super) fn check(&self, sequences: &[&[u32]]) {
        let mut users = vec![0; self.pages.len()];
        for page in sequences.iter().flat_map(|pages| pages.iter()) {
            users[*page as usize] += 1;
        }
        for (index, page) in self.pages.iter().enumerate() {
            assert_eq!(page.users, users[index], "users of page {index}");
            let free = self.free.iter().filter(|free| **free as usize == index).count();
            let idle = self.idle.get(&page.given_back) == Some(&(index as u32));
            let places = free + usize::from(idle) + usize::from(page.users > 0);
            assert_eq!(places, 1, "places of page {index}");
            match &page.content {
                Some(content) => assert_eq!(self.known[content].page as usize, index),
                None => assert!(!idle, "page {index} is idle and holds nothing"),
            }
        }
        assert_eq!(
            self.known.len(),
            self.pages.iter().filter(|page| page.content.is_some()).count()
        );
        assert!(self.promised <= self.free.len() + self.idle.len(), "promises");
        let ends: std::collections::HashSet<Prefix> = self.known.values().map(|known| known.prefix).collect();
        for content in self.known.keys() {
            let before = content.before;
            assert!(before == Prefix::default() || ends.contains(&before), "an orphan");
        }
    }

    pub(super) fn promised(&self) -> usize {
        self.promised
    }
}
