//! Cuts text into the word pieces of the encoder's vocabulary; every tier that counts tokens starts here.
//!
//! The result is the one of the `tokenizers` crate with the model's `tokenizer.json`, truncation and padding
//! off and no special tokens added. Most words of most documents are plain ASCII, and for those the whole
//! pipeline (clean, lower-case, split at punctuation, longest match) is one scan here; every other word goes
//! through `tokenizers` itself and is remembered for the rest of the text. White space cuts text into words
//! that do not influence each other, which also lets long texts be cut for several threads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokenizers::Tokenizer;

mod ascii;

use ascii::AsciiVocabulary;

/// The vocabulary entry `[CLS]`, which an encoder reads before each window.
pub(super) const CLS: i32 = 101;

/// The vocabulary entry `[SEP]`, which an encoder reads behind each window.
pub(super) const SEP: i32 = 102;

/// Number of tokens that an encoder adds to each window: `[CLS]` and `[SEP]`.
pub(crate) const ADDED_TOKENS: usize = 2;

/// Texts shorter than this, in bytes, are not worth a second thread.
const BYTES_PER_THREAD: usize = 64 * 1024;

/// Distinct non-ASCII words remembered in one text and thread; beyond it they are cut anew.
const REMEMBERED_WORDS: usize = 16 * 1024;

/// Why a tokenizer file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file is not a tokenizer.
    #[error("{path}: not a tokenizer.json: {source}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of `tokenizers`.
        source: tokenizers::Error,
    },
    /// The file holds a tokenizer of another kind.
    #[error("{path}: expected an uncased BERT WordPiece tokenizer, but {difference}", path = .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The difference to such a tokenizer.
        difference: String,
    },
}

/// The word pieces of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Vocabulary ids, in text order.
    pub ids: Vec<u32>,
    /// Bytes of the text that each piece stands for, as (start, end). Characters that the model does not see
    /// (white space, control characters) belong to no piece.
    pub ranges: Vec<(u32, u32)>,
}

impl Pieces {
    /// Returns the number of pieces.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns true if the text holds nothing that the model sees.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn push(&mut self, id: u32, start: usize, end: usize) {
        self.ids.push(id);
        self.ranges.push((start as u32, end as u32));
    }

    fn append(&mut self, mut other: Self) {
        self.ids.append(&mut other.ids);
        self.ranges.append(&mut other.ranges);
    }
}

/// An uncased BERT WordPiece tokenizer. Clones share the vocabulary.
#[derive(Clone)]
pub struct WordPiece {
    shared: Arc<Tokenizers>,
}

struct Tokenizers {
    reference: Tokenizer,
    ascii: AsciiVocabulary,
    threads: usize,
}

impl WordPiece {
    /// Reads the content of a `tokenizer.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// [`TokenizerError`] if it is not an uncased BERT tokenizer, the kind that the ASCII scan mirrors.
    pub fn from_bytes(bytes: &[u8], path: PathBuf) -> Result<Self, TokenizerError> {
        let unreadable = |source| TokenizerError::Unreadable {
            path: path.clone(),
            source,
        };
        let mut reference = Tokenizer::from_bytes(bytes).map_err(unreadable)?;
        reference.with_padding(None);
        reference.with_truncation(None).map_err(unreadable)?;
        let ascii =
            AsciiVocabulary::mirror(&reference).map_err(|difference| TokenizerError::Unsupported {
                path,
                difference: difference.to_owned(),
            })?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            shared: Arc::new(Tokenizers {
                reference,
                ascii,
                threads,
            }),
        })
    }

    /// Returns the number of vocabulary entries.
    pub fn vocabulary(&self) -> usize {
        self.shared.reference.get_vocab_size(true)
    }

    /// Cuts `text` into word pieces with their byte ranges. Texts of 4 GiB and more are not supported:
    /// offsets are 32 bits wide.
    pub fn encode(&self, text: &str) -> Pieces {
        let parts = self.cut_for_threads(text);
        let mut encoded = in_parallel(&parts, |part| self.encode_part(text, part));
        let Some(mut pieces) = encoded.next() else {
            return Pieces::default();
        };
        for part in encoded {
            pieces.append(part);
        }
        pieces
    }

    /// Counts the word pieces of `text`.
    pub fn count(&self, text: &str) -> usize {
        self.encode(text).len()
    }

    /// Cuts `text` at white space into one range for each thread worth starting.
    fn cut_for_threads(&self, text: &str) -> Vec<(usize, usize)> {
        let count = (text.len() / BYTES_PER_THREAD).clamp(1, self.shared.threads);
        let mut parts = Vec::with_capacity(count);
        let mut start = 0;
        for i in 1..=count {
            let wanted = text.len() * i / count;
            let end = text.as_bytes()[wanted..]
                .iter()
                .position(|b| is_space(*b))
                .map_or(text.len(), |n| wanted + n);
            if end > start {
                parts.push((start, end));
            }
            start = end.max(start);
        }
        parts
    }

    fn encode_part(&self, text: &str, (start, end): (usize, usize)) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.ids.reserve((end - start) / 4);
        pieces.ranges.reserve((end - start) / 4);
        let mut others = OtherWordCutter {
            reference: &self.shared.reference,
            known: HashMap::new(),
        };
        for (start, end) in split_words(text, start, end) {
            let word = &text[start..end];
            if !self.shared.ascii.encode(word.as_bytes(), start, &mut pieces) {
                others.encode(word, start, &mut pieces);
            }
        }
        pieces
    }
}

