//! Which tensors a model needs, and where each goes.

use burn::module::Param;
use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;

use super::layer::{AttentionWeights, DeltaWeights, Layer, Mixer, ModelWeights, Projection};
use crate::config::{Architecture, GatedDelta, LayerKind};
use crate::weights::{Checkpoint, ExpectedTensor, TensorRows, WeightsError};

mod parts;

pub(crate) use parts::{LayerParts, Part};

pub(crate) const HEAD: &str = "lm_head.weight";
/// What the names begin with of tensors that are no part of a hybrid's answers: images, and the predictor of further tokens.
const IGNORED: [&str; 2] = ["model.visual.", "mtp."];

/// Names of the tensors that a kind of layer has beside its projections, and that are not norms of the hidden state.
pub(crate) mod names {
    pub(crate) const QUERY_NORM: &str = "self_attn.q_norm.weight";
    pub(crate) const KEY_NORM: &str = "self_attn.k_norm.weight";
    pub(crate) const CONVOLUTION: &str = "linear_attn.conv1d.weight";
    pub(crate) const DECAY: &str = "linear_attn.A_log";
    pub(crate) const DECAY_BIAS: &str = "linear_attn.dt_bias";
    pub(crate) const DELTA_NORM: &str = "linear_attn.norm.weight";
}

/// Returns the name of a tensor outside of the layers.
fn in_model(architecture: &Architecture, part: &str) -> String {
    format!("{}{part}", architecture.prefix)
}

pub(crate) fn in_layer(architecture: &Architecture, index: usize, part: &str) -> String {
    format!("{}layers.{index}.{part}", architecture.prefix)
}

pub(crate) fn embedding(architecture: &Architecture) -> String {
    in_model(architecture, "embed_tokens.weight")
}

pub(crate) fn last_norm(architecture: &Architecture) -> String {
    in_model(architecture, "norm.weight")
}

/// Returns every tensor that the model needs.
fn expected(architecture: &Architecture) -> Vec<ExpectedTensor> {
    let (hidden, vocab) = (architecture.hidden_size, architecture.vocab_size);
    let tensor = |name: String, shape: Vec<usize>| ExpectedTensor { name, shape };
    let mut tensors = vec![
        tensor(embedding(architecture), vec![vocab, hidden]),
        tensor(last_norm(architecture), vec![hidden]),
    ];
    if !architecture.tied_embeddings {
        tensors.push(tensor(HEAD.to_owned(), vec![vocab, hidden]));
    }
    for (index, kind) in architecture.layers.iter().enumerate() {
        let named = |part: &str, shape| tensor(in_layer(architecture, index, part), shape);
        tensors.push(named("input_layernorm.weight", vec![hidden]));
        tensors.push(named("post_attention_layernorm.weight", vec![hidden]));
        match (kind, architecture.delta) {
            (LayerKind::GatedDelta, Some(delta)) => {
                tensors.push(named(names::CONVOLUTION, vec![delta.channels(), 1, delta.kernel]));
                tensors.push(named(names::DECAY, vec![delta.value_heads]));
                tensors.push(named(names::DECAY_BIAS, vec![delta.value_heads]));
                tensors.push(named(names::DELTA_NORM, vec![delta.value_width]));
            }
            _ if architecture.head_norms => {
                tensors.push(named(names::QUERY_NORM, vec![architecture.head_dim]));
                tensors.push(named(names::KEY_NORM, vec![architecture.head_dim]));
            }
            _ => {}
        }
        for part in LayerParts::new(architecture, *kind).all() {
            tensors.push(named(
                &format!("{}.weight", part.name),
                vec![part.rows, part.inputs],
            ));
            if part.bias {
                tensors.push(named(&format!("{}.bias", part.name), vec![part.rows]));
            }
        }
    }
    tensors
}

/// Checks that a checkpoint holds the model, and nothing but it.
pub(crate) fn check(architecture: &Architecture, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
    // Old checkpoints store the frequencies; a tied head may be stored a second time.
    let ignored = |name: &str| {
        name.ends_with(".rotary_emb.inv_freq")
            || architecture.tied_embeddings && name == HEAD
            || architecture.delta.is_some() && IGNORED.iter().any(|begin| name.starts_with(begin))
    };
    checkpoint.check(&expected(architecture), ignored)
}

