//! A Llama's pass as a GPU makes it: products of bf16 with sums in f32, and every result rounded to bf16. Written in burn's
//! operations on the processor, with the order of the sums as a choice.

use std::error::Error;
use std::path::Path;

use burn::tensor::activation::{silu, softmax};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use liquid_decoder::Architecture;
use safetensors::SafeTensors;

/// Keys whose weights are rounded by one largest score, where sums are made in parts: a split of the kernel for few rows.
const SPLIT: usize = 256;
/// Parts of the depth of a product, where sums are made in parts: the warps of the kernel for few rows.
const PARTS: usize = 8;

/// How a pass computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    /// In f32 throughout.
    Exact,
    /// In bf16, each sum made in one go: as a pass of many rows.
    Whole,
    /// In bf16, each sum made in parts, gates not rounded before their activation: as a pass of few rows.
    Parts,
    /// The same with parts of products rounded to bf16, too: as a library may that is not told to add them up in f32.
    RoundedParts,
}

/// Weights of a layer, `[outputs, inputs]`, and of its norms.
struct Layer {
    norms: [Tensor<1>; 2],
    queries: Tensor<2>,
    keys: Tensor<2>,
    values: Tensor<2>,
    output: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    down: Tensor<2>,
}

/// A Llama with its weights in f32.
pub(crate) struct Llama {
    architecture: Architecture,
    embedding: Tensor<2>,
    layers: Vec<Layer>,
    norm: Tensor<1>,
}

impl Llama {
    /// Reads one file of weights; embeddings must be tied, and positions those of Llama without scaling.
    pub(crate) fn load(folder: &Path) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let architecture = Architecture::read(folder)?;
        let bytes = std::fs::read(folder.join("model.safetensors"))?;
        let file = SafeTensors::deserialize(&bytes)?;
        let numbers = |name: &str| -> Result<Tensor<1>, Box<dyn Error + Send + Sync>> {
            let tensor = file.tensor(name)?;
            let halves = tensor.data().as_chunks::<2>().0.iter();
            let values: Vec<f32> = halves.map(|x| half::bf16::from_le_bytes(*x).to_f32()).collect();
            let count = values.len();
            Ok(Tensor::from_data(
                TensorData::new(values, [count]),
                &Device::flex(),
            ))
        };
        let matrix = |name: &str, columns: usize| -> Result<Tensor<2>, Box<dyn Error + Send + Sync>> {
            let values = numbers(name)?;
            let rows = values.dims()[0] / columns;
            Ok(values.reshape([rows, columns]))
        };
        let (hidden, inner) = (architecture.hidden_size, architecture.intermediate_size);
        let layers = (0..architecture.layers.len()).map(|index| {
            let name = |end: &str| format!("model.layers.{index}.{end}.weight");
            Ok(Layer {
                norms: [
                    numbers(&name("input_layernorm"))?,
                    numbers(&name("post_attention_layernorm"))?,
                ],
                queries: matrix(&name("self_attn.q_proj"), hidden)?,
                keys: matrix(&name("self_attn.k_proj"), hidden)?,
                values: matrix(&name("self_attn.v_proj"), hidden)?,
                output: matrix(
                    &name("self_attn.o_proj"),
                    architecture.heads * architecture.head_dim,
                )?,
                gate: matrix(&name("mlp.gate_proj"), hidden)?,
                up: matrix(&name("mlp.up_proj"), hidden)?,
                down: matrix(&name("mlp.down_proj"), inner)?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_, Box<dyn Error + Send + Sync>>>()?,
            embedding: matrix("model.embed_tokens.weight", hidden)?,
            norm: numbers("model.norm.weight")?,
            architecture,
        })
    }

    /// Computes the logits of the last rows of a sequence.
    pub(crate) fn logits(&self, tokens: &[u32], rows: usize, arithmetic: Arithmetic) -> Vec<Vec<f32>> {
        let count = tokens.len();
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [count]), &Device::flex());
        let mut x = self.embedding.clone().select(0, ids);
        for layer in &self.layers {
            let normed = self.norm(&x, &layer.norms[0], arithmetic);
            let mixed = self.attend(layer, &normed, arithmetic);
            x = arithmetic.round(x + arithmetic.product(&mixed, &layer.output));
            let normed = self.norm(&x, &layer.norms[1], arithmetic);
            let (mut gate, mut up) = (
                arithmetic.product(&normed, &layer.gate),
                arithmetic.product(&normed, &layer.up),
            );
            if arithmetic == Arithmetic::Whole {
                (gate, up) = (arithmetic.round(gate), arithmetic.round(up));
            }
            let inner = arithmetic.round(silu(gate) * up);
            x = arithmetic.round(x + arithmetic.product(&inner, &layer.down));
        }
        let last = self.norm(&x.narrow(0, count - rows, rows), &self.norm, arithmetic);
        let logits = arithmetic.product(&last, &self.embedding).into_data();
        let values = logits.try_into_vec::<f32>().unwrap_or_default();
        values
            .chunks_exact(self.architecture.vocab_size)
            .map(<[f32]>::to_vec)
            .collect()
    }

    fn norm(&self, x: &Tensor<2>, weight: &Tensor<1>, arithmetic: Arithmetic) -> Tensor<2> {
        let square = x.clone().powi_scalar(2).mean_dim(1);
        let root = square.add_scalar(self.architecture.norm_epsilon).sqrt();
        arithmetic.round(x.clone() / root * weight.clone().unsqueeze::<2>())
    }

    fn attend(&self, layer: &Layer, x: &Tensor<2>, arithmetic: Arithmetic) -> Tensor<2> {
        let Architecture {
            heads,
            key_value_heads,
            head_dim,
            ..
        } = self.architecture;
        let [rows, _] = x.dims();
        let project = |weight: &Tensor<2>, heads: usize| {
            let product = arithmetic.round(arithmetic.product(x, weight));
            product.reshape([rows, heads, head_dim]).swap_dims(0, 1)
        };
        let queries = arithmetic.round(self.turn(project(&layer.queries, heads)));
        let keys = arithmetic.round(self.turn(project(&layer.keys, key_value_heads)));
        let values = project(&layer.values, key_value_heads);
        let group = heads / key_value_heads;
        let shared = |x: Tensor<3>| {
            let x: Tensor<4> = x.unsqueeze_dim(1);
            x.repeat(&[1, group, 1, 1]).reshape([heads, rows, head_dim])
        };
        let (keys, values) = (shared(keys), shared(values));
        let scale = (head_dim as f64).powf(-0.5);
        let scores = queries.matmul(keys.swap_dims(1, 2)).mul_scalar(scale);
        let later = Tensor::<2>::ones([rows, rows], &Device::flex()).triu(1);
        let scores = scores + later.mul_scalar(-1e9).unsqueeze::<3>();
        let mixed = match arithmetic {
            Arithmetic::Exact => softmax(scores, 2).matmul(values),
            Arithmetic::Whole => mix(&scores, &values, rows),
            Arithmetic::Parts | Arithmetic::RoundedParts => mix(&scores, &values, SPLIT),
        };
        arithmetic.round(mixed.swap_dims(0, 1).reshape([rows, heads * head_dim]))
    }

    /// Turns heads `[heads, rows, head_dim]` by their rows' positions.
    fn turn(&self, x: Tensor<3>) -> Tensor<3> {
        let [_, rows, width] = x.dims();
        let half = width / 2;
        let theta = self.architecture.rope.theta as f32;
        let frequencies: Vec<f32> = (0..half)
            .map(|pair| theta.powf((2 * pair) as f32 / width as f32).recip())
            .collect();
        let angles = (0..rows).flat_map(|row| frequencies.iter().map(move |x| row as f32 * x));
        let angles: Vec<f32> = angles.collect();
        let turned = |function: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|x| function(f64::from(*x)) as f32).collect();
            let data = TensorData::new(values, [1, rows, half]);
            Tensor::<3>::from_data(data, &Device::flex())
        };
        let (cos, sin) = (turned(f64::cos), turned(f64::sin));
        let (first, second) = (x.clone().narrow(2, 0, half), x.narrow(2, half, half));
        Tensor::cat(
            vec![
                first.clone() * cos.clone() - second.clone() * sin.clone(),
                second * cos + first * sin,
            ],
            2,
        )
    }
}

