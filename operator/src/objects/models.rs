//! The folders of the workers' models: part of their image, or on a volume that is mounted read-only.

use k8s_openapi::api::core::v1::{ImageVolumeSource, PersistentVolumeClaimVolumeSource, Volume};

use super::Platform;
use super::worker_config::uses_model;
use crate::api::model::{ClaimModel, OciImageModel};
use crate::api::{LiquidMemoryProxy, PullPolicy};
use crate::names;

/// A model's source, and where a volume with it is mounted. The definition's rules let exactly one source be there.
pub(super) struct ModelMount<'a> {
    /// Name of the volume.
    pub(super) name: &'static str,
    /// Folder in which the volume is mounted.
    pub(super) folder: &'static str,
    image_path: Option<&'a str>,
    claim: Option<&'a ClaimModel>,
    oci_image: Option<&'a OciImageModel>,
}

impl<'a> ModelMount<'a> {
    /// Returns the mount of `spec.model`, if the tier needs it.
    pub(super) fn of_model(proxy: &'a LiquidMemoryProxy) -> Option<Self> {
        let source = &proxy.spec.model.source;
        uses_model(proxy).then(|| Self {
            name: "model",
            folder: names::MODEL_FOLDER,
            image_path: source.image.as_ref().map(|image| image.path.as_str()),
            claim: source.persistent_volume_claim.as_ref(),
            oci_image: source.oci_image.as_ref(),
        })
    }

    /// Returns the mount of `spec.decoder`, if there is one.
    pub(super) fn of_decoder(proxy: &'a LiquidMemoryProxy) -> Option<Self> {
        let source = &proxy.spec.decoder.as_ref()?.source;
        Some(Self {
            name: "decoder",
            folder: names::DECODER_FOLDER,
            image_path: source.image.as_ref().map(|image| image.path.as_str()),
            claim: source.persistent_volume_claim.as_ref(),
            oci_image: source.oci_image.as_ref(),
        })
    }

    /// Lists the mounts of a proxy's workers.
    pub(super) fn list(proxy: &'a LiquidMemoryProxy) -> impl Iterator<Item = Self> {
        [Self::of_model(proxy), Self::of_decoder(proxy)]
            .into_iter()
            .flatten()
    }

    /// Returns the model's folder in the pod.
    pub(super) fn model_folder(&self) -> String {
        let claim = self.claim.map(|claim| claim.path.as_str());
        let image = self.oci_image.map(|image| image.path.as_str());
        self.folder_of(claim.or(image).or(self.image_path).unwrap_or_default())
    }

    /// Returns a folder of the source in the pod: `path` itself in the workers' image, else below the volume.
    pub(super) fn folder_of(&self, path: &str) -> String {
        match path {
            "" => self.folder.to_owned(),
            path if self.is_volume() => format!("{}/{path}", self.folder),
            path => path.to_owned(),
        }
    }

    /// Returns whether the model is on a volume.
    pub(super) fn is_volume(&self) -> bool {
        self.claim.is_some() || self.oci_image.is_some()
    }

    /// Builds the volume, if there is one.
    pub(super) fn build_volume(&self, platform: &Platform) -> Option<Volume> {
        let claim = self.claim.map(|claim| PersistentVolumeClaimVolumeSource {
            claim_name: claim.claim_name.clone(),
            read_only: Some(true),
        });
        let image = self.oci_image.filter(|_| claim.is_none());
        let image = image.map(|image| ImageVolumeSource {
            reference: Some(image.reference.clone()),
            pull_policy: Some(pull_policy(image, platform).as_str().into()),
        });
        self.is_volume().then(|| Volume {
            name: self.name.into(),
            persistent_volume_claim: claim,
            image,
            ..Volume::default()
        })
    }
}

fn pull_policy(image: &OciImageModel, platform: &Platform) -> PullPolicy {
    image.pull_policy.unwrap_or(platform.pull_policy)
}