/// Copies the weights to a device.
pub(super) fn load(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
    device: &Device,
) -> Result<ModelWeights, WeightsError> {
    let loader = Loader {
        checkpoint,
        device,
        architecture,
    };
    let (hidden, vocab) = (architecture.hidden_size, architecture.vocab_size);
    let matrix = |name: &str| {
        let part = TensorRows::all(name, vocab);
        checkpoint.matrix(&[part], hidden, device).map(Param::from_tensor)
    };
    let layers = (0..architecture.layers.len())
        .into_par_iter()
        .map(|index| loader.layer(index));
    Ok(ModelWeights {
        embedding: matrix(&embedding(architecture))?,
        layers: layers.collect::<Result<_, _>>()?,
        norm: loader.norm(&last_norm(architecture), hidden)?,
        head: match architecture.tied_embeddings {
            true => None,
            false => Some(matrix(HEAD)?),
        },
    })
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    architecture: &'a Architecture,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<Layer, WeightsError> {
        let architecture = self.architecture;
        let kind = architecture.layers.get(index).copied();
        let parts = LayerParts::new(architecture, kind.unwrap_or(LayerKind::Full));
        let norm = |part| self.norm(&self.name(index, part), architecture.hidden_size);
        let packed = self.projection(index, &parts.packed)?;
        let output = self.projection(index, &[parts.output])?;
        Ok(Layer {
            mixer_norm: norm("input_layernorm.weight")?,
            mixer: match (kind, architecture.delta) {
                (Some(LayerKind::GatedDelta), Some(delta)) => {
                    Mixer::Delta(self.delta(index, delta, packed, output)?)
                }
                _ => Mixer::Attention(AttentionWeights {
                    packed,
                    query_norm: self.head_norm(index, names::QUERY_NORM)?,
                    key_norm: self.head_norm(index, names::KEY_NORM)?,
                    output,
                }),
            },
            feed_norm: norm("post_attention_layernorm.weight")?,
            gate_up: self.projection(index, &parts.gate_up)?,
            down: self.projection(index, &[parts.down])?,
        })
    }

    fn delta(
        &self,
        index: usize,
        delta: GatedDelta,
        packed: Projection,
        output: Projection,
    ) -> Result<DeltaWeights, WeightsError> {
        let vector = |part, size| self.vector(&self.name(index, part), size).map(Param::from_tensor);
        let name = self.name(index, names::CONVOLUTION);
        let sizes = [delta.channels(), delta.kernel];
        let kernels = self.checkpoint.kernels(&name, sizes, self.device)?;
        // Laid out anew: where it lies as it is read, a row is the weights of all channels.
        let taps = Tensor::from_data(kernels.transpose().into_data(), (self.device, DType::F32));
        Ok(DeltaWeights {
            packed,
            taps: Param::from_tensor(taps),
            decay: vector(names::DECAY, delta.value_heads)?,
            decay_bias: vector(names::DECAY_BIAS, delta.value_heads)?,
            norm: vector(names::DELTA_NORM, delta.value_width)?,
            output,
        })
    }

    fn name(&self, index: usize, part: &str) -> String {
        in_layer(self.architecture, index, part)
    }

    fn head_norm(&self, index: usize, part: &str) -> Result<Option<Param<Tensor<1>>>, WeightsError> {
        match self.architecture.head_norms {
            true => self
                .norm(&self.name(index, part), self.architecture.head_dim)
                .map(Some),
            false => Ok(None),
        }
    }

    /// Reads the weights of a norm as they are multiplied.
    fn norm(&self, name: &str, size: usize) -> Result<Param<Tensor<1>>, WeightsError> {
        let stored = self.vector(name, size)?;
        Ok(Param::from_tensor(match self.architecture.centred_norms {
            true => stored.add_scalar(1.0),
            false => stored,
        }))
    }

    fn vector(&self, name: &str, size: usize) -> Result<Tensor<1>, WeightsError> {
        self.checkpoint
            .vector(&[TensorRows::all(name, size)], self.device)
    }

    fn projection(&self, index: usize, parts: &[Part]) -> Result<Projection, WeightsError> {
        let named = |end: &str| {
            let names = parts
                .iter()
                .map(|part| self.name(index, &format!("{}.{end}", part.name)));
            names.collect::<Vec<String>>()
        };
        let (weights, biases) = (named("weight"), named("bias"));
        let inputs = parts.first().map_or(0, |part| part.inputs);
        let weight = self
            .checkpoint
            .matrix(&joined(&weights, parts), inputs, self.device)?;
        let bias = match parts.iter().any(|part| part.bias) {
            true => Some(self.checkpoint.vector(&joined(&biases, parts), self.device)?),
            false => None,
        };
        Ok(Projection {
            weight: Param::from_tensor(weight),
            bias: bias.map(Param::from_tensor),
        })
    }
}

fn joined<'a>(names: &'a [String], parts: &[Part]) -> Vec<TensorRows<'a>> {
    let parts = names.iter().zip(parts).map(|(name, part)| TensorRows {
        name,
        rows: part.rows,
        band: part.band,
    });
    parts.collect()
}
