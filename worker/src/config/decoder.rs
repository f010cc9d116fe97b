//! Section `[decoder]`.

use std::path::PathBuf;

use liquid_decoder::engine::{EngineError, EngineOptions};
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// Number type on a GPU: of a decoder's projections, or of its keys and values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoderPrecision {
    /// bfloat16.
    #[default]
    Bf16,
    /// FP8 (E4M3): weights and activations with a scale a row, keys and values with a scale for each head of a token.
    Fp8,
}

/// Section `[decoder]`: a language model behind OpenAI's routes, on the port, with the encryption and for the clients of
/// gRPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decoder {
    /// Folder of the model as Hugging Face has it: `config.json`, safetensors, `tokenizer.json`, a chat template. Default
    /// none: no language model is served.
    pub folder: Option<PathBuf>,
    /// Name by which clients ask for the model. Default: the folder's name.
    pub name: Option<String>,
    /// Most tokens of prompt and answer together. Default 0: what the model is made for, at most 8192, on a GPU 32768.
    pub context_tokens: usize,
    /// Memory for keys and values on a processor, in bytes; taken at the start. Default 1073741824 (1 GiB).
    pub memory_bytes: u64,
    /// Share of a GPU's memory that the decoder takes at the start for weights, buffers, keys and values, in place of
    /// `memory_bytes`; 2 GiB are always left to others. Default 0.85, above 0, at most 1.
    pub memory_share: f64,
    /// Number type of the projections on a GPU: `bf16` (default), or `fp8`, which takes half the memory and is faster, and
    /// less exact.
    pub precision: DecoderPrecision,
    /// Number type of keys and values on a GPU: `bf16` (default), or `fp8`, which holds twice as many tokens in the same memory,
    /// writes many answers faster, reads prompts more slowly, and is less exact.
    pub kv_precision: DecoderPrecision,
    /// Most answers that are written at a time. Default 16, at most 4096.
    pub sequences: usize,
    /// Requests that may wait for that. Default 64, at most 65536.
    pub queue: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        let EngineOptions {
            memory_bytes,
            sequences,
            queue,
            ..
        } = EngineOptions::default();
        Self {
            folder: None,
            name: None,
            context_tokens: 0,
            memory_bytes,
            memory_share: 0.85,
            precision: DecoderPrecision::default(),
            kv_precision: DecoderPrecision::default(),
            sequences,
            queue,
        }
    }
}

impl Decoder {
    /// Returns the name by which clients ask for the model.
    pub fn model_name(&self) -> String {
        let folder = self.folder.as_ref().and_then(|folder| folder.file_name());
        let folder = || folder.map(|name| name.to_string_lossy().into_owned());
        self.name.clone().or_else(folder).unwrap_or_default()
    }

    /// Returns the sizes of the engine, those of `context_tokens` left to the model.
    pub fn engine(&self) -> EngineOptions {
        let default = EngineOptions::default();
        EngineOptions {
            memory_bytes: self.memory_bytes,
            sequences: self.sequences,
            queue: self.queue,
            step_tokens: default.step_tokens.max(self.sequences.saturating_mul(2)),
            ..default
        }
    }

    pub(super) fn validate(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        if self.folder.is_some() && self.model_name().is_empty() {
            let remedy = "set the name by which clients ask for the model; the folder has none";
            found.push(Invalid::new("name", "", remedy));
        }
        if let (None, Some(name)) = (&self.folder, &self.name) {
            found.push(Invalid::new("name", name, "needs decoder.folder too"));
        }
        if !(self.memory_share > 0.0 && self.memory_share <= 1.0) {
            found.push(Invalid::new(
                "memory_share",
                self.memory_share,
                "set above 0, at most 1",
            ));
        }
        if let Err(EngineError::Option {
            field,
            value,
            expected,
        }) = self.engine().check()
        {
            found.push(Invalid::new(field, value, format!("set {expected}")));
        }
        found
    }
}
