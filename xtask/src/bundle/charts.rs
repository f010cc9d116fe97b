//! The charts, as Helm packs them and as the OCI artifacts that `helm pull oci://` reads.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use liquid_contract::files::BUNDLE_CHARTS;
use oci_spec::image::{ANNOTATION_REF_NAME, Descriptor, ImageManifestBuilder, MediaType, SCHEMA_VERSION};
use serde_json::Value;

use super::provenance::ProvenanceKey;
use crate::command::root;
use crate::images::{Blob, Layer, Packing};

/// Folders below `deploy/charts`.
pub(super) const CHARTS: [&str; 2] = ["liquid-memory-crds", "liquid-memory"];

// Helm's names for what a chart is made of in a registry.
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
const PROVENANCE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// Packs a chart into the bundle's folder and its blobs; returns its entry in the index.
pub(super) fn pack(
    name: &str,
    folder: &Path,
    blobs: &Path,
    provenance: Option<&ProvenanceKey>,
) -> Result<Descriptor> {
    let source = root().join("deploy/charts").join(name);
    let metadata = fs::read_to_string(source.join("Chart.yaml"))
        .with_context(|| format!("cannot read {}", source.display()))?;
    let chart =
        serde_saphyr::from_str::<Value>(&metadata).with_context(|| format!("Chart.yaml of {name}"))?;
    let version = chart.get("version").and_then(Value::as_str);
    let version = version.with_context(|| format!("the chart {name} has no version"))?;
    let mut files = Layer::default();
    files.tree(name, &source, &|path| !path.ends_with(".helmignore"))?;
    let content = files.store(blobs, Packing::Gzip)?.blob;
    let package = format!("{name}-{version}.tgz");
    let charts = folder.join(BUNDLE_CHARTS);
    fs::copy(&content.path, charts.join(&package))?;
    let mut layers = vec![content.descriptor(MediaType::Other(CONTENT.to_owned()))?];
    if let Some(key) = provenance {
        let signed = key.sign(&metadata, &package, &content.sum)?;
        let blob = Blob::write(blobs, signed.as_bytes())?;
        layers.push(blob.descriptor(MediaType::Other(PROVENANCE.to_owned()))?);
        fs::write(charts.join(format!("{package}.prov")), signed)?;
    }
    let config = Blob::write(blobs, chart.to_string().as_bytes())?;
    let manifest = ImageManifestBuilder::default()
        .schema_version(SCHEMA_VERSION)
        .media_type(MediaType::ImageManifest)
        .config(config.descriptor(MediaType::Other(CONFIG.to_owned()))?)
        .layers(layers)
        .build()?;
    let manifest = Blob::write(blobs, manifest.to_string()?.as_bytes())?;
    let mut descriptor = manifest.descriptor(MediaType::ImageManifest)?;
    let reference = format!("{BUNDLE_CHARTS}/{name}:{version}");
    descriptor.set_annotations(Some(HashMap::from([(ANNOTATION_REF_NAME.to_owned(), reference)])));
    Ok(descriptor)
}
