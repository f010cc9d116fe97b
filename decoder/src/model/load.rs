//! Which tensors a model needs, and where each goes.

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::layer::{Layer, ModelWeights, Projection};
use crate::config::Architecture;
use crate::weights::{Checkpoint, ExpectedTensor, MatrixPart, WeightsError};

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
pub(crate) const NORM: &str = "model.norm.weight";
pub(crate) const HEAD: &str = "lm_head.weight";

/// A projection in a checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) bias: bool,
}

/// The projections of every layer, joined as they are computed.
pub(crate) struct LayerParts {
    pub(crate) query_key_value: [Part; 3],
    pub(crate) attention_output: [Part; 1],
    pub(crate) gate_up: [Part; 2],
    pub(crate) down: [Part; 1],
}

impl LayerParts {
    pub(crate) fn new(architecture: &Architecture) -> Self {
        let (hidden, inner) = (architecture.hidden_size, architecture.intermediate_size);
        let queries = architecture.heads * architecture.head_dim;
        let keys = architecture.key_value_heads * architecture.head_dim;
        let biases = architecture.biases;
        let part = |name, outputs, inputs, bias| Part {
            name,
            outputs,
            inputs,
            bias,
        };
        Self {
            query_key_value: [
                part("self_attn.q_proj", queries, hidden, biases.query_key_value),
                part("self_attn.k_proj", keys, hidden, biases.query_key_value),
                part("self_attn.v_proj", keys, hidden, biases.query_key_value),
            ],
            attention_output: [part("self_attn.o_proj", hidden, queries, biases.attention_output)],
            gate_up: [
                part("mlp.gate_proj", inner, hidden, biases.feed_forward),
                part("mlp.up_proj", inner, hidden, biases.feed_forward),
            ],
            down: [part("mlp.down_proj", hidden, inner, biases.feed_forward)],
        }
    }

    fn all(&self) -> impl Iterator<Item = &Part> {
        let (attention, feed) = (
            self.query_key_value.iter().chain(&self.attention_output),
            self.gate_up.iter().chain(&self.down),
        );
        attention.chain(feed)
    }
}

pub(crate) fn in_layer(index: usize, part: &str) -> String {
    format!("model.layers.{index}.{part}")
}

/// Returns every tensor that the model needs.
fn expected(architecture: &Architecture) -> Vec<ExpectedTensor> {
    let (hidden, vocab) = (architecture.hidden_size, architecture.vocab_size);
    let tensor = |name: &str, shape: Vec<usize>| ExpectedTensor {
        name: name.to_owned(),
        shape,
    };
    let mut tensors = vec![tensor(EMBEDDING, vec![vocab, hidden]), tensor(NORM, vec![hidden])];
    if !architecture.tied_embeddings {
        tensors.push(tensor(HEAD, vec![vocab, hidden]));
    }
    let parts = LayerParts::new(architecture);
    for index in 0..architecture.layers.len() {
        let named = |part: &str, shape| tensor(&in_layer(index, part), shape);
        tensors.push(named("input_layernorm.weight", vec![hidden]));
        tensors.push(named("post_attention_layernorm.weight", vec![hidden]));
        if architecture.head_norms {
            tensors.push(named("self_attn.q_norm.weight", vec![architecture.head_dim]));
            tensors.push(named("self_attn.k_norm.weight", vec![architecture.head_dim]));
        }
        for part in parts.all() {
            tensors.push(named(
                &format!("{}.weight", part.name),
                vec![part.outputs, part.inputs],
            ));
            if part.bias {
                tensors.push(named(&format!("{}.bias", part.name), vec![part.outputs]));
            }
        }
    }
    tensors
}

/// Checks that a checkpoint holds the model, and nothing but it.
pub(crate) fn check(architecture: &Architecture, checkpoint: &Checkpoint) -> Result<(), WeightsError> {
    // Old checkpoints store the frequencies; a tied head may be stored a second time.
    let ignored =
        |name: &str| name.ends_with(".rotary_emb.inv_freq") || architecture.tied_embeddings && name == HEAD;
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
        parts: LayerParts::new(architecture),
        architecture,
    };
    let (hidden, vocab) = (architecture.hidden_size, architecture.vocab_size);
    let matrix = |name| {
        let part = MatrixPart { name, rows: vocab };
        checkpoint.matrix(&[part], hidden, device).map(Param::from_tensor)
    };
    let layers = (0..architecture.layers.len())
        .into_par_iter()
        .map(|index| loader.layer(index));
    Ok(ModelWeights {
        embedding: matrix(EMBEDDING)?,
        layers: layers.collect::<Result<_, _>>()?,
        norm: loader.vector(NORM, hidden)?,
        head: match architecture.tied_embeddings {
            true => None,
            false => Some(matrix(HEAD)?),
        },
    })
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    device: &'a Device,
    parts: LayerParts,
    architecture: &'a Architecture,
}

impl Loader<'_> {
    fn layer(&self, index: usize) -> Result<Layer, WeightsError> {
        let (hidden, width) = (self.architecture.hidden_size, self.architecture.head_dim);
        let norm = |part: &str, size| self.vector(&in_layer(index, part), size);
        let head_norm = |part| match self.architecture.head_norms {
            true => norm(part, width).map(Some),
            false => Ok(None),
        };
        Ok(Layer {
            attention_norm: norm("input_layernorm.weight", hidden)?,
            query_key_value: self.projection(index, &self.parts.query_key_value)?,
            query_norm: head_norm("self_attn.q_norm.weight")?,
            key_norm: head_norm("self_attn.k_norm.weight")?,
            attention_output: self.projection(index, &self.parts.attention_output)?,
            feed_norm: norm("post_attention_layernorm.weight", hidden)?,
            gate_up: self.projection(index, &self.parts.gate_up)?,
            down: self.projection(index, &self.parts.down)?,
        })
    }

    fn vector(&self, name: &str, rows: usize) -> Result<Param<Tensor<1>>, WeightsError> {
        let vector = self
            .checkpoint
            .vector(&[MatrixPart { name, rows }], self.device)?;
        Ok(Param::from_tensor(vector))
    }

    fn projection(&self, index: usize, parts: &[Part]) -> Result<Projection, WeightsError> {
        let named = |end: &str| {
            let names = parts
                .iter()
                .map(|part| in_layer(index, &format!("{}.{end}", part.name)));
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

fn joined<'a>(names: &'a [String], parts: &[Part]) -> Vec<MatrixPart<'a>> {
    let parts = names.iter().zip(parts).map(|(name, part)| MatrixPart {
        name,
        rows: part.outputs,
    });
    parts.collect()
}