/// Weighs values, weights rounded to bf16 as they are before the division by their sum: those of a split of keys by the
/// split's largest score.
fn mix(scores: &Tensor<3>, values: &Tensor<3>, split: usize) -> Tensor<3> {
    let [_, _, keys] = scores.dims();
    let largest = scores.clone().max_dim(2);
    let mut sum: Option<(Tensor<3>, Tensor<3>)> = None;
    for first in (0..keys).step_by(split) {
        let count = split.min(keys - first);
        let scores = scores.clone().narrow(2, first, count);
        let own = scores.clone().max_dim(2);
        let weights = (scores - own.clone()).exp();
        let factor = (own - largest.clone()).exp();
        let total = weights.clone().sum_dim(2) * factor.clone();
        let part = round(weights).matmul(values.clone().narrow(1, first, count)) * factor;
        sum = Some(match sum {
            Some((parts, totals)) => (parts + part, totals + total),
            None => (part, total),
        });
    }
    let (parts, totals) = sum.unwrap_or_else(|| (values.clone(), values.clone().ones_like()));
    parts / totals
}

fn round<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::BF16).cast(DType::F32)
}

impl Arithmetic {
    fn round<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Exact => x,
            Self::Whole | Self::Parts | Self::RoundedParts => round(x),
        }
    }

    /// Computes `x w^T`.
    fn product(self, x: &Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
        let [_, depth] = x.dims();
        let part = match self {
            Self::Exact | Self::Whole => depth,
            Self::Parts | Self::RoundedParts => depth.div_ceil(PARTS),
        };
        let products = (0..depth).step_by(part).map(|first| {
            let count = part.min(depth - first);
            let x = x.clone().narrow(1, first, count);
            let product = x.matmul(weight.clone().narrow(1, first, count).transpose());
            match self {
                Self::RoundedParts => round(product),
                Self::Exact | Self::Whole | Self::Parts => product,
            }
        });
        let sum = products.reduce(|sum, product| sum + product);
        sum.unwrap_or_else(|| x.clone())
    }
}
