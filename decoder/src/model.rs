//! A model with its weights on a device, and its forward pass.

use std::path::Path;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use rayon::ThreadPool;

use crate::config::{Architecture, ConfigError, RopeScaling};
use crate::ops::{Angles, HeadLayout, Kernels};
use crate::weights::{Checkpoint, WeightsError};

mod error;
mod layer;
mod load;
mod logits;
mod rotary;
mod sequence;
#[cfg(test)]
mod tests;

pub use error::{LoadError, PassError};
use layer::ModelWeights;
pub use logits::{Logits, Wanted};
use rotary::Frequencies;
pub use sequence::{Segment, Sequence};

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

    /// Makes an empty sequence of at most `limit` tokens. Its memory grows with its length.
    ///
    /// With dynamic rotary scaling the limit decides the frequencies, so that all tokens of a sequence are turned by the
    /// same ones, in whatever pieces they come.
    ///
    /// # Errors
    /// [`PassError::TooLong`] if the model is not made for sequences of that length.
    pub fn sequence(&self, limit: usize) -> Result<Sequence, PassError> {
        let most = self.most_tokens();
        if limit == 0 || limit > most {
            return Err(PassError::TooLong {
                length: 0,
                tokens: limit,
                limit: most,
            });
        }
        let architecture = &self.architecture;
        let frequencies = Frequencies::new(architecture, limit);
        Ok(Sequence::new(
            architecture.layers.len(),
            self.layout(),
            limit,
            frequencies,
        ))
    }

    /// Returns the tokens of the longest sequence: what the model is made for, or, with linear and dynamic rotary
    /// scaling, that many times the factor.
    pub fn most_tokens(&self) -> usize {
        let most = self.architecture.max_positions;
        match self.architecture.rope.scaling {
            RopeScaling::Dynamic { factor } => (most as f64 * factor) as usize,
            _ => most,
        }
    }

    /// Reads the tokens of every segment after what its sequence holds, and returns the logits that each segment wants,
    /// in the order of the segments. Rows of all segments share the products with the weights.
    ///
    /// # Errors
    /// [`PassError`]; then no sequence has grown, but after [`PassError::Device`].
    pub fn pass(&self, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
        self.check(segments)?;
        match &self.pool {
            Some(pool) => pool.install(|| self.run(segments)),
            None => self.run(segments),
        }
    }

    fn check(&self, segments: &[Segment<'_>]) -> Result<(), PassError> {
        let vocab_size = self.architecture.vocab_size;
        for segment in segments {
            if segment.tokens.is_empty() {
                return Err(PassError::Empty);
            }
            if !segment
                .sequence
                .fits(self.architecture.layers.len(), self.layout())
            {
                return Err(PassError::OtherModel);
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
            let unknown = segment.tokens.iter().find(|token| **token as usize >= vocab_size);
            if let Some(token) = unknown {
                return Err(PassError::UnknownToken {
                    token: *token,
                    vocab_size,
                });
            }
        }
        Ok(())
    }

    fn run(&self, segments: &mut [Segment<'_>]) -> Result<Vec<Logits>, PassError> {
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
        let angles = self.angles(segments, count);
        for segment in segments.iter_mut() {
            segment.sequence.reserve(segment.tokens.len(), &self.device);
        }
        let pass = layer::Pass {
            kernels: self.kernels,
            layout: self.layout(),
            epsilon: self.architecture.norm_epsilon,
            angles,
        };
        let layers = self
            .weights
            .layers
            .iter()
            .zip(&self.architecture.layers)
            .enumerate();
        for (index, (layer, kind)) in layers {
            x = layer.forward(x, index, *kind, &pass, segments);
        }
        let logits = self.logits(x, segments)?;
        for segment in segments.iter_mut() {
            segment.sequence.advance(segment.tokens.len());
        }
        Ok(logits)
    }

    fn layout(&self) -> HeadLayout {
        HeadLayout {
            heads: self.architecture.heads,
            key_value_heads: self.architecture.key_value_heads,
            width: self.architecture.head_dim,
        }
    }

    fn angles(&self, segments: &[Segment<'_>], rows: usize) -> Angles {
        let half = self.architecture.head_dim / 2;
        let mut cos = Vec::with_capacity(rows * half);
        let mut sin = Vec::with_capacity(rows * half);
        for segment in segments {
            let first = segment.sequence.length();
            for position in first..first + segment.tokens.len() {
                segment.sequence.frequencies().turn(position, &mut cos, &mut sin);
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
