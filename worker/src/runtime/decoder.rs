//! The decoder behind the HTTP routes: a language model, its tokenizer and chat template, and the engine that writes
//! answers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use burn::tensor::Device as BurnDevice;
use liquid_decoder::engine::{Engine, EngineError, EngineOptions, Refusal};
use liquid_decoder::{
    ChatError, ChatTemplate, GenerateError, LoadError, Model, Request, Tokenizer, TokenizerError,
};

use super::progress::{LoadPhase, LoadProgress};
use crate::config;
use crate::model::Device;

/// Longest context where the configuration names none: what a processor reads in bearable time, and a GPU.
const MOST_CONTEXT: usize = 8192;
#[cfg(feature = "cuda")]
const MOST_GPU_CONTEXT: usize = 32_768;

/// Tokens of a pass on a GPU: a token that is written meanwhile waits for as many to be read.
#[cfg(feature = "cuda")]
const GPU_STEP_TOKENS: usize = 2048;

/// Why the decoder cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecoderError {
    /// The folder cannot be read.
    #[error("decoder.folder = {folder}: {source}", folder = .folder.display())]
    Folder {
        /// Value of the setting.
        folder: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The weights cannot be loaded.
    #[error("decoder.folder: {0}")]
    Load(#[from] LoadError),
    /// The tokenizer cannot be used.
    #[error("decoder.folder: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be used.
    #[error("decoder.folder: {0}")]
    Template(#[from] ChatError),
    /// The context is longer than the model is made for.
    #[error("decoder.context_tokens = {context_tokens}: the model reads at most {most}; set less, or 0")]
    Context {
        /// Value of the setting.
        context_tokens: usize,
        /// Most tokens of the model.
        most: usize,
    },
    /// The weights cannot be loaded to the GPU.
    #[cfg(feature = "cuda")]
    #[error("decoder on {device}: {source}")]
    Cuda {
        /// The device.
        device: Device,
        /// What failed.
        source: liquid_decoder::cuda::CudaError,
    },
    /// The configuration names a GPU, and this build has none.
    #[cfg(not(feature = "cuda"))]
    #[error(
        "model.device = {device}: this liquid-worker is built for processors alone; take one built with the feature cuda, or set \
         model.device = \"cpu\""
    )]
    Cuda {
        /// The device.
        device: Device,
    },
    /// The engine does not start.
    #[error("decoder: {0}")]
    Engine(#[from] EngineError),
}

/// Why the decoder did not warm up.
#[derive(Debug, thiserror::Error)]
pub(super) enum WarmUpError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Failed(#[from] GenerateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error("the engine ended without an answer")]
    Silent,
}

/// A language model that answers.
#[derive(Debug)]
pub struct Decoder {
    /// The name by which clients ask for it.
    pub name: String,
    /// Text to tokens and back.
    pub tokenizer: Arc<Tokenizer>,
    /// The engine.
    pub engine: Engine,
    /// Most tokens of prompt and answer together.
    pub context_tokens: usize,
    /// When it was loaded.
    pub loaded: SystemTime,
    /// Bytes of the weights' files.
    pub weights_bytes: u64,
    template: Option<ChatTemplate>,
    folder: PathBuf,
}

impl Decoder {
    /// Loads what the configuration names; none where it names none.
    pub(super) fn load(
        settings: &config::Decoder,
        device: Device,
        progress: &LoadProgress,
    ) -> Result<Option<Self>, DecoderError> {
        let Some(folder) = &settings.folder else {
            return Ok(None);
        };
        let start = Instant::now();
        let weights_bytes = weights_bytes(folder)?;
        progress.enter(LoadPhase::DecoderWeights { bytes: weights_bytes });
        let model = Weights::load(folder, settings, device)?;
        progress.enter(LoadPhase::DecoderTokenizer);
        let tokenizer = Arc::new(Tokenizer::read(folder)?);
        let template = match ChatTemplate::read(folder, &tokenizer) {
            Ok(template) => Some(template),
            // Plain prompts need none.
            Err(error @ ChatError::Missing { .. }) => {
                tracing::warn!(%error, "the decoder serves no conversations");
                None
            }
            Err(error) => return Err(error.into()),
        };
        let options = model.options(settings)?;
        let context_tokens = options.context_tokens;
        progress.enter(LoadPhase::DecoderMemory {
            bytes: options.memory_bytes,
        });
        let engine = model.start(Arc::clone(&tokenizer), options)?;
        let decoder = Self {
            name: settings.model_name(),
            tokenizer,
            engine,
            context_tokens,
            loaded: SystemTime::now(),
            weights_bytes,
            template,
            folder: folder.clone(),
        };
        tracing::info!(
            model = decoder.name,
            %device,
            context_tokens,
            weights_bytes,
            ms = start.elapsed().as_millis() as u64,
            "the decoder is loaded"
        );
        Ok(Some(decoder))
    }

    /// Returns the chat template.
    ///
    /// # Errors
    /// [`ChatError::Missing`] if the model has none.
    pub fn template(&self) -> Result<&ChatTemplate, ChatError> {
        self.template.as_ref().ok_or_else(|| ChatError::Missing {
            folder: self.folder.clone(),
        })
    }

    /// Makes one token, so that the first request finds everything warm.
    pub(super) async fn warm_up(&self) -> Result<(), WarmUpError> {
        let start = Instant::now();
        let request = Request {
            prompt: self.tokenizer.encode("Hello", true)?,
            max_tokens: 1,
            ..Request::default()
        };
        let mut answer = self.engine.submit(request, None)?;
        let mut events = 0;
        while let Some(event) = answer.next().await {
            event?;
            events += 1;
        }
        if events == 0 {
            return Err(WarmUpError::Silent);
        }
        tracing::info!(ms = start.elapsed().as_millis() as u64, "the decoder is warm");
        Ok(())
    }
}

/// A model before its engine starts.
enum Weights {
    Processor(Box<Model>),
    #[cfg(feature = "cuda")]
    Gpu {
        model: Box<liquid_decoder::cuda::CudaModel>,
        device: Device,
    },
}

impl Weights {
    #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "a GPU's"))]
    fn load(folder: &Path, settings: &config::Decoder, device: Device) -> Result<Self, DecoderError> {
        match device {
            Device::Cpu => {
                let model = Model::load(folder, &BurnDevice::flex())?;
                Ok(Self::Processor(Box::new(model)))
            }
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => {
                use liquid_decoder::cuda::{CudaModel, CudaOptions};
                let options = CudaOptions {
                    device: number,
                    precision: precision(settings.precision),
                    keys_values: precision(settings.kv_precision),
                    step_tokens: GPU_STEP_TOKENS.max(settings.sequences.saturating_mul(2)),
                    sequences: settings.sequences,
                };
                let model = CudaModel::load(folder, options, &|_, _| ());
                let model = model.map_err(|source| DecoderError::Cuda { device, source })?;
                Ok(Self::Gpu {
                    model: Box::new(model),
                    device,
                })
            }
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(_) => Err(DecoderError::Cuda { device }),
        }
    }

    /// Returns the sizes of the engine.
    fn options(&self, settings: &config::Decoder) -> Result<EngineOptions, DecoderError> {
        match self {
            Self::Processor(model) => options(settings, model.most_tokens(), MOST_CONTEXT),
            #[cfg(feature = "cuda")]
            Self::Gpu { model, device } => {
                use liquid_decoder::engine::Runner;
                let left = model.memory_left(settings.memory_share);
                let memory_bytes = left.map_err(|source| DecoderError::Cuda {
                    device: *device,
                    source,
                })?;
                let most = model.architecture().most_tokens();
                Ok(EngineOptions {
                    memory_bytes,
                    step_tokens: model.limits().step_tokens,
                    ..options(settings, most, MOST_GPU_CONTEXT)?
                })
            }
        }
    }

    fn start(self, tokenizer: Arc<Tokenizer>, options: EngineOptions) -> Result<Engine, EngineError> {
        match self {
            Self::Processor(model) => Engine::start(*model, tokenizer, options),
            #[cfg(feature = "cuda")]
            Self::Gpu { model, .. } => Engine::start(*model, tokenizer, options),
        }
    }
}

#[cfg(feature = "cuda")]
fn precision(of: config::DecoderPrecision) -> liquid_decoder::cuda::Precision {
    use liquid_decoder::cuda::Precision;
    match of {
        config::DecoderPrecision::Bf16 => Precision::Bf16,
        config::DecoderPrecision::Fp8 => Precision::Fp8,
    }
}

/// Returns the sizes of an engine for a model that reads at most `most` tokens; where the settings name no context, at most
/// `usual`.
fn options(settings: &config::Decoder, most: usize, usual: usize) -> Result<EngineOptions, DecoderError> {
    let context_tokens = match settings.context_tokens {
        0 => most.min(usual),
        tokens if tokens > most => {
            return Err(DecoderError::Context {
                context_tokens: tokens,
                most,
            });
        }
        tokens => tokens,
    };
    Ok(EngineOptions {
        context_tokens,
        ..settings.engine()
    })
}

/// Returns the bytes of a folder's weights.
fn weights_bytes(folder: &Path) -> Result<u64, DecoderError> {
    let unreadable = |source| DecoderError::Folder {
        folder: folder.to_owned(),
        source,
    };
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "safetensors") {
            // Not the entry's own: it may be a link into a cache.
            bytes += std::fs::metadata(&path).map_err(unreadable)?.len();
        }
    }
    Ok(bytes)
}
