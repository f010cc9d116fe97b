//! The folder of a bundle as one tar. The list of sums and its signature are its first files, so that whoever reads it
//! once from its beginning knows what to expect of each further file.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};
use liquid_signing::{SIGNATURE, SUMS, Sums};
use tar::{Builder, HeaderMode};

use crate::images::file_header;

/// Packs a signed folder.
pub(super) fn write(folder: &Path, sums: &Sums, archive: &Path) -> Result<()> {
    let partial = archive.with_extension("partial");
    let mut tar = Builder::new(BufWriter::new(File::create(&partial)?));
    tar.mode(HeaderMode::Deterministic);
    for name in [SUMS, SIGNATURE]
        .into_iter()
        .chain(sums.iter().map(|(name, _)| name))
    {
        let file = File::open(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
        let mut header = file_header(file.metadata()?.len());
        tar.append_data(&mut header, name, file)?;
    }
    tar.into_inner()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    fs::rename(partial, archive)?;
    Ok(())
}
