//! `spec.model`.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::PullPolicy;

/// Where the workers' model comes from.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.sha256) || self.sha256.matches('^[0-9a-f]{64}$')")
        .message("spec.model.sha256 is what `sha256sum manifest.json` prints for the model's folder: 64 \
            lower-case hexadecimal digits"),
    validation = Rule::new("!has(self.ranker) || has(self.source.image) == self.ranker.path.startsWith('/')")
        .message("spec.model.ranker.path is an absolute folder where spec.model.source is an image of the workers, and a \
            folder below the root, without the first '/', where it is a claim or an image of its own")
)]
pub struct Model {
    /// The folder with `manifest.json` and the files that it lists.
    #[serde(default)]
    pub source: ModelSource,
    /// SHA-256 of the folder's `manifest.json`, which holds the sums of all other files. A worker that finds
    /// another model does not start, and `ModelLoaded` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub sha256: Option<String>,
    /// The ranker beside it, for the tier `Ranker`. Default: the folder `liquid-ranker` beside the encoder's or in it, as in
    /// the workers' image; without one the workers do not serve that tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranker: Option<Ranker>,
}

/// A second model in the same source, which reads passages together with the question.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.path) > 0 && !self.path.contains('..')")
        .message("spec.model.ranker.path is a folder, such as /models/liquid-ranker in the workers' image"),
    validation = Rule::new("!has(self.sha256) || self.sha256.matches('^[0-9a-f]{64}$')")
        .message("spec.model.ranker.sha256 is what `sha256sum manifest.json` prints for the ranker's folder: 64 \
            lower-case hexadecimal digits")
)]
pub struct Ranker {
    /// The folder, absolute in the workers' image, else below the root of the volume.
    #[schemars(length(max = 500))]
    pub path: String,
    /// SHA-256 of the folder's `manifest.json`. A worker that finds another ranker does not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub sha256: Option<String>,
}

/// Where the model's folder is: exactly one of the three.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.image), has(self.persistentVolumeClaim), \
        has(self.ociImage)].filter(set, set).size() == 1")
        .message("spec.model.source takes exactly one of image, persistentVolumeClaim and ociImage: remove \
            the others")
)]
pub struct ModelSource {
    /// The model is in the workers' image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageModel>,
    /// The model is on a volume of this namespace, mounted read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimModel>,
    /// The model is in an image of its own, mounted as a volume. Needs Kubernetes 1.35, or 1.33 with the gate ImageVolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_image: Option<OciImageModel>,
}

/// A model in the workers' image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.path.startsWith('/') && !self.path.contains('..')")
        .message("spec.model.source.image.path is an absolute folder in the image, such as \
            /models/all-minilm-l6-v2")
)]
pub struct ImageModel {
    /// The folder, absolute.
    #[serde(default = "image_path")]
    #[schemars(length(max = 500))]
    pub path: String,
}

/// A model on a volume.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.claimName) > 0")
        .message("persistentVolumeClaim.claimName is empty: name a claim of this namespace"),
    validation = Rule::new("!self.path.startsWith('/') && !self.path.contains('..')")
        .message("persistentVolumeClaim.path is a folder below the volume's root: leave \
            the first '/' out")
)]
pub struct ClaimModel {
    /// The PersistentVolumeClaim.
    #[schemars(length(max = 253))]
    pub claim_name: String,
    /// The folder below the volume's root. Default: the root.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub path: String,
}

/// A model in an image of its own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("size(self.reference) > 0")
        .message("ociImage.reference is empty: name an image, best by its digest"),
    validation = Rule::new("!self.path.startsWith('/') && !self.path.contains('..')")
        .message("ociImage.path is a folder below the image's root: leave the first '/' out")
)]
pub struct OciImageModel {
    /// The image, best by its digest.
    #[schemars(length(max = 500))]
    pub reference: String,
    /// `Always`, `IfNotPresent` or `Never`. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// The folder below the image's root. Default: the root.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub path: String,
}

impl Default for ModelSource {
    fn default() -> Self {
        Self {
            image: Some(ImageModel::default()),
            persistent_volume_claim: None,
            oci_image: None,
        }
    }
}

impl Default for ImageModel {
    fn default() -> Self {
        Self { path: image_path() }
    }
}

fn image_path() -> String {
    "/models/all-minilm-l6-v2".into()
}
