//! The models behind the tiers: weights on disk in; tokenizer, embeddings, encoder and ranker out.
//!
//! Loading goes manifest, configuration, tokenizer, weights, device; each step checks what it reads, so that a
//! worker that says it is ready runs exactly the files it was given.

use std::path::{Path, PathBuf};

#[cfg(any(test, feature = "cuda"))]
mod batches;
mod bert;
mod comparison;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod embedding;
mod encoder;
mod manifest;
mod ranker;
mod weights;
mod wordpiece;

pub use bert::ConfigError;
pub use comparison::{Compared, Comparison};
#[cfg(feature = "cuda")]
pub use cuda::CudaError;
pub use device::{Device, UnknownDevice};
pub use embedding::EmbeddingTable;
pub use encoder::{Comparer, EncodeError, Encoded, Encoder};
pub use manifest::{MANIFEST, ManifestError, is_model};
pub(crate) use ranker::PAIR_TOKENS;
pub use ranker::{QUESTION_TOKENS, Ranked, Ranker, RankerModel, WINDOW_TOKENS, shorten_question};
pub use weights::WeightsError;
pub(crate) use wordpiece::ADDED_TOKENS;
pub use wordpiece::{Pieces, TokenizerError, WordPiece};

use liquid_signing::{KeyError, SigningError};

use bert::{Config, CpuEncoder, CpuRanker};
use manifest::{Manifest, VerifiedFile};
use weights::Weights;

/// Why a model folder cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file is missing, or its sum is not the one in the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A folder is not what the key in the configuration has signed.
    #[error(
        "{folder}: {source}; model.verify = \"required\" takes only folders that model.public_key has signed",
        folder = .folder.display()
    )]
    Signature {
        /// The model's folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: SigningError,
    },
    /// The key in the configuration is none.
    #[error("model.public_key: {0}")]
    Key(#[from] KeyError),
    /// The configuration describes a model that cannot be run.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer is of a kind that cannot be run.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A tensor is missing or of another type or shape.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The GPU cannot be used.
    #[cfg(feature = "cuda")]
    #[error("model.device = cuda:{number}: {source}")]
    Gpu {
        /// Number of the GPU.
        number: usize,
        /// The failure.
        source: CudaError,
    },
    /// A GPU is configured, and this build has no support for one.
    #[cfg(not(feature = "cuda"))]
    #[error(
        "model.device = cuda:{number}: this liquid-worker is built for processors alone; take one built with \
         the feature cuda, or set model.device = \"cpu\""
    )]
    NoCuda {
        /// Number of the GPU.
        number: usize,
    },
    /// The device failed when it was tried.
    #[error("warm-up of the encoder: {0}")]
    WarmUp(#[source] EncodeError),
    /// The tokenizer knows words that the weights have no embedding for.
    #[error(
        "{path}: has {tokenizer} entries, but the weights have embeddings for {weights}",
        path = .path.display()
    )]
    Vocabulary {
        /// The tokenizer's file.
        path: PathBuf,
        /// Entries of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding table.
        weights: usize,
    },
    /// The ranker's tokenizer is not the encoder's, and documents are cut into word pieces once for both.
    #[error(
        "{path}: sha256 is {actual}, but the tokenizer of model.folder has {expected}; give a ranker that was \
         trained with that tokenizer",
        path = .path.display()
    )]
    OtherTokenizer {
        /// The tokenizer's file of the ranker.
        path: PathBuf,
        /// Sum of the encoder's tokenizer.
        expected: String,
        /// Sum of the ranker's tokenizer.
        actual: String,
    },
}

/// The files of a model beside its manifest.
const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const WEIGHTS: &str = "model.safetensors";

/// Identity of a model: the sums of its files, its size, and the device that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelCard {
    /// SHA-256 of the weights file, lower-case hexadecimal.
    pub sha256: String,
    /// SHA-256 of the tokenizer file, lower-case hexadecimal.
    pub tokenizer_sha256: String,
    /// Number of parameters.
    pub parameters: u64,
    /// The device that runs the model, such as "cpu (flex, 2 threads)" or "cuda:0 (NVIDIA H200, 140 GiB)".
    pub device: String,
    /// UUID of the GPU, as `nvidia-smi -L` prints it; `None` on a processor.
    pub gpu: Option<String>,
}

/// A loaded model. Tokenizer and embeddings are cheap to clone; the encoder has one owner.
pub struct Models {
    /// The model's name, from its manifest.
    pub name: String,
    /// Identity of the model.
    pub card: ModelCard,
    /// The tokenizer, which cuts text into word pieces.
    pub tokenizer: WordPiece,
    /// The encoder's input embeddings.
    pub embeddings: EmbeddingTable,
    /// The encoder, which runs the forward pass.
    pub encoder: Box<dyn Encoder>,
    /// The ranker, if there is one beside the encoder.
    pub ranker: Option<RankerModel>,
}

impl Models {
    /// Loads the model in `folder` (`manifest.json`, `config.json`, `tokenizer.json`, `model.safetensors`) onto
    /// a device.
    ///
    /// # Errors
    /// [`LoadError`] names the file, what is wrong with it and what to do.
    pub fn load(folder: &Path, device: Device) -> Result<Self, LoadError> {
        Self::load_onto(&OpenDevice::find(device)?, folder)
    }

