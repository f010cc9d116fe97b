//! The folder of a bundle as one tar. The list of sums and its signature are its first files, so that whoever reads it
//! once from its beginning knows what to expect of each further file.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use liquid_signing::{SIGNATURE, SUMS, Sums};

use crate::images::{file_header, write_tar};

/// Packs a signed folder.
pub(super) fn write(folder: &Path, sums: &Sums, archive: &Path) -> Result<()> {
    write_tar(archive, |tar| {
        for name in [SUMS, SIGNATURE]
            .into_iter()
            .chain(sums.iter().map(|(name, _)| name))
        {
            let file = File::open(folder.join(name)).with_context(|| format!("cannot read {name}"))?;
            let mut header = file_header(file.metadata()?.len());
            tar.append_data(&mut header, name, file)?;
        }
        Ok(())
    })
}
