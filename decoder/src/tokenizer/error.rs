//! Why a tokenizer cannot be used.

use std::io;
use std::path::PathBuf;

/// Why a model folder's tokenizer cannot be used, or a text not be encoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file is missing or cannot be read.
    #[error("{path}: {source}; a model folder has tokenizer.json (convert tokenizer.model with transformers)", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{path}: {reason}", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault.
        reason: String,
    },
    /// The tokens' bytes are not known.
    #[error("{path}: decoder is {decoder}, but must be ByteLevel, or a Sequence of Replace \"\u{2581}\", ByteFallback, Fuse and Strip", path = .path.display())]
    Decoder {
        /// The file.
        path: PathBuf,
        /// The decoder.
        decoder: String,
    },
    /// A special token is not in the vocabulary.
    #[error("{path}: {field} is {token:?}, which tokenizer.json does not have; are both of one model?", path = .path.display())]
    UnknownToken {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The token.
        token: String,
    },
    /// A text was not encoded.
    #[error("the text cannot be encoded: {0}")]
    Encode(String),
}
