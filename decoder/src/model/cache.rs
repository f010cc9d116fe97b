//! What a model remembers of many sequences, in memory that is taken once: keys and values in pages, which sequences that
//! begin alike share, and states of the gated delta rule in slots, of which copies are kept at the ends of some pages.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rotary::Frequencies;
use super::{Model, PassError, Wanted, head_layout};
use crate::config::{Architecture, LayerKind};
use crate::ops::{PAGE_TOKENS, PageMemory, PageShape, Piece, StateMemory, StateShape};

mod pool;
mod snapshots;
mod states;
#[cfg(test)]
mod tests;

use pool::{Known, PagePool, Prefix};
use snapshots::SequenceStates;
use states::StatePool;

/// Number of the next cache, so that a sequence is never read with another one's pages.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// Sizes of a [`KvCache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSize {
    /// Most tokens of a sequence. With dynamic rotary scaling it decides the frequencies, so that all tokens are turned
    /// by the same ones.
    pub context_tokens: usize,
    /// Pages, of [`KvCache::PAGE_TOKENS`] tokens each.
    pub pages: usize,
    /// Slots for states of the gated delta rule: one for each sequence, and those that are left for copies at the ends of
    /// prefixes. Of no use to a model without such layers.
    pub states: usize,
}

impl CacheSize {
    /// Returns the size for one sequence.
    pub fn of_one(tokens: usize) -> Self {
        Self {
            context_tokens: tokens,
            pages: tokens.div_ceil(PAGE_TOKENS),
            states: 1,
        }
    }
}

/// Memory for the keys and values of a model's sequences, in pages of 64 tokens, and for the states of a hybrid. A sequence is
/// promised its pages when it begins, so it cannot run out of memory later. Full pages of sequences that are gone stay until
/// they are needed: a new sequence that begins with the same tokens takes them over.
///
/// A state cannot be cut back to a shorter prefix, so a hybrid takes pages over only up to a copy of its states. Copies are
/// made 1, 2, 4, 8 and so on pages before the end of a prompt: whoever asks something else about its beginning reads at most
/// twice what is new, and two pages. And they are made where a prompt leaves one that was read before: whoever comes then reads
/// no more than what is new, and a page.
#[derive(Debug)]
pub struct KvCache {
    id: u64,
    memory: Memory,
    pool: PagePool,
    states: StatePool,
    frequencies: Frequencies,
    context_tokens: usize,
}

/// What a pass reads and writes.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) pages: PageMemory,
    pub(crate) states: StateMemory,
}

/// A sequence of tokens that a model has read. Give it back with [`KvCache::release`]: its pages stay taken otherwise.
#[derive(Debug)]
pub struct Sequence {
    cache: u64,
    pages: Vec<u32>,
    /// Pages that are promised to it and not taken yet.
    promised: usize,
    length: usize,
    limit: usize,
    /// Tokens up to the last full page.
    prefix: Prefix,
    /// Tokens after it.
    tail: Vec<u32>,
    /// Only of a hybrid.
    states: Option<SequenceStates>,
}

/// What a full page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageContent<'a> {
    before: Prefix,
    tokens: &'a [u32],
}

/// Tokens to read after what a sequence holds.
#[derive(Debug)]
pub struct Segment<'a> {
    /// The sequence, which grows by the tokens.
    pub sequence: &'a mut Sequence,
    /// At least one token.
    pub tokens: &'a [u32],
    /// Rows whose logits are computed.
    pub wanted: Wanted,
}

impl Sequence {
    /// Returns the number of tokens that were read.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Returns the most tokens that it holds.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Returns what the page holds that it reads now, if the prompt fills it.
    pub(crate) fn next_page<'a>(&self, prompt: &'a [u32]) -> Option<PageContent<'a>> {
        let start = self.length - self.tail.len();
        Some(PageContent {
            before: self.prefix,
            tokens: prompt.get(start..start + PAGE_TOKENS)?,
        })
    }

    /// Whether it could take over the page that it reads next.
    pub(crate) fn can_skip(&self, prompt: &[u32]) -> bool {
        self.tail.is_empty() && self.length + PAGE_TOKENS < prompt.len()
    }

    /// Returns its place in a pass that reads some rows.
    pub(crate) fn piece(&self, rows: usize) -> Piece<'_> {
        Piece {
            rows,
            first: self.length,
            pages: &self.pages,
            state: self.states.as_ref().map(SequenceStates::place),
        }
    }

    /// Has a copy of the states kept after so many tokens, which must be whole pages of its prompt.
    pub(crate) fn keep_states(&mut self, position: usize) {
        let length = self.length;
        if let Some(states) = self.states.as_mut().filter(|_| position > length) {
            states.keep(position);
        }
    }
}

/// Returns the sizes of a model's pages.
pub(crate) fn page_shape(architecture: &Architecture, pages: usize) -> PageShape {
    let attends = |kind: &&LayerKind| **kind != LayerKind::GatedDelta;
    PageShape {
        layout: head_layout(architecture),
        layers: architecture.layers.iter().filter(attends).count(),
        pages,
    }
}

