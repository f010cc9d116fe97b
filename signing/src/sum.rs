//! A SHA-256 of a file.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// What is read of a file at a time.
const BUFFER: usize = 1 << 20;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sum([u8; 32]);

impl Sum {
    /// Returns the sum of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the sum of everything that a reader gives.
    ///
    /// # Errors
    /// Those of the reader.
    pub fn read(mut reader: impl Read) -> io::Result<Self> {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(Self(hasher.finalize().into())),
                Ok(read) => hasher.update(buffer.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads lower-case hexadecimal.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut sum = [0; 32];
        base16ct::lower::decode(text, &mut sum).ok()?;
        (text.len() == 64).then_some(Self(sum))
    }
}

/// Lower-case hexadecimal.
impl fmt::Display for Sum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl fmt::Debug for Sum {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sum({self})")
    }
}
