//! A wheel's files in memory: a ZIP archive whose `RECORD` lists all of them with their sums.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

/// The list of a wheel's files, in its folder of metadata.
const RECORD: &str = ".dist-info/RECORD";

/// The files of a wheel by their names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Archive(BTreeMap<String, Vec<u8>>);

impl Archive {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let opened = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut archive = zip::ZipArchive::new(opened)?;
        let mut files = BTreeMap::new();
        for index in 0..archive.len() {
            let mut file = archive.by_index(index)?;
            if file.is_file() {
                let (name, mut bytes) = (file.name()?.into_owned(), Vec::new());
                file.read_to_end(&mut bytes)?;
                files.insert(name, bytes);
            }
        }
        Ok(Self(files))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
    }

    pub(super) fn insert(&mut self, name: String, bytes: Vec<u8>) {
        self.0.insert(name, bytes);
    }

    /// Lists all files anew, as the specification "Recording installed projects" says: name, sum, size, and of the list
    /// itself the name alone.
    pub(super) fn renew_record(&mut self) -> Result<()> {
        let record = self.0.keys().find(|name| name.ends_with(RECORD)).cloned();
        let record = record.context("the wheel has no RECORD")?;
        let mut lines = String::new();
        for (name, bytes) in self.files().filter(|(name, _)| *name != record) {
            let sum = URL_SAFE_NO_PAD.encode(Sha256::digest(bytes));
            lines += &format!("{name},sha256={sum},{}\n", bytes.len());
        }
        lines += &format!("{record},,\n");
        self.insert(record, lines.into_bytes());
        Ok(())
    }

    /// Writes the archive: sorted by name, without times, metadata last as the format asks for.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let is_metadata = |name: &str| name.contains(".dist-info/");
        let (metadata, package): (Vec<_>, Vec<_>) = self.files().partition(|(name, _)| is_metadata(name));
        for (name, bytes) in package.into_iter().chain(metadata) {
            let mode = if name.ends_with(".so") { 0o755 } else { 0o644 };
            let options = SimpleFileOptions::default()
                .last_modified_time(zip::DateTime::default())
                .unix_permissions(mode);
            writer.start_file(name, options)?;
            writer.write_all(bytes)?;
        }
        let bytes = writer.finish()?.into_inner();
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_record_lists_it() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.whl");
        let mut archive = Archive::default();
        archive.insert("p/empty".into(), Vec::new());
        archive.insert("p-1.dist-info/RECORD".into(), b"old".to_vec());
        archive.renew_record()?;
        archive.write(&path)?;
        let again = Archive::read(&path)?;
        assert_eq!(again, archive);
        let record = again.files().find(|(name, _)| name.ends_with(RECORD));
        // The SHA-256 of no bytes.
        let wanted = "p/empty,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\np-1.dist-info/RECORD,,\n";
        assert_eq!(record.map(|(_, bytes)| bytes), Some(wanted.as_bytes()));
        let bytes = std::fs::read(&path)?;
        again.write(&path)?;
        assert_eq!(std::fs::read(&path)?, bytes);
        Ok(())
    }
}