    /// Loads the model in `folder`, and the ranker in `ranker`, which holds the same files, onto a device.
    ///
    /// # Errors
    /// [`LoadError`], also if the ranker's tokenizer is not the encoder's.
    pub fn load_with_ranker(folder: &Path, ranker: &Path, device: Device) -> Result<Self, LoadError> {
        let device = OpenDevice::find(device)?;
        let mut models = Self::load_onto(&device, folder)?;
        models.ranker = Some(models.load_ranker(&device, ranker)?);
        Ok(models)
    }

    fn load_onto(device: &OpenDevice, folder: &Path) -> Result<Self, LoadError> {
        let manifest = Manifest::read(folder)?;
        let config = manifest.file(CONFIG)?;
        let config = Config::from_bytes(&config.bytes, &config.path)?;
        let tokenizer_file = manifest.file(TOKENIZER)?;
        let tokenizer = WordPiece::from_bytes(&tokenizer_file.bytes, tokenizer_file.path.clone())?;
        if tokenizer.vocabulary() > config.vocab_size {
            let (tokenizer, weights) = (tokenizer.vocabulary(), config.vocab_size);
            return Err(LoadError::Vocabulary {
                path: tokenizer_file.path,
                tokenizer,
                weights,
            });
        }
        let file = manifest.file(WEIGHTS)?;
        let weights = Weights::read(&file)?;
        let rows = weights.take(bert::WORD_EMBEDDINGS, &[config.vocab_size, config.hidden_size])?;
        let embeddings = EmbeddingTable::new(config.hidden_size, rows);
        let encoder = device.load_encoder(&weights, &config, &embeddings)?;
        let card = device.card(&file, &weights, tokenizer_file);
        Ok(Self {
            name: manifest.name,
            card,
            tokenizer,
            embeddings,
            encoder,
            ranker: None,
        })
    }

    fn load_ranker(&self, device: &OpenDevice, folder: &Path) -> Result<RankerModel, LoadError> {
        let manifest = Manifest::read(folder)?;
        let config_file = manifest.file(CONFIG)?;
        let config = Config::from_bytes(&config_file.bytes, &config_file.path)?;
        bert::check_ranker(&config, &config_file.path)?;
        let tokenizer = manifest.file(TOKENIZER)?;
        if tokenizer.sha256 != self.card.tokenizer_sha256 {
            return Err(LoadError::OtherTokenizer {
                path: tokenizer.path,
                expected: self.card.tokenizer_sha256.clone(),
                actual: tokenizer.sha256,
            });
        }
        if self.tokenizer.vocabulary() > config.vocab_size {
            return Err(LoadError::Vocabulary {
                path: tokenizer.path,
                tokenizer: self.tokenizer.vocabulary(),
                weights: config.vocab_size,
            });
        }
        let file = manifest.file(WEIGHTS)?;
        let weights = Weights::read(&file)?;
        Ok(RankerModel {
            ranker: device.load_ranker(&weights, &config)?,
            card: device.card(&file, &weights, tokenizer),
            name: manifest.name,
        })
    }
}

/// A device that was found, for all models that are loaded onto it.
enum OpenDevice {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(cuda::SharedGpu),
}

impl OpenDevice {
    fn find(device: Device) -> Result<Self, LoadError> {
        match device {
            Device::Cpu => Ok(Self::Cpu),
            #[cfg(feature = "cuda")]
            Device::Cuda(number) => Ok(Self::Cuda(cuda::SharedGpu::find(number)?)),
            #[cfg(not(feature = "cuda"))]
            Device::Cuda(number) => Err(LoadError::NoCuda { number }),
        }
    }

    fn load_encoder(
        &self,
        weights: &Weights<'_>,
        config: &Config,
        #[cfg_attr(not(feature = "cuda"), expect(unused_variables, reason = "a processor's own"))]
        words: &EmbeddingTable,
    ) -> Result<Box<dyn Encoder>, LoadError> {
        Ok(match self {
            Self::Cpu => Box::new(CpuEncoder::load(weights, config)?),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Box::new(cuda::CudaEncoder::load(gpu, weights, config, words.clone())?),
        })
    }

    fn load_ranker(&self, weights: &Weights<'_>, config: &Config) -> Result<Box<dyn Ranker>, LoadError> {
        Ok(match self {
            Self::Cpu => Box::new(CpuRanker::load(weights, config)?),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => Box::new(cuda::CudaRanker::load(gpu, weights, config)?),
        })
    }

    /// Describes a model on the device by its files.
    fn card(&self, file: &VerifiedFile, weights: &Weights<'_>, tokenizer: VerifiedFile) -> ModelCard {
        let (device, gpu) = match self {
            Self::Cpu => (Device::Cpu.to_string(), None),
            #[cfg(feature = "cuda")]
            Self::Cuda(gpu) => (gpu.description().to_owned(), Some(gpu.uuid().to_owned())),
        };
        ModelCard {
            sha256: file.sha256.clone(),
            tokenizer_sha256: tokenizer.sha256,
            parameters: weights.parameters(),
            device,
            gpu,
        }
    }
}

impl std::fmt::Debug for Models {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Models")
            .field("name", &self.name)
            .field("card", &self.card)
            .finish_non_exhaustive()
    }
}
