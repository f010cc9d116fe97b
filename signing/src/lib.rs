//! Signed lists of files, for what is carried from one place to another: bundles, models, kernels.
//!
//! A folder is signed by two files in it. [`SUMS`] has a line for each other file, as `sha256sum` writes it; [`SIGNATURE`]
//! is the Ed25519 signature (RFC 8032, 64 bytes) over the bytes of that list. Keys are PEM as OpenSSL has them. So common
//! tools check a folder too:
//!
//! ```text
//! openssl pkeyutl -verify -pubin -inkey KEY.pub -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
//! sha256sum --check --strict SHA256SUMS
//! ```
//!
//! They do not see files that the list lacks; [`verify_folder`] refuses those as well.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use liquid_signing::{PrivateKey, sign_folder, verify_folder};
//!
//! let folder = tempfile::tempdir()?;
//! std::fs::write(folder.path().join("weights"), "0.5")?;
//! let key = PrivateKey::generate()?;
//! sign_folder(folder.path(), &key)?;
//! verify_folder(folder.path(), &key.public_key())?;
//!
//! std::fs::write(folder.path().join("weights"), "0.6")?;
//! assert!(verify_folder(folder.path(), &key.public_key()).is_err());
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod error;
mod folder;
mod key;
mod sum;
mod sums;
#[cfg(test)]
mod tests;

pub use error::{KeyError, SigningError};
pub use folder::{sign_folder, verify_folder, verify_folder_except};
pub use key::{PrivateKey, PublicKey};
pub use sum::Sum;
pub use sums::Sums;

/// Name of the list of files and their sums.
pub const SUMS: &str = "SHA256SUMS";

/// Name of the signature over [`SUMS`].
pub const SIGNATURE: &str = "SHA256SUMS.sig";
