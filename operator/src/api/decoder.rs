//! `spec.decoder`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::model::{ClaimModel, OciImageModel};

/// The language model that the workers serve: who is `spec.synthesis.provider: liquid` answers with it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.name) || size(self.name) > 0")
        .message("spec.decoder.name is empty: leave it out, or give the name by which the model is asked for"),
    validation = Rule::new("!has(self.contextTokens) || (self.contextTokens >= 256 && self.contextTokens <= 10000000)")
        .message("spec.decoder.contextTokens is 256 to 10000000: prompt and answer together"),
    validation = Rule::new("!has(self.memoryMebibytes) || (self.memoryMebibytes >= 16 && \
        self.memoryMebibytes <= 4000000)")
        .message("spec.decoder.memoryMebibytes is 16 to 4000000: what keys and values of all answers at a time may take"),
    validation = Rule::new("!has(self.sequences) || (self.sequences >= 1 && self.sequences <= 4096)")
        .message("spec.decoder.sequences is 1 to 4096: the answers that a worker writes at a time"),
    validation = Rule::new("!has(self.queue) || (self.queue >= 1 && self.queue <= 65536)")
        .message("spec.decoder.queue is 1 to 65536: the calls that wait at a worker for an answer")
)]
pub struct Decoder {
    /// The folder as Hugging Face has it: `config.json`, safetensors, `tokenizer.json`, a chat template.
    pub source: DecoderSource,
    /// Name by which the model is asked for, and that answers carry. Default: the folder's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Most tokens of prompt and answer together: 256 to 10000000. Default: what the model is made for, at most 8192.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<i64>,
    /// Memory of a worker for keys and values, in MiB: 16 to 4000000. Taken at the start, beside the model itself; without
    /// a GPU `workers.resources` has to hold both. Default: 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mebibytes: Option<i64>,
    /// Most answers that a worker writes at a time: 1 to 4096. Default: 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequences: Option<i64>,
    /// Most calls that wait at a worker; further ones go to another, or are told to come back: 1 to 65536. Default: 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<i64>,
    /// Number type of the layers' projections: `Fp8` is faster, too. Needs a GPU; without one the model stays in the type in
    /// which it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<DecoderPrecision>,
    /// Number type of keys and values: `Fp8` holds twice as many tokens in the same memory, writes many answers faster and
    /// reads prompts more slowly. Needs a GPU; without one it is f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_precision: Option<DecoderPrecision>,
}

/// Number type on a GPU, for `precision` of the layers' projections, for `kvPrecision` of keys and values. `Fp8` takes half
/// the memory of `Bf16` and is less exact. Default: Bf16.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoderPrecision {
    /// bfloat16.
    Bf16,
    /// 8 bits (E4M3), with scales.
    Fp8,
}

impl DecoderPrecision {
    /// Returns the name by which the worker's configuration knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
        }
    }
}

/// Where the language model's folder is: exactly one of the three.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.image), has(self.persistentVolumeClaim), \
        has(self.ociImage)].filter(set, set).size() == 1")
        .message("spec.decoder.source takes exactly one of image, persistentVolumeClaim and ociImage: remove \
            the others")
)]
pub struct DecoderSource {
    /// The model is in the workers' image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageDecoder>,
    /// The model is on a volume of this namespace, mounted read-only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimModel>,
    /// The model is in an image of its own, mounted as a volume. Needs Kubernetes 1.35, or 1.33 with the gate ImageVolume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci_image: Option<OciImageModel>,
}

/// A language model in the workers' image.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.path.startsWith('/') && !self.path.contains('..')")
        .message("spec.decoder.source.image.path is an absolute folder in the image, such as /models/decoder")
)]
pub struct ImageDecoder {
    /// The folder, absolute.
    #[schemars(length(max = 500))]
    pub path: String,
}
