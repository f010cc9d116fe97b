//! Text to tokens and back: `tokenizer.json` of a model folder, and the bytes that each of its tokens stands for.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use llguidance::ParserFactory;
use serde_json::Value;

mod detokenizer;
mod error;
mod grammar;
mod pieces;
mod special;
#[cfg(test)]
mod tests;
mod tree;

pub use detokenizer::Detokenizer;
pub use error::TokenizerError;
use pieces::Pieces;
pub(crate) use special::SpecialTokens;
pub(crate) use tree::TokenTree;

const FILE: &str = "tokenizer.json";

/// The tokenizer of a model.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    pieces: Pieces,
    special: SpecialTokens,
    /// Made when the first answer is constrained.
    grammars: OnceLock<Option<ParserFactory>>,
    /// Made when the first answer quotes.
    tree: OnceLock<Arc<TokenTree>>,
    /// Reads special tokens as any other text; made at the first use.
    plain: OnceLock<tokenizers::Tokenizer>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder, and the special tokens of `tokenizer_config.json`,
    /// `generation_config.json` and `config.json` where they are there.
    ///
    /// # Errors
    /// [`TokenizerError`] names the file and what to do.
    pub fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let path = folder.join(FILE);
        let bytes = std::fs::read(&path).map_err(|source| TokenizerError::Unreadable {
            path: path.clone(),
            source,
        })?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|error| malformed(&path, error))?;
        let inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| malformed(&path, error))?;
        let pieces = Pieces::new(&inner, json.get("decoder"), &path)?;
        let special = SpecialTokens::read(folder, &inner)?;
        Ok(Self {
            inner,
            pieces,
            special,
            grammars: OnceLock::new(),
            tree: OnceLock::new(),
            plain: OnceLock::new(),
        })
    }

    /// Returns the number of tokens.
    pub fn size(&self) -> usize {
        self.pieces.size()
    }

    /// Returns the tokens of a text. Special tokens that are written out in it are taken as such. With `frame` the tokens
    /// that the tokenizer puts around a whole text are added; a chat template writes its own.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode(&self, text: &str, frame: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.inner.encode_fast(text, frame);
        let encoding = encoding.map_err(|error| TokenizerError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the tokens of a text that somebody else has written, without a frame: special tokens that are written out in
    /// it are text as any other, so that it cannot end a turn of a conversation.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let plain = self.plain.get_or_init(|| {
            let mut plain = self.inner.clone();
            plain.set_encode_special_tokens(true);
            plain
        });
        let encoding = plain.encode_fast(text, false);
        let encoding = encoding.map_err(|error| TokenizerError::Encode(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Returns the text of tokens, without special ones.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let mut detokenizer = self.detokenizer();
        let mut text = String::new();
        for token in tokens {
            text.push_str(&detokenizer.push(*token));
        }
        text.push_str(&detokenizer.finish());
        text
    }

    /// Makes a decoder of one text that comes token by token.
    pub fn detokenizer(&self) -> Detokenizer<'_> {
        Detokenizer::new(&self.pieces)
    }

    /// Returns the bytes that a token stands for: not always whole characters. None for special tokens, and outside the
    /// vocabulary.
    pub fn bytes(&self, token: u32) -> Option<&[u8]> {
        self.pieces.bytes(token)
    }

    /// Returns the token that is written as `text` in the vocabulary.
    pub fn token(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// Returns what a token is called in the vocabulary; of special tokens that is their text. None outside the vocabulary.
    pub fn entry(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// Returns the tokens after which a model says no more.
    pub fn end_tokens(&self) -> &[u32] {
        self.special.ends()
    }

    /// Returns the tokens in the order of their bytes; made at the first call.
    pub(crate) fn tree(&self) -> &Arc<TokenTree> {
        self.tree.get_or_init(|| Arc::new(TokenTree::new(self)))
    }

    pub(crate) fn special(&self) -> &SpecialTokens {
        &self.special
    }
}

fn malformed(path: &Path, error: impl std::fmt::Display) -> TokenizerError {
    TokenizerError::Malformed {
        path: PathBuf::from(path),
        reason: error.to_string(),
    }
}
