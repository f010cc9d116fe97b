//! Puts results into files.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes a file, and the folders above it where they are missing.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let at = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(at)?;
    }
    std::fs::write(path, bytes).with_context(at)
}

/// Writes a value as JSON for people.
pub(crate) fn write_json(path: &Path, value: &(impl Serialize + ?Sized)) -> Result<()> {
    write(path, &serde_json::to_vec_pretty(value)?)
}
