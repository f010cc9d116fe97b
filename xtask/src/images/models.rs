//! The folder of a model in an image, and its signature.

use std::path::Path;

use anyhow::{Context, Result};
use liquid_signing::{PrivateKey, SIGNATURE, SUMS, Sums};

use super::layer::Layer;

/// Adds all files of a model's folder; `place` is the folder in the image, empty for the image's root.
pub(super) fn add(layer: &mut Layer, place: &str, folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        layer.file(&inside(place, &name.to_string_lossy()), &entry.path())?;
    }
    Ok(())
}

/// With a key, adds the list of the sums of all files in a model's folder and below it, and the list's signature.
pub(super) fn sign(layer: &mut Layer, place: &str, key: Option<&PrivateKey>) -> Result<()> {
    let Some(key) = key else {
        return Ok(());
    };
    let mut sums = Sums::default();
    for (name, sum) in layer.sums(&inside(place, ""))? {
        sums.insert(&name, sum)?;
    }
    layer.bytes(&inside(place, SUMS), sums.to_string());
    layer.bytes(&inside(place, SIGNATURE), sums.sign(key));
    Ok(())
}

/// The path of a file in a folder of the image.
pub(super) fn inside(place: &str, name: &str) -> String {
    match place {
        "" => name.to_owned(),
        place => format!("{place}/{name}"),
    }
}
