//! The fast path of the tokenizer: words of plain ASCII, in one scan and without allocation.
//!
//! What it gains: `cargo run --release -p liquid-worker --example tokenizer` checks that plain `tokenizers`
//! cuts a text alike and compares the time. Even in the dev profile, which optimises `tokenizers` more than
//! this crate (but not what that stands on), it takes 18 times as long for meetings and 19 for contracts, 2
//! MB each.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use tokenizers::models::ModelWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{Model, Tokenizer};

use super::Pieces;

/// The vocabulary for words of ASCII: entries that begin a word, and those that go on with one (without their
/// `##`). Entries with other characters are left out: they cannot match.
pub(super) struct AsciiVocabulary {
    first: Vocabulary,
    next: Vocabulary,
    longest: usize,
    longest_word: usize,
    unknown: u32,
}

type Vocabulary = HashMap<Box<[u8]>, u32, BuildHasherDefault<Fnv>>;

impl AsciiVocabulary {
    /// Copies the vocabulary of an uncased BERT tokenizer. The error says what is different in another one.
    pub(super) fn mirror(tokenizer: &Tokenizer) -> Result<Self, &'static str> {
        match tokenizer.get_normalizer() {
            Some(NormalizerWrapper::BertNormalizer(n))
                if n.clean_text && n.lowercase && n.handle_chinese_chars => {}
            _ => return Err("its normalizer is not the uncased BertNormalizer"),
        }
        if !matches!(
            tokenizer.get_pre_tokenizer(),
            Some(PreTokenizerWrapper::BertPreTokenizer(_))
        ) {
            return Err("its pre-tokenizer is not BertPreTokenizer");
        }
        let ModelWrapper::WordPiece(model) = tokenizer.get_model() else {
            return Err("its model is not WordPiece");
        };
        let unknown = model
            .token_to_id(&model.unk_token)
            .ok_or("its unknown token is not in its vocabulary")?;
        // The scan hands words with a bracket to `tokenizers`, because "[SEP]" and the like stand for
        // themselves.
        if tokenizer
            .get_added_tokens_decoder()
            .values()
            .any(|t| !t.content.starts_with('['))
        {
            return Err("it adds tokens that do not begin with '['");
        }
        let mut pieces = Self {
            first: Vocabulary::default(),
            next: Vocabulary::default(),
            longest: 0,
            longest_word: model.max_input_chars_per_word,
            unknown,
        };
        for (entry, id) in model.get_vocab() {
            pieces.add(&entry, id, &model.continuing_subword_prefix);
        }
        Ok(pieces)
    }

    fn add(&mut self, entry: &str, id: u32, prefix: &str) {
        if !entry.is_ascii() {
            return;
        }
        self.longest = self.longest.max(entry.len());
        if let Some(rest) = entry.strip_prefix(prefix) {
            self.next.insert(rest.as_bytes().into(), id);
        } else {
            self.first.insert(entry.as_bytes().into(), id);
        }
    }

    /// Adds the pieces of `word`, which starts at byte `start` of the text. False, with nothing added, if the
    /// word is not for this path: it is not ASCII, has control characters, a bracket, or no end.
    pub(super) fn encode(&self, word: &[u8], start: usize, pieces: &mut Pieces) -> bool {
        let mut lower = [0u8; 128];
        if word.len() > lower.len() || !lower_case(word, &mut lower) {
            return false;
        }
        let lower = &lower[..word.len()];
        let mut at = 0;
        while at < lower.len() {
            let letters = lower[at..]
                .iter()
                .take_while(|b| !b.is_ascii_punctuation())
                .count();
            let end = at + letters.max(1);
            self.encode_run(&lower[at..end], start + at, pieces);
            at = end;
        }
        true
    }

    /// Cuts a run by the longest match, from the left; one unknown token stands for the whole run if any part
    /// has no match.
    fn encode_run(&self, run: &[u8], start: usize, pieces: &mut Pieces) {
        let before = pieces.len();
        let mut at = 0;
        while at < run.len() && run.len() <= self.longest_word {
            let Some((id, length)) = self.longest_match(run, at) else {
                break;
            };
            pieces.push(id, start + at, start + at + length);
            at += length;
        }
        if at < run.len() {
            pieces.ids.truncate(before);
            pieces.ranges.truncate(before);
            pieces.push(self.unknown, start, start + run.len());
        }
    }

    fn longest_match(&self, run: &[u8], at: usize) -> Option<(u32, usize)> {
        let vocabulary = if at == 0 { &self.first } else { &self.next };
        let rest = &run[at..run.len().min(at + self.longest)];
        (1..=rest.len())
            .rev()
            .find_map(|n| vocabulary.get(&rest[..n]).map(|id| (*id, n)))
    }
}

/// Writes `word` in lower case to the front of `lower`. Returns false if it holds anything but visible ASCII
/// without an opening bracket.
fn lower_case(word: &[u8], lower: &mut [u8; 128]) -> bool {
    let mut plain = true;
    for (to, from) in lower.iter_mut().zip(word) {
        *to = from.to_ascii_lowercase();
        plain &= from.is_ascii_graphic() && *from != b'[';
    }
    plain
}

/// The hash FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): quick for keys of a few bytes. The
/// vocabulary is fixed, so nobody can choose keys that collide.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length that slices add before their bytes: equal hashes of a key and its prefix are impossible
        // anyway, because every byte moves the state.
    }

    fn finish(&self) -> u64 {
        // The table takes its tag from the upper bits and its slot from the lower ones.
        self.0 ^ (self.0 >> 32)
    }
}
