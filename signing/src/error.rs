//! Why a folder or an archive is not what its signer signed.

use std::io;
use std::path::PathBuf;

use crate::{SIGNATURE, SUMS, Sum};

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = .path.display())]
    Unreadable {
        /// The key's file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The text is no public key of Ed25519.
    #[error(
        "no Ed25519 public key: expected what `openssl pkey -in KEY -pubout` writes, or the line within it"
    )]
    NotPublic,
    /// The text is no private key of Ed25519.
    #[error(
        "no Ed25519 private key: expected what `openssl genpkey -algorithm ed25519` writes, without a password"
    )]
    NotPrivate,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes for a key")]
    NoRandomness,
}

/// Why files are not accepted, or cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// A file or folder cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// There is no list of sums, or no signature.
    #[error(
        "{file}: not found, so nothing is signed; get the files again, or sign them ({SUMS}, {SIGNATURE})"
    )]
    Unsigned {
        /// The file that is missing: [`SUMS`] or [`SIGNATURE`].
        file: &'static str,
    },
    /// The signature is not one that the key has made over the list.
    #[error(
        "{SIGNATURE}: not made over this {SUMS} by the key {key}; the list was changed, or another key signed it"
    )]
    WrongSignature {
        /// [`PublicKey::fingerprint`](crate::PublicKey::fingerprint) of the key that was expected.
        key: String,
    },
    /// The list has another form than `sha256sum` gives it.
    #[error("{SUMS}, line {line}: {problem}; expected lines `SHA256  NAME`, sorted by name")]
    Malformed {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A name that the list cannot have.
    #[error("{name:?}: {problem}; rename the file")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file has other content than was signed.
    #[error("{file}: sha256 is {found}, expected {expected}; the file was changed, get it again")]
    WrongSum {
        /// The file's name in the list.
        file: String,
        /// Sum in the list.
        expected: Sum,
        /// Sum of the file.
        found: Sum,
    },
    /// A file of the list is not there.
    #[error("{file}: not found, expected a file with sha256 {expected}; get it again")]
    Missing {
        /// The file's name in the list.
        file: String,
        /// Sum in the list.
        expected: Sum,
    },
    /// A file is there that the list lacks.
    #[error("{file}: not in {SUMS}; remove it, or sign the files again")]
    Unlisted {
        /// The file.
        file: String,
    },
}

impl SigningError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            path: path.into(),
            source,
        }
    }
}
