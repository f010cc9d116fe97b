//! Signing a folder, and checking one that was signed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::{PrivateKey, PublicKey, SIGNATURE, SUMS, SigningError, Sum, Sums};

/// Writes [`SUMS`] and [`SIGNATURE`] into a folder, over all other files in it and below it. Returns the list.
///
/// # Errors
/// [`SigningError::File`] and [`SigningError::Name`].
pub fn sign_folder(folder: &Path, key: &PrivateKey) -> Result<Sums, SigningError> {
    let mut sums = Sums::default();
    for file in files(folder)? {
        sums.insert(&file.name, file.sum()?)?;
    }
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(|error| SigningError::file(path, error))
    };
    write(SUMS, sums.to_string().as_bytes())?;
    write(SIGNATURE, &sums.sign(key))?;
    Ok(sums)
}

/// Checks that a folder holds exactly what was signed by the key: the signature, each file's sum, and that there is no
/// other file. Returns the list.
///
/// A link to a file counts as a file, a link to a folder as a file that nobody signed.
///
/// # Errors
/// [`SigningError`] names the file, and what was expected and found.
pub fn verify_folder(folder: &Path, key: &PublicKey) -> Result<Sums, SigningError> {
    verify_folder_except(folder, key, |_| false)
}

/// Checks a folder as [`verify_folder`] does, but for unsigned files that `is_left_out` names: what programs write into it
/// by themselves after it was signed. A file of the list is checked whatever `is_left_out` says.
///
/// # Errors
/// [`SigningError`], as of [`verify_folder`].
pub fn verify_folder_except(
    folder: &Path,
    key: &PublicKey,
    is_left_out: impl Fn(&str) -> bool,
) -> Result<Sums, SigningError> {
    let read = |name: &'static str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => SigningError::Unsigned { file: name },
            _ => SigningError::file(path, error),
        })
    };
    let sums = Sums::open(&read(SUMS)?, &read(SIGNATURE)?, key)?;
    let mut files = files(folder)?;
    files.retain(|file| sums.get(&file.name).is_some() || !is_left_out(&file.name));
    // What costs nothing first: the folder may hold many gigabytes.
    for (name, expected) in sums.iter() {
        if files
            .binary_search_by(|file| file.name.as_str().cmp(name))
            .is_err()
        {
            let file = name.to_owned();
            return Err(SigningError::Missing { file, expected });
        }
    }
    if let Some(file) = files.iter().find(|file| sums.get(&file.name).is_none()) {
        let file = file.name.clone();
        return Err(SigningError::Unlisted { file });
    }
    for file in files {
        sums.verify(&file.name, file.sum()?)?;
    }
    Ok(sums)
}

/// A file below the folder.
struct FoundFile {
    name: String,
    path: PathBuf,
}

impl FoundFile {
    fn sum(&self) -> Result<Sum, SigningError> {
        let sum = File::open(&self.path).and_then(Sum::read);
        sum.map_err(|error| SigningError::file(&self.path, error))
    }
}

/// Returns all files but the list and its signature, sorted by name.
fn files(folder: &Path) -> Result<Vec<FoundFile>, SigningError> {
    let (mut found, mut folders) = (Vec::new(), vec![(String::new(), folder.to_owned())]);
    while let Some((prefix, folder)) = folders.pop() {
        let failed = |error| SigningError::file(&folder, error);
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let path = entry.path();
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push((format!("{name}/"), path));
            } else if name != SUMS && name != SIGNATURE {
                found.push(FoundFile { name, path });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
