//! An image as one file: the OCI image layout in a tar, which `ctr images import`, skopeo, crane and podman read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::image::{
    ANNOTATION_REF_NAME, ANNOTATION_TITLE, Arch, ConfigBuilder, Descriptor, ImageConfigurationBuilder,
    ImageIndexBuilder, ImageManifestBuilder, MediaType, Os, RootFsBuilder, SCHEMA_VERSION,
};
use tar::{Builder, Header, HeaderMode};

use super::blob::Blob;
use super::layer::{Layer, Packing, Stored};

/// Reads as a number, so that kubelet can tell that it is not root.
pub(super) const USER: &str = "65532:65532";

/// The file `oci-layout`.
pub(crate) const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image before it is written.
pub(crate) struct Image {
    /// `REGISTRY/NAME:TAG`.
    pub(crate) reference: String,
    /// What runs; empty for an image that is only mounted.
    pub(crate) entrypoint: Vec<String>,
    pub(crate) environment: Vec<String>,
    pub(crate) user: User,
    pub(crate) layers: Vec<(Layer, Packing)>,
    pub(crate) title: &'static str,
}

/// The user that an image runs as, unless the pod names another.
pub(crate) enum User {
    Nobody,
    /// Tools of the test cluster only.
    Root,
}

/// An image whose blobs are in a folder.
pub(crate) struct StoredImage {
    pub(crate) reference: String,
    manifest: Blob,
    blobs: Vec<Blob>,
}

/// A written image.
pub(crate) struct Written {
    pub(crate) reference: String,
    pub(crate) archive: PathBuf,
    /// Of its manifest: what a registry calls it.
    pub(crate) digest: String,
    /// What a registry stores and a node fetches.
    pub(crate) size: u64,
}

impl Image {
    /// Writes `FOLDER/NAME.tar`.
    pub(crate) fn write(self, folder: &Path) -> Result<Written> {
        fs::create_dir_all(folder)?;
        let name = self.reference.rsplit('/').next().unwrap_or_default();
        let name = name.split(':').next().unwrap_or_default().to_owned();
        let blobs = folder.join(format!("{name}.blobs"));
        let _ = fs::remove_dir_all(&blobs);
        fs::create_dir_all(&blobs)?;
        let written = self.pack(&blobs, &folder.join(format!("{name}.tar")));
        fs::remove_dir_all(&blobs)?;
        written.with_context(|| format!("cannot make the image {name}"))
    }

    fn pack(self, blobs: &Path, archive: &Path) -> Result<Written> {
        let image = self.store(blobs)?;
        let tag = image.reference.rsplit(':').next().unwrap_or_default();
        let index = index(vec![image.descriptor(tag)?])?;
        write_archive(archive, image.blobs.iter().collect(), &index)?;
        Ok(Written {
            digest: image.digest(),
            size: image.size(),
            reference: image.reference,
            archive: archive.to_owned(),
        })
    }

    /// Writes the image's blobs into a folder.
    pub(crate) fn store(mut self, folder: &Path) -> Result<StoredImage> {
        let mut stored = Vec::new();
        for (layer, packing) in std::mem::take(&mut self.layers) {
            stored.push(layer.store(folder, packing)?);
        }
        let config = Blob::write(folder, self.configuration(&stored)?.as_bytes())?;
        let layers = stored
            .iter()
            .map(|stored| stored.blob.descriptor(kind(stored.packing)));
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor(MediaType::ImageConfig)?)
            .layers(layers.collect::<Result<Vec<_>>>()?)
            .build()?;
        let manifest = Blob::write(folder, manifest.to_string()?.as_bytes())?;
        let mut blobs = stored.into_iter().map(|stored| stored.blob).collect::<Vec<_>>();
        blobs.extend([config, manifest.clone()]);
        Ok(StoredImage {
            reference: self.reference,
            manifest,
            blobs,
        })
    }

    fn configuration(&self, layers: &[Stored]) -> Result<String> {
        let mut config = ConfigBuilder::default()
            .env(self.environment.clone())
            .labels(HashMap::from([(
                ANNOTATION_TITLE.to_owned(),
                self.title.to_owned(),
            )]));
        if !self.entrypoint.is_empty() {
            config = config.entrypoint(self.entrypoint.clone());
        }
        if matches!(self.user, User::Nobody) {
            config = config.user(USER);
        }
        let sums = layers.iter().map(|layer| format!("sha256:{}", layer.diff_id));
        let files = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(sums.collect::<Vec<_>>())
            .build()?;
        let whole = ImageConfigurationBuilder::default()
            .architecture(architecture())
            .os(Os::Linux)
            .config(config.build()?)
            .rootfs(files)
            .build()?;
        Ok(whole.to_string()?)
    }
}

impl StoredImage {
    /// Digest of the manifest: what a registry calls the image.
    pub(crate) fn digest(&self) -> String {
        format!("sha256:{}", self.manifest.sum)
    }

    /// What a registry stores and a node fetches, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.size).sum()
    }

    /// The image's entry in an index, where it has this name.
    pub(crate) fn descriptor(&self, name: &str) -> Result<Descriptor> {
        let mut descriptor = self.manifest.descriptor(MediaType::ImageManifest)?;
        // containerd reads the first, skopeo and podman the second.
        descriptor.set_annotations(Some(HashMap::from([
            ("io.containerd.image.name".to_owned(), self.reference.clone()),
            (ANNOTATION_REF_NAME.to_owned(), name.to_owned()),
        ])));
        Ok(descriptor)
    }
}

/// The file `index.json` of an image layout.
pub(crate) fn index(manifests: Vec<Descriptor>) -> Result<String> {
    let index = ImageIndexBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()?;
    // The annotations' map has no order of its own.
    let mut index = serde_json::to_value(&index)?;
    index.sort_all_objects();
    Ok(index.to_string())
}

fn write_archive(path: &Path, mut blobs: Vec<&Blob>, index: &str) -> Result<()> {
    blobs.sort_by(|a, b| a.sum.cmp(&b.sum));
    blobs.dedup_by(|a, b| a.sum == b.sum);
    write_tar(path, |tar| {
        for blob in blobs {
            let mut header = file_header(blob.size);
            tar.append_data(
                &mut header,
                format!("blobs/sha256/{}", blob.sum),
                File::open(&blob.path)?,
            )?;
        }
        for (name, text) in [("index.json", index), ("oci-layout", LAYOUT)] {
            tar.append_data(&mut file_header(text.len() as u64), name, text.as_bytes())?;
        }
        Ok(())
    })
}

/// Writes a tar, which gets its name when it is whole.
pub(crate) fn write_tar(
    path: &Path,
    fill: impl FnOnce(&mut Builder<BufWriter<File>>) -> Result<()>,
) -> Result<()> {
    let partial = path.with_extension("partial");
    let mut tar = Builder::new(BufWriter::new(File::create(&partial)?));
    tar.mode(HeaderMode::Deterministic);
    fill(&mut tar)?;
    tar.into_inner()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    fs::rename(partial, path)?;
    Ok(())
}

/// A header of a plain file, without owner and time.
pub(crate) fn file_header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(0);
    header
}

fn kind(packing: Packing) -> MediaType {
    match packing {
        Packing::Gzip => MediaType::ImageLayerGzip,
        Packing::Plain => MediaType::ImageLayer,
    }
}

/// Of the machine that builds: the binaries are its own.
fn architecture() -> Arch {
    match std::env::consts::ARCH {
        "aarch64" => Arch::ARM64,
        _ => Arch::Amd64,
    }
}
