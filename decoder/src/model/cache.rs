//! Keys and values of many sequences in one memory, which is taken once. Sequences that begin alike share pages.

use std::sync::atomic::{AtomicU64, Ordering};

use super::rotary::Frequencies;
use super::{Model, PassError, Wanted, head_layout};
use crate::config::Architecture;
use crate::ops::{PAGE_TOKENS, PageMemory, PageShape, Piece};

mod pool;
#[cfg(test)]
mod tests;

use pool::{Known, PagePool, Prefix};

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
}

impl CacheSize {
    /// Returns the size for one sequence.
    pub fn of_one(tokens: usize) -> Self {
        Self {
            context_tokens: tokens,
            pages: tokens.div_ceil(PAGE_TOKENS),
        }
    }
}

/// Memory for the keys and values of a model's sequences, in pages of 64 tokens. A sequence is promised its pages when it
/// begins, so it cannot run out of memory later. Full pages of sequences that are gone stay until they are needed: a new
/// sequence that begins with the same tokens takes them over.
#[derive(Debug)]
pub struct KvCache {
    id: u64,
    memory: PageMemory,
    pool: PagePool,
    frequencies: Frequencies,
    context_tokens: usize,
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
        }
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
        let shape = Self::shape(&model.architecture, size)?;
        let bytes = Self::page_bytes(model).saturating_mul(size.pages as u64);
        let memory = PageMemory::new(shape, model.kernels, &model.device);
        let memory = memory.ok_or(PassError::Memory { bytes })?;
        Ok(Self::over(memory, &model.architecture, size))
    }

    /// Returns the sizes of the memory for a model's sequences.
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
        Ok(PageShape {
            layout: head_layout(architecture),
            layers: architecture.layers.len(),
            pages: size.pages,
        })
    }

    /// Makes a cache of memory that was taken for its sizes.
    pub(crate) fn over(memory: PageMemory, architecture: &Architecture, size: CacheSize) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            memory,
            pool: PagePool::new(size.pages),
            frequencies: Frequencies::new(architecture, size.context_tokens),
            context_tokens: size.context_tokens,
        }
    }

    /// Returns the bytes of a page: keys and values of all layers, in f32.
    pub fn page_bytes(model: &Model) -> u64 {
        let shape = PageShape {
            layout: model.layout(),
            layers: model.architecture.layers.len(),
            pages: 1,
        };
        (shape.page() * size_of::<f32>()) as u64
    }

    /// Uses all of the memory once, so that the system cannot fail to give it later.
    pub fn touch(&mut self) {
        self.memory.touch();
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
        let found = self.find(Prefix::default(), prompt);
        let pages = limit.div_ceil(PAGE_TOKENS);
        let promised = pages.saturating_sub(found.len());
        if !self.pool.promise(promised, &found) {
            return Err(PassError::Full {
                needed: promised,
                left: self.pool.left(&found),
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
        };
        self.take_over(&mut sequence, &found);
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
        let mut found = self.find(sequence.prefix, rest);
        found.truncate(sequence.promised);
        self.pool.cancel_promise(found.len());
        sequence.promised -= found.len();
        self.take_over(sequence, &found);
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
        // The last ones are to be taken first: without those before them they are of no use.
        for page in sequence.pages.iter().rev() {
            self.pool.give_back(*page);
        }
    }

    /// Whether a sequence is of this cache, and the cache of a model's sizes.
    pub(super) fn holds(&self, sequence: &Sequence, architecture: &Architecture) -> bool {
        let shape = self.memory.shape();
        let own = shape.layout == head_layout(architecture) && shape.layers == architecture.layers.len();
        own && sequence.cache == self.id
    }

    /// Whether no failure within a pass has lost the memory.
    pub(crate) fn is_whole(&self) -> bool {
        self.memory.is_whole()
    }

    pub(crate) fn memory(&mut self) -> &mut PageMemory {
        &mut self.memory
    }

    pub(crate) fn frequencies(&self) -> &Frequencies {
        &self.frequencies
    }

    /// Takes the pages for further tokens, out of those that were promised.
    pub(crate) fn grow(&mut self, sequence: &mut Sequence, tokens: usize) -> Result<(), PassError> {
        let needed = (sequence.length + tokens).div_ceil(PAGE_TOKENS);
        while sequence.pages.len() < needed {
            let page = match sequence.promised {
                0 => None,
                _ => self.pool.take(),
            };
            sequence.pages.push(page.ok_or(PassError::TooLong {
                length: sequence.length,
                tokens,
                limit: sequence.limit,
            })?);
            sequence.promised -= 1;
        }
        Ok(())
    }

    /// Notes that tokens were read; pages that are full now can be found.
    pub(crate) fn advance(&mut self, sequence: &mut Sequence, tokens: &[u32]) {
        sequence.length += tokens.len();
        sequence.tail.extend_from_slice(tokens);
        let tail = std::mem::take(&mut sequence.tail);
        let (full, rest) = tail.as_chunks::<PAGE_TOKENS>();
        let first = sequence.length / PAGE_TOKENS - full.len();
        for (tokens, page) in full.iter().zip(sequence.pages.iter_mut().skip(first)) {
            let known = self.pool.register(*page, sequence.prefix, tokens);
            (*page, sequence.prefix) = (known.page, known.prefix);
        }
        sequence.tail = rest.to_vec();
    }
}
