//! Blobs: files that are named by the SHA-256 of their content.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use oci_spec::image::{Descriptor, MediaType, Sha256Digest};
use sha2::{Digest, Sha256};

/// A file in a folder of blobs.
#[derive(Clone)]
pub(crate) struct Blob {
    /// In lower-case hexadecimal.
    pub(crate) sum: String,
    pub(super) size: u64,
    pub(crate) path: PathBuf,
}

impl Blob {
    /// Gives a written file its name.
    pub(super) fn place(folder: &Path, partial: &Path, size: u64, sum: String) -> Result<Self> {
        let path = folder.join(&sum);
        fs::rename(partial, &path)?;
        Ok(Self { sum, size, path })
    }

    pub(crate) fn write(folder: &Path, content: &[u8]) -> Result<Self> {
        let mut hashing = Hashing::new(std::io::sink());
        hashing.write_all(content)?;
        let (_, size, sum) = hashing.finish();
        let path = folder.join(&sum);
        fs::write(&path, content)?;
        Ok(Self { sum, size, path })
    }

    pub(crate) fn descriptor(&self, kind: MediaType) -> Result<Descriptor> {
        let sum = self.sum.parse::<Sha256Digest>()?;
        Ok(Descriptor::new(kind, self.size, sum))
    }
}

/// Counts and sums what is written through it.
pub(super) struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            size: 0,
        }
    }

    /// What it wrote to, how many bytes, and their sum in hexadecimal.
    pub(super) fn finish(self) -> (W, u64, String) {
        let sum = self.hasher.finalize();
        (self.inner, self.size, base16ct::lower::encode_string(&sum))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