/// Returns the sizes of a model's states.
pub(crate) fn state_shape(architecture: &Architecture, slots: usize) -> StateShape {
    let remembers = |kind: &&LayerKind| **kind == LayerKind::GatedDelta;
    StateShape {
        delta: architecture.delta,
        layers: architecture.layers.iter().filter(remembers).count(),
        slots,
    }
}

impl KvCache {
    /// Tokens of a page.
    pub const PAGE_TOKENS: usize = PAGE_TOKENS;

    /// Takes the memory.
    ///
    /// # Errors
    /// [`PassError::TooLong`] if the model is not made for sequences of that length, [`PassError::Memory`] if the system
    /// does not give the memory.
    pub fn new(model: &Model, size: CacheSize) -> Result<Self, PassError> {
        let pages = Self::shape(&model.architecture, size)?;
        let states = state_shape(&model.architecture, size.states);
        let bytes = Self::page_bytes(model)
            .saturating_mul(size.pages as u64)
            .saturating_add(Self::state_bytes(model).saturating_mul(size.states as u64));
        let (kernels, device) = (model.kernels, &model.device);
        let memory = PageMemory::new(pages, kernels, device)
            .zip(StateMemory::new(states, kernels, device))
            .map(|(pages, states)| Memory { pages, states });
        let memory = memory.ok_or(PassError::Memory { bytes })?;
        Ok(Self::over(memory, &model.architecture, size))
    }

    /// Returns the sizes of the pages for a model's sequences.
    ///
    /// # Errors
    /// [`PassError::TooLong`].
    pub(crate) fn shape(architecture: &Architecture, size: CacheSize) -> Result<PageShape, PassError> {
        let most = architecture.most_tokens();
        if size.context_tokens == 0 || size.context_tokens > most {
            return Err(PassError::TooLong {
                length: 0,
                tokens: size.context_tokens,
                limit: most,
            });
        }
        Ok(page_shape(architecture, size.pages))
    }

