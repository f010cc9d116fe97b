//! The model's weights: read and split on the host, then copied to the device.

use half::f16;
use liquid_cuda::device::Buffer;

use super::error::CudaError;
use super::gpu::Gpu;
use crate::model::EmbeddingTable;
use crate::model::bert::{Config, WORD_EMBEDDINGS};
use crate::model::weights::{Weights, WeightsError};

/// A model whose matrices are `M` and whose vectors are `V`.
pub(super) struct Model<W, M, V> {
    pub(super) words: W,
    /// Position embeddings with the embedding of token type 0 added, then with that of type 1, and so on:
    /// `[types * positions, hidden]`.
    pub(super) positions: V,
    pub(super) norm: Norm<V>,
    pub(super) layers: Vec<Layer<M, V>>,
}

pub(super) struct Norm<V> {
    pub(super) scale: V,
    pub(super) shift: V,
}

pub(super) struct Linear<M, V> {
    /// `[outputs, 3 inputs]`, split.
    pub(super) weight: M,
    pub(super) bias: V,
}

pub(super) struct Layer<M, V> {
    /// Query, key and value below each other.
    pub(super) heads: Linear<M, V>,
    pub(super) attention_output: Linear<M, V>,
    pub(super) attention_norm: Norm<V>,
    pub(super) up: Linear<M, V>,
    pub(super) down: Linear<M, V>,
    pub(super) output_norm: Norm<V>,
}

/// Weights that wait for the device.
pub(super) type OnHost = Model<EmbeddingTable, Vec<u16>, Vec<f32>>;

/// Weights in device memory.
pub(super) type OnDevice = Model<Buffer, Buffer, Buffer>;

/// A matrix as the second operand of a product of split numbers: of each row what f16 holds, the same again,
/// and the rest. The first operand is [first, rest, first]: see `kernels/encoder.cu`.
pub(super) fn split(rows: &[f32], width: usize) -> Vec<u16> {
    let mut parts = Vec::with_capacity(rows.len() * 3);
    for row in rows.chunks_exact(width) {
        let first = || row.iter().map(|x| f16::from_f32(*x));
        parts.extend(first().chain(first()).map(f16::to_bits));
        let rest = row
            .iter()
            .zip(first())
            .map(|(x, first)| f16::from_f32(x - first.to_f32()));
        parts.extend(rest.map(f16::to_bits));
    }
    parts
}

/// Reads checked tensors.
struct Reader<'a>(&'a Weights<'a>);

