//! The folder that becomes a bundle, before it is signed.

use std::fs;
use std::path::Path;

use anyhow::Result;
use liquid_contract::files::{BUNDLE_CHARTS, BUNDLE_IMAGES};

use super::packages::Workspace;
use super::{Order, charts, licenses, sbom};
use crate::images::{self, LAYOUT};

/// Writes everything but the list of sums and its signature.
pub(super) fn fill(order: &Order, folder: &Path) -> Result<()> {
    let layout = folder.join(BUNDLE_IMAGES);
    let blobs = layout.join("blobs/sha256");
    let (sboms, texts) = (folder.join("sboms"), folder.join("licenses"));
    for folder in [&blobs, &sboms, &texts, &folder.join(BUNDLE_CHARTS)] {
        fs::create_dir_all(folder)?;
    }
    let workspace = Workspace::read()?;
    let mut manifests = Vec::new();
    for name in order.names {
        let image = images::image(*name, &order.ingredients)?.store(&blobs)?;
        images::check_size(*name, order.ingredients.programs, image.size())?;
        manifests.push(image.descriptor(&name.short_reference())?);
        let content = workspace.content(*name, order.ingredients.programs)?;
        let file = name.file();
        fs::write(
            sboms.join(format!("{file}.cdx.json")),
            sbom::write(*name, &image, &content)?,
        )?;
        fs::write(texts.join(format!("{file}.txt")), licenses::write(&content)?)?;
    }
    for chart in charts::CHARTS {
        manifests.push(charts::pack(chart, folder, &blobs, order.provenance)?);
    }
    fs::write(layout.join("index.json"), images::index(manifests)?)?;
    fs::write(layout.join("oci-layout"), LAYOUT)?;
    Ok(())
}
