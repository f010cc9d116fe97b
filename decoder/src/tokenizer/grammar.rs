//! A vocabulary as grammars read it: the bytes of every token in a tree.

use std::sync::Arc;

use llguidance::ParserFactory;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use super::Tokenizer;

impl Tokenizer {
    /// Returns what compiles grammars over the vocabulary; made at the first call. None if no token ends an answer.
    pub(crate) fn grammars(&self) -> Option<&ParserFactory> {
        self.grammars.get_or_init(|| self.make_grammars()).as_ref()
    }

    fn make_grammars(&self) -> Option<ParserFactory> {
        let size = u32::try_from(self.size()).ok()?;
        let ends = self.end_tokens().iter().copied().filter(|end| *end < size);
        let ends: Vec<u32> = ends.collect();
        let info = TokRxInfo::new(size, *ends.first()?);
        let words: Vec<Vec<u8>> = (0..size).map(|token| self.word(token)).collect();
        let trie = TokTrie::from(&info, &words).with_eos_tokens(&ends);
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).ok()?;
        factory.quiet();
        // An error would hold the text of the answer.
        factory.limits_mut().verbose_errors = false;
        Some(factory)
    }

    /// Returns the bytes of a token that a grammar may take; none for the others.
    fn word(&self, token: u32) -> Vec<u8> {
        let bytes = self.bytes(token).unwrap_or_default();
        match bytes.first() {
            // No text has this byte, and the tree marks special tokens by it.
            Some(&TokTrie::SPECIAL_TOKEN_MARKER) => Vec::new(),
            _ => bytes.to_vec(),
        }
    }
}
