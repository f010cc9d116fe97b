//! A model with its weights on a device, and its forward pass.

use std::path::Path;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rayon::ThreadPool;

use crate::config::{Architecture, ConfigError, LayerKind};
use crate::ops::{Angles, HeadLayout, Kernels, Piece};
use crate::weights::{Checkpoint, WeightsError};

mod cache;
mod error;
mod layer;
pub(crate) mod load;
mod logits;
mod rotary;
#[cfg(test)]
mod tests;

pub use cache::{CacheSize, KvCache, Segment, Sequence};
pub use error::{LoadError, PassError};
use layer::{LayerPlace, ModelWeights};
pub use logits::{Logits, Wanted};
#[cfg(feature = "cuda")]
pub(crate) use {
    cache::{Memory, page_shape, state_shape},
    rotary::Frequencies,
};

/// A decoder model on a device.
///
/// On the processor (burn's flex backend) weights stay in the type in which they are stored, arithmetic is f32, and a
/// pass uses all cores. Shared between threads, passes take turns at the cores.
#[derive(Debug)]
pub struct Model {
    architecture: Architecture,
    weights: ModelWeights,
    device: Device,
    kernels: Kernels,
    /// Cores of a pass; only for a model on the processor.
    pool: Option<ThreadPool>,
}

impl Model {
    /// Loads a Hugging Face folder: `config.json` and the weights.
    ///
    /// # Errors
    /// [`LoadError`] names the file, the field or tensor, its value and what to do. Nothing is copied to the device
    /// before all is known to fit.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, LoadError> {
        let architecture = Architecture::read(folder)?;
        let checkpoint = Checkpoint::open(folder)?;
        load::check(&architecture, &checkpoint)?;
        let kernels = Kernels::for_device(device);
        let pool = match kernels {
            Kernels::Cpu => Some(rayon::ThreadPoolBuilder::new().build()?),
            Kernels::Portable => None,
        };
        let load = || load::load(&architecture, &checkpoint, device);
        let weights = match &pool {
            Some(pool) => pool.install(load)?,
            None => load()?,
        };
        Ok(Self {
            weights,
            device: device.clone(),
            kernels,
            pool,
            architecture,
        })
    }

    /// Returns everything about the model but its weights.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// Returns [`Architecture::most_tokens`].
    pub fn most_tokens(&self) -> usize {
        self.architecture.most_tokens()
    }

    /// Reads the tokens of every segment after what its sequence holds, and returns the logits that each segment wants,
    /// in the order of the segments. Rows of all segments share the products with the weights. On the processor the logits
    /// of a row are the same bits, whatever is beside it and in whatever pieces its sequence was read.
    ///
    /// # Errors
    /// [`PassError`]; then no sequence has grown. After [`PassError::Device`] only full pages are certain, which hold what
    /// earlier passes wrote.
    pub fn pass(&self, cache: &mut KvCache, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        check(&self.architecture, cache, segments)?;
        match &self.pool {
            Some(pool) => pool.install(|| self.run(cache, segments)),
            None => self.run(cache, segments),
        }
    }

    fn run(&self, cache: &mut KvCache, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        if segments.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<i32> = segments
            .iter()
            .flat_map(|segment| segment.tokens)
            .map(|token| *token as i32)
            .collect();
        let count = ids.len();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &self.device);
        let mut x = self.weights.embedding.val().select(0, ids).cast(DType::F32);
        let angles = self.angles(cache, segments, count);
        for segment in segments.iter_mut() {
            cache.grow(segment.sequence, segment.tokens.len())?;
        }
        let pieces: Vec<Piece<'_>> = segments
            .iter()
            .map(|segment| segment.sequence.piece(segment.tokens.len()))
            .collect();
        let pass = layer::Pass {
            kernels: self.kernels,
            layout: head_layout(&self.architecture),
            epsilon: self.architecture.norm_epsilon,
            angles,
            pieces: &pieces,
        };
        let (mut attention, mut delta) = (0.., 0..);
        for (layer, kind) in self.weights.layers.iter().zip(&self.architecture.layers) {
            let same_kind = match kind {
                LayerKind::Full | LayerKind::Sliding { .. } => &mut attention,
                LayerKind::GatedDelta => &mut delta,
            };
            let place = LayerPlace {
                index: same_kind.next().unwrap_or_default(),
                kind: *kind,
            };
            x = layer.forward(x, place, &pass, cache.memory())?;
        }
        let logits = self.logits(x, segments)?;
        for segment in segments.iter_mut() {
            cache.advance(segment.sequence, segment.tokens);
        }
        Ok(logits)
    }

    /// Loses the embeddings of tokens from `count` on, so that a pass that reads one panics.
    #[cfg(test)]
    pub(crate) fn lose_embeddings(&mut self, count: usize) {
        let embedding = self.weights.embedding.val().narrow(0, 0, count);
        self.weights.embedding = burn::module::Param::from_tensor(embedding);
    }

    fn angles(&self, cache: &KvCache, segments: &[Segment<'_>], rows: usize) -> Angles {
        let half = self.architecture.rotary_dim / 2;
        let mut cos = Vec::with_capacity(rows * half);
        let mut sin = Vec::with_capacity(rows * half);
        for segment in segments {
            let first = segment.sequence.length();
            for position in first..first + segment.tokens.len() {
                cache.frequencies().turn(position, &mut cos, &mut sin);
            }
        }
        let tensor = |values| Tensor::from_data(TensorData::new(values, [rows, half]), &self.device);
        Angles {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }

    /// Computes the logits of the rows that are wanted, and only of those.
    fn logits(&self, x: Tensor<2>, segments: &[Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        let mut first = 0;
        let mut wanted: Vec<i32> = Vec::new();
        for segment in segments {
            let end = first + segment.tokens.len();
            let rows = segment.wanted.rows(segment.tokens.len());
            wanted.extend((end - rows..end).map(|row| row as i32));
            first = end;
        }
        let count = wanted.len();
        let mut values = Vec::new();
        if count > 0 {
            let rows = Tensor::<1, Int>::from_data(TensorData::new(wanted, [count]), &self.device);
            let (norm, epsilon) = (self.weights.norm.val(), self.architecture.norm_epsilon);
            let x = self.kernels.norm(&x.select(0, rows), &norm, epsilon);
            let head = self
                .weights
                .head
                .as_ref()
                .unwrap_or(&self.weights.embedding)
                .val();
            let logits = self.kernels.project(&x, &head).try_into_data();
            let logits = logits.map_err(|error| PassError::Device(error.to_string()))?;
            let numbers = logits.try_into_vec::<f32>();
            values = numbers.map_err(|error| PassError::Device(error.to_string()))?;
        }
        let counts = segments
            .iter()
            .map(|segment| segment.wanted.rows(segment.tokens.len()));
        Ok(Logits::split(values, counts, self.architecture.vocab_size))
    }
}

/// Returns the heads of a packed row of softmax attention.
pub(crate) fn head_layout(architecture: &Architecture) -> HeadLayout {
    HeadLayout {
        heads: architecture.heads,
        key_value_heads: architecture.key_value_heads,
        width: architecture.head_dim,
        gated: architecture.gated_heads,
    }
}

/// Checks that a pass can read its segments.
pub(crate) fn check(
    architecture: &Architecture,
    cache: &KvCache,
    segments: &[Segment<'_>],
) -> Result<(), PassError> {
    for segment in segments {
        if segment.tokens.is_empty() {
            return Err(PassError::Empty);
        }
        if !cache.holds(segment.sequence, architecture) {
            return Err(PassError::OtherCache);
        }
        let (length, tokens) = (segment.sequence.length(), segment.tokens.len());
        let limit = segment.sequence.limit();
        if limit - length < tokens {
            return Err(PassError::TooLong {
                length,
                tokens,
                limit,
            });
        }
        PassError::check_tokens(segment.tokens, architecture.vocab_size)?;
    }
    Ok(())
}
