//! What a key has signed of the package: its files, and the kernels that this extension brings.
//!
//! The folder of the installed package holds `SHA256SUMS` and `SHA256SUMS.sig` (crate `liquid-signing`), which list every
//! file, the texts of the kernels in [`KERNELS`] among them. Verified are the files, and that each text that this extension
//! would compile is listed: kernels are compiled from these texts alone. With [`REQUIRE`] no kernel runs before that.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use liquid_cuda::kernel_files as embedded;
use liquid_signing::{KeyError, PublicKey, SigningError, Sum, Sums, verify_folder_except};
use pyo3::prelude::*;

use crate::SignatureError;

/// The variable with the public key, PEM or the line within it, without whose signature no kernel runs.
pub(crate) const REQUIRE: &str = "LIQUID_MEMORY_REQUIRE_SIGNATURE";
/// The folder with the texts of the kernels, in that of the package.
const KERNELS: &str = "kernel_sources";
/// The folders in which Python keeps what it has compiled of the signed sources, after they were signed.
const BYTE_CODE: &str = "__pycache__";

/// Whether the files and kernels were verified by the required key.
static VERIFIED: AtomicBool = AtomicBool::new(false);

/// Why files or kernels are not accepted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{REQUIRE}: {0}")]
    RequiredKey(#[source] KeyError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{folder}: {source}", folder = .folder.display())]
    Files { folder: PathBuf, source: SigningError },
    #[error(
        "{REQUIRE} is set, and the kernels have not been verified; call require_signature before the first one"
    )]
    NotVerified,
}

impl From<Refusal> for PyErr {
    fn from(refusal: Refusal) -> Self {
        SignatureError::new_err(refusal.to_string())
    }
}

/// The required key as it was when it was first asked for: what a process changes later is not heard.
fn required() -> Option<&'static str> {
    static KEY: OnceLock<Option<String>> = OnceLock::new();
    let read = || std::env::var_os(REQUIRE).map(|key| key.to_string_lossy().into_owned());
    KEY.get_or_init(read).as_deref()
}

/// Whether a signature is required.
pub(crate) fn is_required() -> bool {
    required().is_some()
}

/// Refuses to go on where a signature is required and was not verified.
pub(crate) fn check_verified() -> PyResult<()> {
    match is_required() && !VERIFIED.load(Ordering::Acquire) {
        true => Err(Refusal::NotVerified.into()),
        false => Ok(()),
    }
}

fn verify_package(folder: &Path, key: &PublicKey) -> Result<Sums, Refusal> {
    let refuse = |source| {
        let folder = folder.to_owned();
        Refusal::Files { folder, source }
    };
    let is_byte_code = |name: &str| name.split('/').any(|part| part == BYTE_CODE);
    let sums = verify_folder_except(folder, key, is_byte_code).map_err(refuse)?;
    for (file, text) in embedded() {
        sums.verify(&format!("{KERNELS}/{file}"), Sum::of(text.as_bytes()))
            .map_err(refuse)?;
    }
    Ok(sums)
}

/// Verifies the package in `folder`, and the kernels of this extension, by a public key (PEM, or the line within it).
/// Returns the number of files and the key's fingerprint; raises `SignatureError`, which names the file.
#[pyfunction]
pub(crate) fn verify(folder: PathBuf, key: &str) -> PyResult<(usize, String)> {
    let key: PublicKey = key.parse().map_err(Refusal::Key)?;
    let sums = verify_package(&folder, &key)?;
    Ok((sums.len(), key.fingerprint()))
}

/// Verifies the package in `folder` as [`verify`] does by the key of `LIQUID_MEMORY_REQUIRE_SIGNATURE`, once; does nothing
/// where it is not set. Until this has succeeded kernels refuse to run.
#[pyfunction]
pub(crate) fn require_signature(folder: PathBuf) -> PyResult<()> {
    let Some(key) = required() else {
        return Ok(());
    };
    if !VERIFIED.load(Ordering::Acquire) {
        let key: PublicKey = key.parse().map_err(Refusal::RequiredKey)?;
        verify_package(&folder, &key)?;
        VERIFIED.store(true, Ordering::Release);
    }
    Ok(())
}

/// The texts of all kernels by the names of their files below the package's folder.
#[pyfunction]
pub(crate) fn kernel_files() -> Vec<(String, String)> {
    let files = embedded().into_iter();
    files
        .map(|(file, text)| (format!("{KERNELS}/{file}"), text))
        .collect()
}
