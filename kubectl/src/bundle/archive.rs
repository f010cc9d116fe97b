//! The archive: a tar whose first files are the list of sums and its signature. Opening it reads all of it once; nothing is
//! unpacked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use liquid_signing::{PublicKey, SIGNATURE, SUMS, SigningError, Sum, Sums};

/// Longest list, signature, index or manifest that is read into memory, in bytes.
const LONGEST: u64 = 16 << 20;

/// An archive that holds what was signed, and nothing else.
pub(super) struct Archive {
    path: PathBuf,
    sums: Sums,
    places: BTreeMap<String, Place>,
}

/// Where the content of a file is in the archive, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Place {
    start: u64,
    pub(super) size: u64,
}

impl Archive {
    /// Checks an archive: the signature of the list, then each file against it.
    ///
    /// # Errors
    /// [`SigningError`] names what is wrong; others say that the file is no such archive.
    pub(super) fn open(path: &Path, key: &PublicKey) -> Result<Self> {
        let file = File::open(path).context("cannot open it")?;
        let mut tar = tar::Archive::new(BufReader::with_capacity(1 << 20, file));
        let (mut head, mut sums) = (Vec::new(), None);
        let mut places = BTreeMap::new();
        for entry in tar.entries_with_seek().context("not a tar")? {
            let mut entry = entry.context("not a whole tar")?;
            let name = entry.path().context("a file has no name")?.display().to_string();
            ensure!(
                entry.header().entry_type().is_file(),
                "{name}: is no plain file, and a bundle has no other"
            );
            let place = Place {
                start: entry.raw_file_position(),
                size: entry.size(),
            };
            let Some(sums) = &sums else {
                // The list, then its signature: without both, nothing behind them is looked at.
                let expected = if head.is_empty() { SUMS } else { SIGNATURE };
                ensure!(name == expected, SigningError::Unsigned { file: expected });
                head.push(small(&mut entry, place.size, &name)?);
                if let [list, signature] = head.as_slice() {
                    sums = Some(Sums::open(list, signature, key)?);
                }
                continue;
            };
            let found = Sum::read(&mut entry).with_context(|| format!("{name}: cannot be read"))?;
            sums.verify(&name, found)?;
            ensure!(
                places.insert(name.clone(), place).is_none(),
                "{name}: is there twice"
            );
        }
        let unsigned = || SigningError::Unsigned {
            file: if head.is_empty() { SUMS } else { SIGNATURE },
        };
        let sums = sums.ok_or_else(unsigned)?;
        if let Some((file, expected)) = sums.iter().find(|(name, _)| !places.contains_key(*name)) {
            let file = file.to_owned();
            return Err(SigningError::Missing { file, expected }.into());
        }
        Ok(Self {
            path: path.to_owned(),
            sums,
            places,
        })
    }

    /// Returns the number of signed files.
    pub(super) fn files(&self) -> usize {
        self.places.len()
    }

    /// Returns where a file is, if there is one of this name.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.places.get(name).copied()
    }

    /// Reads a file of some megabytes at most; its sum is checked once more.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>> {
        let place = self
            .place(name)
            .with_context(|| format!("{name}: the bundle has no such file"))?;
        let bytes = small(self.reader(place)?, place.size, name)?;
        self.sums.verify(name, Sum::of(&bytes))?;
        Ok(bytes)
    }

    /// Returns a reader of a file's content.
    pub(super) fn reader(&self, place: Place) -> Result<std::io::Take<File>> {
        let open = || {
            let mut file = File::open(&self.path)?;
            file.seek(SeekFrom::Start(place.start))?;
            Ok::<_, std::io::Error>(file.take(place.size))
        };
        open().with_context(|| format!("cannot read {}", self.path.display()))
    }
}

fn small(mut reader: impl Read, size: u64, name: &str) -> Result<Vec<u8>> {
    ensure!(
        size <= LONGEST,
        "{name}: has {size} bytes, at most {LONGEST} are read"
    );
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .with_context(|| format!("{name}: cannot be read"))?;
    Ok(bytes)
}
