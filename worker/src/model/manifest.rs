//! Checks the files of a model folder against the sums in its `manifest.json`; the first step of loading.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use base16ct::lower::encode_string;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Name of the manifest in a model folder.
pub const MANIFEST: &str = "manifest.json";

/// Why a model folder fails its manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file is missing or cannot be read.
    #[error(
        "{path}: {source}; `cargo xtask model` fetches the model, `model.folder` says where it is",
        path = .path.display()
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The manifest is not JSON, or has other fields than it must have.
    #[error(
        "{path}: expected {{\"name\": ..., \"files\": {{\"<file>\": \"<sha256>\"}}}}: {source}",
        path = .path.display()
    )]
    Malformed {
        /// The manifest.
        path: PathBuf,
        /// Error of the JSON reader.
        source: serde_json::Error,
    },
    /// A file that the model needs has no sum.
    #[error("{path}: has no sum for {file}, which the model needs", path = .path.display())]
    Unlisted {
        /// The manifest.
        path: PathBuf,
        /// The file without a sum.
        file: &'static str,
    },
    /// A file has another sum than the manifest says.
    #[error(
        "{path}: sha256 is {actual}, but the manifest says {expected}; fetch the model again",
        path = .path.display()
    )]
    WrongSum {
        /// The file.
        path: PathBuf,
        /// Sum in the manifest.
        expected: String,
        /// Sum of the file.
        actual: String,
    },
    /// The folder holds another model than the configuration asks for.
    #[error(
        "{path}: sha256 is {actual}, but model.sha256 asks for {expected}; correct the sum, or give the \
         folder of that model",
        path = .path.display()
    )]
    OtherModel {
        /// The manifest.
        path: PathBuf,
        /// Sum in the configuration.
        expected: String,
        /// Sum of the manifest.
        actual: String,
    },
}

/// Checks that a folder holds the model that was asked for: `expected` is the SHA-256 of its manifest, which
/// in turn holds the sums of all other files.
///
/// # Errors
/// [`ManifestError::Unreadable`] and [`ManifestError::OtherModel`].
pub fn is_model(folder: &Path, expected: &str) -> Result<(), ManifestError> {
    let path = folder.join(MANIFEST);
    let actual = encode_string(&Sha256::digest(read(&path)?));
    if actual == expected.to_ascii_lowercase() {
        return Ok(());
    }
    Err(ManifestError::OtherModel {
        path,
        expected: expected.to_owned(),
        actual,
    })
}

/// The file `manifest.json`: a model's name and the SHA-256 of each of its files in lower-case hexadecimal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The model's name.
    pub(super) name: String,
    files: BTreeMap<String, String>,
    #[serde(skip)]
    folder: PathBuf,
}

/// A file whose sum is the one in the manifest.
#[derive(Debug)]
pub(super) struct VerifiedFile {
    /// Path of the file.
    pub(super) path: PathBuf,
    /// Content of the file.
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of the content, in lower-case hexadecimal.
    pub(super) sha256: String,
}

impl Manifest {
    /// Reads the manifest of a model folder.
    ///
    /// # Errors
    /// [`ManifestError::Unreadable`] and [`ManifestError::Malformed`].
    pub(super) fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(MANIFEST);
        let bytes = read(&path)?;
        let mut manifest: Self =
            serde_json::from_slice(&bytes).map_err(|source| ManifestError::Malformed { path, source })?;
        manifest.folder = folder.to_owned();
        Ok(manifest)
    }

    /// Reads one file of the model and checks its sum.
    ///
    /// # Errors
    /// [`ManifestError::Unlisted`], [`ManifestError::Unreadable`] and [`ManifestError::WrongSum`].
    pub(super) fn file(&self, name: &'static str) -> Result<VerifiedFile, ManifestError> {
        let Some(expected) = self.files.get(name) else {
            return Err(ManifestError::Unlisted {
                path: self.folder.join(MANIFEST),
                file: name,
            });
        };
        let path = self.folder.join(name);
        let bytes = read(&path)?;
        let sha256 = encode_string(&Sha256::digest(&bytes));
        if sha256 != expected.to_ascii_lowercase() {
            return Err(ManifestError::WrongSum {
                path,
                expected: expected.clone(),
                actual: sha256,
            });
        }
        Ok(VerifiedFile { path, bytes, sha256 })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ManifestError> {
    std::fs::read(path).map_err(|source| ManifestError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