    /// Makes a cache of memory that was taken for its sizes.
    pub(crate) fn over(memory: Memory, architecture: &Architecture, size: CacheSize) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            memory,
            pool: PagePool::new(size.pages),
            states: StatePool::new(size.states),
            frequencies: Frequencies::new(architecture, size.context_tokens),
            context_tokens: size.context_tokens,
        }
    }

    /// Returns the bytes of a page: keys and values of all layers, in f32.
    pub fn page_bytes(model: &Model) -> u64 {
        (page_shape(&model.architecture, 1).page() * size_of::<f32>()) as u64
    }

    /// Returns the bytes of a slot for states: those of all layers of the gated delta rule, in f32. None without such layers.
    pub fn state_bytes(model: &Model) -> u64 {
        (state_shape(&model.architecture, 1).slot() * size_of::<f32>()) as u64
    }

    /// Returns how many tokens two prompts could share: those of the full pages with which both begin, but never all of one.
    pub(crate) fn shared_tokens(one: &[u32], other: &[u32]) -> usize {
        let pages = one.chunks_exact(PAGE_TOKENS).zip(other.chunks_exact(PAGE_TOKENS));
        let same = pages.take_while(|(one, other)| one == other).count() * PAGE_TOKENS;
        let most = one.len().min(other.len()).saturating_sub(1);
        same.min(most / PAGE_TOKENS * PAGE_TOKENS)
    }

    /// Uses all of the memory once, so that the system cannot fail to give it later.
    pub fn touch(&mut self) {
        self.memory.pages.touch();
        self.memory.states.touch();
    }

    /// Returns the number of pages.
    pub fn pages(&self) -> usize {
        self.pool.pages()
    }

    /// Returns the pages that sequences use.
    pub fn pages_used(&self) -> usize {
        self.pool.used()
    }

    /// Begins a sequence of at most `limit` tokens that will read `prompt` first. Pages that hold the prompt's beginning
    /// are taken over: the sequence has their length, but never the whole prompt, as the last token's logits are wanted.
    ///
    /// # Errors
    /// [`PassError::TooLong`] if the limit is longer than a sequence of this cache may be, [`PassError::Full`] if other
    /// sequences must be released first.
    pub fn sequence(&mut self, prompt: &[u32], limit: usize) -> Result<Sequence, PassError> {
        if limit == 0 || limit > self.context_tokens {
            return Err(PassError::TooLong {
                length: 0,
                tokens: limit,
                limit: self.context_tokens,
            });
        }
        let known = self.find(Prefix::default(), prompt);
        let found = self.reachable(&known);
        let pages = limit.div_ceil(PAGE_TOKENS);
        let promised = pages.saturating_sub(found.len());
        if !self.pool.promise(promised, found) {
            return Err(PassError::Full {
                needed: promised,
                left: self.pool.left(found),
            });
        }
        let mut sequence = Sequence {
            cache: self.id,
            pages: Vec::with_capacity(pages),
            promised,
            length: 0,
            limit,
            prefix: Prefix::default(),
            tail: Vec::new(),
            states: None,
        };
        if self.memory.states.shape().delta.is_some() {
            let Some(states) = self.begin_states(prompt, found) else {
                self.pool.cancel_promise(promised);
                let slots = self.states.slots();
                return Err(PassError::StatesFull { slots });
            };
            sequence.states = Some(states);
        }
        self.take_over(&mut sequence, found);
        sequence.keep_states(known.len() * PAGE_TOKENS);
        Ok(sequence)
    }

    /// Takes over further pages of the prompt that another sequence has read since this one began. Returns how many tokens
    /// they hold.
    pub fn skip(&mut self, sequence: &mut Sequence, prompt: &[u32]) -> usize {
        let Some(rest) = prompt.get(sequence.length..) else {
            return 0;
        };
        if !sequence.tail.is_empty() || sequence.cache != self.id {
            return 0;
        }
        let mut known = self.find(sequence.prefix, rest);
        known.truncate(sequence.promised);
        sequence.keep_states(sequence.length + known.len() * PAGE_TOKENS);
        let found = self.reachable(&known);
        self.pool.cancel_promise(found.len());
        sequence.promised -= found.len();
        self.take_over(sequence, found);
        self.take_over_states(sequence, found);
        found.len() * PAGE_TOKENS
    }

    /// Returns the pages that hold the beginning of `tokens` after a prefix, but for the last token.
    fn find(&self, mut prefix: Prefix, tokens: &[u32]) -> Vec<Known> {
        let mut found = Vec::new();
        let without_last = tokens.split_last().map_or(tokens, |(_, rest)| rest);
        for tokens in without_last.chunks_exact(PAGE_TOKENS) {
            let Some(known) = self.pool.find(prefix, tokens) else {
                break;
            };
            found.push(known);
            prefix = known.prefix;
        }
        found
    }

    fn take_over(&mut self, sequence: &mut Sequence, found: &[Known]) {
        for known in found {
            self.pool.share(known.page);
            sequence.pages.push(known.page);
            sequence.prefix = known.prefix;
            sequence.length += PAGE_TOKENS;
        }
    }

    /// Gives a sequence's pages back. Those that are full stay to be found until they are needed.
    pub fn release(&mut self, sequence: Sequence) {
        if sequence.cache != self.id {
            return;
        }
        self.pool.cancel_promise(sequence.promised);
        self.release_states(sequence.states);
        // The last ones are to be taken first: without those before them they are of no use.
        for page in sequence.pages.iter().rev() {
            self.pool.give_back(*page);
        }
    }

    /// Whether a sequence is of this cache, and the cache of a model's sizes.
    pub(super) fn holds(&self, sequence: &Sequence, architecture: &Architecture) -> bool {
        let (pages, states) = (self.memory.pages.shape(), self.memory.states.shape());
        let own = pages == page_shape(architecture, pages.pages)
            && states == state_shape(architecture, states.slots);
        own && sequence.cache == self.id
    }

    /// Whether no failure within a pass has lost the memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.memory.pages.is_whole() && self.memory.states.is_whole()
    }

    pub(crate) fn memory(&mut self) -> &mut Memory {
        &mut self.memory
    }

    pub(crate) fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }

    /// Takes the pages for further tokens, out of those that were promised.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), PassError> {
        let needed = (sequence.length + tokens).div_ceil(PAGE_TOKENS);
        while sequence.pages.len() < needed {
            let taken = match sequence.promised {
                0 => None,
                _ => self.pool.take(),
            };
            let taken = taken.ok_or(PassError::TooLong {
                length: sequence.length,
                tokens,
                limit: sequence.limit,
            })?;
            if let Some(prefix) = taken.forgotten {
                self.states.forget(prefix);
            }
            sequence.pages.push(taken.page);
            sequence.promised -= 1;
        }
        self.plan_snapshots(sequence, tokens);
        Ok(())
    }

    /// Notes that tokens were read; pages that are full now can be found.
    pub(crate) fn advance(&mut self, sequence: &mut Sequence, tokens: &[u32]) {
        sequence.length += tokens.len();
        sequence.tail.extend_from_slice(tokens);
        let tail = std::mem::take(&mut sequence.tail);
        let (full, rest) = tail.as_chunks::<PAGE_TOKENS>();
        let first = sequence.length / PAGE_TOKENS - full.len();
        let pages = sequence.pages.iter_mut().enumerate().skip(first);
        for (tokens, (index, page)) in full.iter().zip(pages) {
            let known = self.pool.register(*page, sequence.prefix, tokens);
            (*page, sequence.prefix) = (known.page, known.prefix);
            if let Some(states) = &mut sequence.states {
                let slot = states.taken((index + 1) * PAGE_TOKENS);
                slot.into_iter()
                    .for_each(|slot| self.states.keep(known.prefix, slot));
            }
        }
        sequence.tail = rest.to_vec();
    }
}
