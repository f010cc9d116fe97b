//! Puts results into files.

use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file, and the folders above it where they are missing.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let at = || format!("cannot write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(at)?;
    }
    std::fs::write(path, bytes).with_context(at)
}
