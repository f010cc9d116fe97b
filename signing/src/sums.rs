//! The list of files and their sums, and its signature.

use std::collections::BTreeMap;
use std::fmt;

use crate::{PrivateKey, PublicKey, SIGNATURE, SUMS, SigningError, Sum};

/// Files by name, each with its sum; displayed as `sha256sum` writes it, sorted by name.
///
/// A name is a path below the signed folder, with slashes: no part of it is empty, `.` or `..`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(BTreeMap<String, Sum>);

impl Sums {
    /// Adds a file.
    ///
    /// # Errors
    /// [`SigningError::Name`] if the list cannot have this name, or has it already.
    pub fn insert(&mut self, name: &str, sum: Sum) -> Result<(), SigningError> {
        let refuse = |problem| {
            let name = name.to_owned();
            Err(SigningError::Name { name, problem })
        };
        if let Some(problem) = problem(name) {
            return refuse(problem);
        }
        match self.0.insert(name.to_owned(), sum) {
            Some(_) => refuse("is there twice"),
            None => Ok(()),
        }
    }

    /// Returns the sum of a file, if it is in the list.
    pub fn get(&self, name: &str) -> Option<Sum> {
        self.0.get(name).copied()
    }

    /// Returns all files with their sums, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Sum)> {
        self.0.iter().map(|(name, sum)| (name.as_str(), *sum))
    }

    /// Returns the number of files.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no file.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the signature over the list, for [`SIGNATURE`].
    pub fn sign(&self, key: &PrivateKey) -> Vec<u8> {
        key.sign(self.to_string().as_bytes())
    }

    /// Reads a list that was signed: its signature is checked before anything of it is read.
    ///
    /// # Errors
    /// [`SigningError::WrongSignature`] and [`SigningError::Malformed`].
    pub fn open(list: &[u8], signature: &[u8], key: &PublicKey) -> Result<Self, SigningError> {
        if !key.verifies(list, signature) {
            let key = key.fingerprint();
            return Err(SigningError::WrongSignature { key });
        }
        Self::parse(list)
    }

    /// Checks the sum of a file that was found.
    ///
    /// # Errors
    /// [`SigningError::Unlisted`] and [`SigningError::WrongSum`].
    pub fn verify(&self, name: &str, found: Sum) -> Result<(), SigningError> {
        let file = name.to_owned();
        match self.get(name) {
            None => Err(SigningError::Unlisted { file }),
            Some(expected) if expected != found => Err(SigningError::WrongSum {
                file,
                expected,
                found,
            }),
            Some(_) => Ok(()),
        }
    }

    fn parse(list: &[u8]) -> Result<Self, SigningError> {
        let malformed = |line, problem| SigningError::Malformed { line, problem };
        let text = std::str::from_utf8(list).map_err(|_| malformed(1, "is not UTF-8"))?;
        let (mut sums, mut last) = (Self::default(), "");
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let line_malformed = |problem| malformed(number + 1, problem);
            let line = line
                .strip_suffix('\n')
                .ok_or(line_malformed("has no end of line"))?;
            let (sum, name) = line.split_once("  ").ok_or(line_malformed("has no two spaces"))?;
            let sum = Sum::parse(sum).ok_or(line_malformed("has no SHA-256 in lower-case hexadecimal"))?;
            if let Some(problem) = problem(name) {
                return Err(line_malformed(problem));
            }
            if name <= last {
                return Err(line_malformed("is not in order"));
            }
            last = name;
            sums.0.insert(name.to_owned(), sum);
        }
        Ok(sums)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, sum) in &self.0 {
            writeln!(formatter, "{sum}  {name}")?;
        }
        Ok(())
    }
}

/// Returns what is wrong with a name.
fn problem(name: &str) -> Option<&'static str> {
    if name == SUMS || name == SIGNATURE {
        return Some("is the list or its signature");
    }
    // What stands for bytes of a name that are no text.
    if name.contains('\u{fffd}') {
        return Some("is not UTF-8");
    }
    // `sha256sum` writes these with escapes.
    if name.contains(['\\', '\n', '\r']) {
        return Some("has a backslash or a line break in it");
    }
    let leaves = |part: &str| part.is_empty() || part == "." || part == "..";
    name.split('/')
        .any(leaves)
        .then_some("has a part that is empty, '.' or '..'")
}