impl std::fmt::Debug for WordPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WordPiece")
            .field("vocabulary", &self.vocabulary())
            .finish()
    }
}

/// Returns true for white space that ends a word, whatever its neighbours are. Form feeds and vertical tabs
/// do not: the model's normaliser drops them as control characters, which joins their neighbours.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Cuts `text[start..end]` into words, as byte ranges of `text`. Ideographs are words of their own, as the
/// model's normaliser puts spaces around them, so that text without spaces is cut too.
fn split_words(text: &str, start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let bytes = text.as_bytes();
    let mut at = start;
    std::iter::from_fn(move || {
        while at < end && is_space(bytes[at]) {
            at += 1;
        }
        if at >= end {
            return None;
        }
        let from = at;
        while at < end && !is_space(bytes[at]) {
            match ideograph_width(bytes, at) {
                Some(width) if at == from => {
                    at += width;
                    break;
                }
                Some(_) => break,
                None => at += 1,
            }
        }
        Some((from, at))
    })
}

/// Returns the width in bytes of the common CJK ideograph (U+4E00 to U+9FFF) that begins at `at`, if one
/// does.
fn ideograph_width(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes[at] {
        0xE4 => (bytes.get(at + 1)? >= &0xB8).then_some(3),
        0xE5..=0xE9 => Some(3),
        _ => None,
    }
}

/// The cutter of words that are not plain ASCII: `tokenizers`, asked once for each distinct one.
struct OtherWordCutter<'a> {
    reference: &'a Tokenizer,
    known: HashMap<&'a str, Pieces>,
}

impl<'a> OtherWordCutter<'a> {
    fn encode(&mut self, word: &'a str, start: usize, pieces: &mut Pieces) {
        if let Some(known) = self.known.get(word) {
            return add_shifted(known, start, pieces);
        }
        let cut = cut_by_reference(self.reference, word);
        add_shifted(&cut, start, pieces);
        if self.known.len() < REMEMBERED_WORDS {
            self.known.insert(word, cut);
        }
    }
}

fn add_shifted(word: &Pieces, start: usize, pieces: &mut Pieces) {
    for (id, (from, to)) in word.ids.iter().zip(&word.ranges) {
        pieces.push(*id, start + *from as usize, start + *to as usize);
    }
}

/// Cuts a text with plain `tokenizers`. That fails only for models that lack their own unknown token, which
/// [`AsciiVocabulary::mirror`] has ruled out; then the text has no pieces.
fn cut_by_reference(reference: &Tokenizer, text: &str) -> Pieces {
    let mut pieces = Pieces::default();
    if let Ok(encoding) = reference.encode(text, false) {
        for (id, (start, end)) in encoding.get_ids().iter().zip(encoding.get_offsets()) {
            pieces.push(*id, *start, *end);
        }
    }
    pieces
}

/// Runs `work` on each part, the first on this thread and each other on one of its own, and returns the
/// results in order.
fn in_parallel<P: Copy + Send + Sync, R: Send>(
    parts: &[P],
    work: impl Fn(P) -> R + Sync,
) -> impl Iterator<Item = R> {
    let mut results: Vec<Option<R>> = parts.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        let mut slots = results.iter_mut().zip(parts);
        let first = slots.next();
        let work = &work;
        for (slot, part) in slots {
            scope.spawn(move || *slot = Some(work(*part)));
        }
        if let Some((slot, part)) = first {
            *slot = Some(work(*part));
        }
    });
    results.into_iter().flatten()
}
