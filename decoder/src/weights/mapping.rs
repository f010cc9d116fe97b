//! A file mapped into memory.
#![allow(unsafe_code, reason = "the system maps the file; nothing safe does")]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;

/// The bytes of a file, read by the system as they are needed.
pub(super) struct Mapping(Mmap);

impl Mapping {
    /// Maps a file for reading.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        // SAFETY: the bytes are only ever copied, and any value of them is valid. A model folder does not change while it
        // is loaded; one that another program cuts short meanwhile ends this process by a signal of the system.
        let mapping = unsafe { Mmap::map(&file)? };
        Ok(Self(mapping))
    }

    /// Returns the content of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