impl Reader<'_> {
    fn norm(&self, prefix: &str, size: usize) -> Result<Norm<Vec<f32>>, WeightsError> {
        Ok(Norm {
            scale: self.0.take(&format!("{prefix}.weight"), &[size])?,
            shift: self.0.take(&format!("{prefix}.bias"), &[size])?,
        })
    }

    /// Several maps of the same input below each other.
    fn linear(
        &self,
        prefixes: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Result<Linear<Vec<u16>, Vec<f32>>, WeightsError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            let rows = self.0.take(&format!("{prefix}.weight"), &[outputs, inputs])?;
            weight.extend(split(&rows, inputs));
            bias.extend(self.0.take(&format!("{prefix}.bias"), &[outputs])?);
        }
        Ok(Linear { weight, bias })
    }

    fn layer(&self, index: usize, config: &Config) -> Result<Layer<Vec<u16>, Vec<f32>>, WeightsError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        let heads = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Ok(Layer {
            heads: self.linear(&heads, hidden, hidden)?,
            attention_output: self.linear(&[name("attention.output.dense")], hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            up: self.linear(&[name("intermediate.dense")], hidden, inner)?,
            down: self.linear(&[name("output.dense")], inner, hidden)?,
            output_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }
}

impl OnHost {
    /// Reads all but the word embeddings, which are `words`.
    pub(super) fn read(
        weights: &Weights<'_>,
        config: &Config,
        words: EmbeddingTable,
    ) -> Result<Self, WeightsError> {
        let reader = Reader(weights);
        let hidden = config.hidden_size;
        debug_assert!(words.dim() == hidden, "{WORD_EMBEDDINGS} has the model's width");
        let types = weights.take(
            "embeddings.token_type_embeddings.weight",
            &[config.type_vocab_size, hidden],
        )?;
        let shape = [config.max_position_embeddings, hidden];
        let of_place = weights.take("embeddings.position_embeddings.weight", &shape)?;
        let positions = types.chunks_exact(hidden).flat_map(|kind| {
            let rows = of_place.chunks_exact(hidden);
            rows.flat_map(move |row| row.iter().zip(kind).map(|(x, kind)| x + kind))
        });
        let layers = (0..config.num_hidden_layers).map(|index| reader.layer(index, config));
        Ok(Self {
            words,
            positions: positions.collect(),
            norm: reader.norm("embeddings.LayerNorm", hidden)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// Copies everything to the device.
    pub(super) fn upload(&self, gpu: &Gpu) -> Result<OnDevice, CudaError> {
        let norm = |norm: &Norm<Vec<f32>>| -> Result<_, CudaError> {
            Ok(Norm {
                scale: gpu.upload(&norm.scale)?,
                shift: gpu.upload(&norm.shift)?,
            })
        };
        let linear = |linear: &Linear<Vec<u16>, Vec<f32>>| -> Result<_, CudaError> {
            Ok(Linear {
                weight: gpu.upload(&linear.weight)?,
                bias: gpu.upload(&linear.bias)?,
            })
        };
        let layer = |layer: &Layer<Vec<u16>, Vec<f32>>| -> Result<_, CudaError> {
            Ok(Layer {
                heads: linear(&layer.heads)?,
                attention_output: linear(&layer.attention_output)?,
                attention_norm: norm(&layer.attention_norm)?,
                up: linear(&layer.up)?,
                down: linear(&layer.down)?,
                output_norm: norm(&layer.output_norm)?,
            })
        };
        Ok(OnDevice {
            words: gpu.upload(self.words.rows())?,
            positions: gpu.upload(&self.positions)?,
            norm: norm(&self.norm)?,
            layers: self.layers.iter().map(layer).collect::<Result<_, _>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The product of two split rows, as the tensor cores sum it: f16 factors, wide sums.
    #[test]
    fn three_products_of_f16_are_as_exact_as_one_of_f32() {
        let next = |state: &mut u32| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (f64::from(*state) / f64::from(u32::MAX) - 0.5) as f32
        };
        let mut state = 7;
        let (mut worst, mut worst_plain) = (0.0_f64, 0.0_f64);
        for _ in 0..50 {
            let x: Vec<f32> = (0..384).map(|_| 4.0 * next(&mut state)).collect();
            let w: Vec<f32> = (0..384).map(|_| 0.1 * next(&mut state)).collect();
            let exact: f64 = x.iter().zip(&w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum();
            let size: f64 = x
                .iter()
                .zip(&w)
                .map(|(x, w)| (f64::from(*x) * f64::from(*w)).powi(2))
                .sum::<f64>()
                .sqrt();
            let value = |bits: u16| f64::from(f16::from_bits(bits).to_f32());
            let weight = split(&w, 384);
            let x_first: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
            let x_rest = x
                .iter()
                .zip(&x_first)
                .map(|(x, first)| f16::from_f32(x - first.to_f32()));
            let operand = x_first
                .iter()
                .copied()
                .chain(x_rest)
                .chain(x_first.iter().copied());
            let ours: f64 = operand
                .zip(&weight)
                .map(|(x, w)| f64::from(x.to_f32()) * value(*w))
                .sum();
            let plain: f64 = x_first
                .iter()
                .zip(&weight)
                .map(|(x, w)| f64::from(x.to_f32()) * value(*w))
                .sum();
            worst = worst.max((ours - exact).abs() / size);
            worst_plain = worst_plain.max((plain - exact).abs() / size);
        }
        assert!(
            worst < 2e-6 && worst_plain > 1e-4,
            "{worst:e}, plain f16 {worst_plain:e}"
        );
    }
}
