//! The models behind all requests: loaded and warmed up at the start, then split between the device's thread, which
//! owns what runs a forward pass, and the requests, which share the rest.

use std::path::Path;
use std::time::Instant;

use liquid_signing::verify_folder;
use tokio_util::sync::CancellationToken;

use super::device::Device as DeviceThread;
use crate::config::Config;
use crate::model::{
    EmbeddingTable, EncodeError, LoadError, ModelCard, Models, RankerModel, WordPiece, is_model,
};
use crate::tier::Tier;

/// The model without its encoder, which the device's thread owns.
pub(super) struct SharedModel {
    pub(super) name: String,
    pub(super) card: ModelCard,
    pub(super) tokenizer: WordPiece,
    embeddings: EmbeddingTable,
    pub(super) ranker: Option<SharedRanker>,
    pub(super) device: DeviceThread,
}

/// A ranker without its forward pass, likewise.
pub(super) struct SharedRanker {
    pub(super) name: String,
    pub(super) card: ModelCard,
}

impl SharedModel {
    /// Starts the device's thread with the models; at most `queue` requests may wait for it.
    pub(super) fn start(models: Models, queue: usize) -> Self {
        let (name_and_card, ranker) = match models.ranker {
            Some(RankerModel { name, card, ranker }) => (Some(SharedRanker { name, card }), Some(ranker)),
            None => (None, None),
        };
        Self {
            name: models.name,
            card: models.card,
            tokenizer: models.tokenizer,
            embeddings: models.embeddings,
            ranker: name_and_card,
            device: DeviceThread::start(models.encoder, ranker, queue),
        }
    }

    /// Makes models for one request, whose encoder and ranker send their windows to the device's thread. They give up
    /// when the request does, or at `until`.
    pub(super) fn for_request(&self, request: &CancellationToken, until: Option<Instant>) -> Models {
        let ranker = self.ranker.as_ref().map(|ranker| RankerModel {
            name: ranker.name.clone(),
            card: ranker.card.clone(),
            ranker: Box::new(self.device.reader(request, until)),
        });
        Models {
            name: self.name.clone(),
            card: self.card.clone(),
            tokenizer: self.tokenizer.clone(),
            embeddings: self.embeddings.clone(),
            encoder: Box::new(self.device.reader(request, until)),
            ranker,
        }
    }
}

/// Loads the models that the served tiers need.
pub(super) fn load(config: &Config) -> Result<Option<Models>, LoadError> {
    let model = &config.model;
    let Some(folder) = model.folder.as_deref().filter(|_| config.needs_model()) else {
        return Ok(None);
    };
    let check = |folder: &Path, sha256: &Option<String>| match sha256 {
        Some(sha256) => is_model(folder, sha256),
        None => Ok(()),
    };
    check(folder, &model.sha256)?;
    match model.ranker_folder() {
        Some(ranker) if config.served_tiers().contains(&Tier::Ranker) => {
            check(&ranker, &model.ranker_sha256)?;
            Models::load_with_ranker(folder, &ranker, model.device).map(Some)
        }
        _ => Models::load(folder, model.device).map(Some),
    }
}

/// Checks the signatures of all folders from which models are loaded, where the configuration asks for that. Encoder,
/// ranker and decoder are read afterwards: a folder that others can write to should not be mounted.
///
/// # Errors
/// [`LoadError::Signature`] names the folder and the file in it, [`LoadError::Key`] the key.
pub(crate) fn verify_signatures(config: &Config) -> Result<(), LoadError> {
    let Some(key) = config.model.signer()? else {
        return Ok(());
    };
    let models = config.model.folder.clone().filter(|_| config.needs_model());
    let ranker = models.as_ref().and_then(|_| config.model.ranker_folder());
    for folder in [models, ranker, config.decoder.folder.clone()]
        .into_iter()
        .flatten()
    {
        let start = Instant::now();
        match verify_folder(&folder, &key) {
            Ok(sums) => {
                let (files, ms) = (sums.len(), start.elapsed().as_millis() as u64);
                tracing::info!(folder = %folder.display(), files, ms, "the model is as it was signed");
            }
            Err(source) => return Err(LoadError::Signature { folder, source }),
        }
    }
    Ok(())
}

/// How fast the models read, in tokens per second, where that was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Speeds {
    pub(super) encoder: Option<f64>,
    pub(super) ranker: Option<f64>,
}

/// Warms up the models' device. Too little memory is no reason not to start: there may be more later, and until
/// then the cheaper tiers answer.
pub(super) fn warm_up(models: &mut Models) -> Result<Speeds, LoadError> {
    let device = &models.card.device;
    let mut speeds = Speeds {
        encoder: measure("encoder", device, || models.encoder.warm_up())?,
        ranker: None,
    };
    if let Some(model) = &mut models.ranker {
        speeds.ranker = measure("ranker", device, || model.ranker.warm_up())?;
    }
    Ok(speeds)
}

/// Warms up one model, and logs how fast it reads.
fn measure(
    model: &'static str,
    device: &str,
    warm_up: impl FnOnce() -> Result<Option<f64>, EncodeError>,
) -> Result<Option<f64>, LoadError> {
    let start = Instant::now();
    match warm_up() {
        Ok(None) => Ok(None),
        Ok(Some(speed)) => {
            let (ms, tokens_per_second) = (start.elapsed().as_millis() as u64, speed as u64);
            tracing::info!(model, device, ms, tokens_per_second, "the model's device is warm");
            Ok(Some(speed))
        }
        Err(error @ EncodeError::OutOfMemory { .. }) => {
            tracing::error!(model, device, %error, "the model cannot be used for now");
            Ok(None)
        }
        Err(error) => Err(LoadError::WarmUp(error)),
    }
}
