//! An image as one file: the OCI image layout in a tar, which `ctr images import`, skopeo, crane and podman read.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use oci_spec::image::{
    Arch, ConfigBuilder, ImageConfigurationBuilder, ImageIndexBuilder, ImageManifestBuilder, MediaType, Os,
    RootFsBuilder, SCHEMA_VERSION,
};
use tar::{Builder, Header, HeaderMode};

use super::blob::Blob;
use super::layer::{Layer, Packing, Stored};

/// Reads as a number, so that kubelet can tell that it is not root.
pub(super) const USER: &str = "65532:65532";

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
        let written = self.assemble(&blobs, &folder.join(format!("{name}.tar")));
        fs::remove_dir_all(&blobs)?;
        written.with_context(|| format!("cannot make the image {name}"))
    }

    fn assemble(mut self, blobs: &Path, archive: &Path) -> Result<Written> {
        let mut stored = Vec::new();
        for (layer, packing) in std::mem::take(&mut self.layers) {
            stored.push(layer.store(blobs, packing)?);
        }
        let config = Blob::write(blobs, self.configuration(&stored)?.as_bytes())?;
        let layers = stored
            .iter()
            .map(|stored| stored.blob.descriptor(kind(stored.packing)));
        let manifest = ImageManifestBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageManifest)
            .config(config.descriptor(MediaType::ImageConfig)?)
            .layers(layers.collect::<Result<Vec<_>>>()?)
            .build()?;
        let manifest = Blob::write(blobs, manifest.to_string()?.as_bytes())?;
        let index = self.index(&manifest)?;
        let mut all = stored.iter().map(|stored| &stored.blob).collect::<Vec<_>>();
        all.extend([&config, &manifest]);
        let size = all.iter().map(|blob| blob.size).sum();
        write_archive(archive, all, &index)?;
        Ok(Written {
            reference: self.reference,
            archive: archive.to_owned(),
            digest: format!("sha256:{}", manifest.sum),
            size,
        })
    }

    fn configuration(&self, layers: &[Stored]) -> Result<String> {
        let mut config = ConfigBuilder::default()
            .env(self.environment.clone())
            .labels(HashMap::from([(
                "org.opencontainers.image.title".to_owned(),
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

    fn index(&self, manifest: &Blob) -> Result<String> {
        let mut descriptor = manifest.descriptor(MediaType::ImageManifest)?;
        let tag = self.reference.rsplit(':').next().unwrap_or_default();
        // containerd reads the first, skopeo and podman the second.
        descriptor.set_annotations(Some(HashMap::from([
            ("io.containerd.image.name".to_owned(), self.reference.clone()),
            ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned()),
        ])));
        let index = ImageIndexBuilder::default()
            .schema_version(SCHEMA_VERSION)
            .media_type(MediaType::ImageIndex)
            .manifests(vec![descriptor])
            .build()?;
        // The annotations' map has no order of its own.
        let mut index = serde_json::to_value(&index)?;
        index.sort_all_objects();
        Ok(index.to_string())
    }
}

fn write_archive(path: &Path, mut blobs: Vec<&Blob>, index: &str) -> Result<()> {
    blobs.sort_by(|a, b| a.sum.cmp(&b.sum));
    blobs.dedup_by(|a, b| a.sum == b.sum);
    let partial = path.with_extension("partial");
    let mut tar = Builder::new(BufWriter::new(File::create(&partial)?));
    tar.mode(HeaderMode::Deterministic);
    for blob in blobs {
        let mut header = file_header(blob.size);
        tar.append_data(
            &mut header,
            format!("blobs/sha256/{}", blob.sum),
            File::open(&blob.path)?,
        )?;
    }
    let layout = r#"{"imageLayoutVersion":"1.0.0"}"#;
    for (name, text) in [("index.json", index), ("oci-layout", layout)] {
        tar.append_data(&mut file_header(text.len() as u64), name, text.as_bytes())?;
    }
    tar.into_inner()?
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    fs::rename(partial, path)?;
    Ok(())
}

fn file_header(size: u64) -> Header {
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
