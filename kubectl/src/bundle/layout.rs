//! What is in a bundle's OCI image layout: images, models and charts, each a manifest and the blobs that it names.

use anyhow::{Context, Result, ensure};
use liquid_contract::files::BUNDLE_IMAGES;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageIndex, ImageManifest};
use serde::Serialize;

use super::archive::{Archive, Place};

/// An image, a model or a chart.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Item {
    /// Its name below the registry's path, such as `liquid-operator` or `charts/liquid-memory`.
    pub(super) repository: String,
    pub(super) tag: String,
    /// Digest of the manifest.
    pub(super) digest: String,
    #[serde(skip)]
    pub(super) manifest: Manifest,
    /// What the manifest names: configuration and layers.
    pub(super) blobs: Vec<Blob>,
}

/// A manifest as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Vec<u8>,
}

/// A blob of an item.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Blob {
    pub(super) digest: String,
    /// Bytes.
    pub(super) size: u64,
}

impl Item {
    /// Returns the bytes of all blobs.
    pub(super) fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }
}

impl Blob {
    /// Returns where the blob is in the archive.
    pub(super) fn place(&self, archive: &Archive) -> Result<Place> {
        let name = blob_name(&self.digest);
        archive
            .place(&name)
            .with_context(|| format!("{name}: a manifest names it, and the bundle lacks it"))
    }
}

/// Reads the index and every manifest of a bundle; fails unless all that they name is there.
pub(super) fn items(archive: &Archive) -> Result<Vec<Item>> {
    let name = format!("{BUNDLE_IMAGES}/index.json");
    let index = ImageIndex::from_reader(archive.read(&name)?.as_slice()).context(name)?;
    index
        .manifests()
        .iter()
        .map(|descriptor| item(archive, descriptor))
        .collect()
}

fn item(archive: &Archive, descriptor: &Descriptor) -> Result<Item> {
    let digest = descriptor.digest().to_string();
    let annotations = descriptor.annotations().as_ref();
    let name = annotations.and_then(|annotations| annotations.get(ANNOTATION_REF_NAME));
    let (repository, tag) = name
        .and_then(|name| name.rsplit_once(':'))
        .with_context(|| format!("{digest}: the index gives it no name with a tag"))?;
    let bytes = archive.read(&blob_name(&digest))?;
    let manifest = ImageManifest::from_reader(bytes.as_slice()).with_context(|| digest.clone())?;
    let blobs = std::iter::once(manifest.config()).chain(manifest.layers());
    let blobs = blobs.map(|descriptor| {
        let blob = Blob {
            digest: descriptor.digest().to_string(),
            size: descriptor.size(),
        };
        let place = blob.place(archive)?;
        ensure!(
            place.size == blob.size,
            "{}: has {} bytes, its manifest says {}",
            blob.digest,
            place.size,
            blob.size
        );
        Ok(blob)
    });
    Ok(Item {
        repository: repository.to_owned(),
        tag: tag.to_owned(),
        manifest: Manifest {
            media_type: descriptor.media_type().to_string(),
            bytes,
        },
        blobs: blobs.collect::<Result<_>>()?,
        digest,
    })
}

/// The file of a blob: `sha256:SUM` is `blobs/sha256/SUM`.
fn blob_name(digest: &str) -> String {
    format!("{BUNDLE_IMAGES}/blobs/{}", digest.replace(':', "/"))
}
