//! BERT's forward pass on the processor, through burn's flex backend; the same pass for GPUs is in
//! `model/cuda`.

use burn::tensor::module::{attention, layer_norm, linear};
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Bool, Int, Tensor, TensorData, activation as burns};

use super::WORD_EMBEDDINGS;
use super::activation;
use super::config::Config;
use crate::model::weights::{Weights, WeightsError};

#[cfg(test)]
mod tests;

/// Windows of one length after padding, ready for the forward pass.
pub(super) struct Batch {
    /// Ids, `[windows, length]` row-major, zero where padded.
    pub(super) ids: Vec<i32>,
    /// Tokens of each window; at most `length`.
    pub(super) lengths: Vec<usize>,
    /// Padded length.
    pub(super) length: usize,
    /// Place from which on the tokens of every window are of type 1; `None` if all are of type 0.
    pub(super) second_segment: Option<usize>,
}

/// The code that computes GELU and softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ActivationCode {
    /// The module [`activation`], in the tensors' memory.
    Cpu,
    /// Burn, which the other one is checked against.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "what the other one is checked against")
    )]
    Burn,
}

/// The weights of a BERT model, ready for its forward pass.
pub(super) struct Bert {
    config: Config,
    device: burn::tensor::Device,
    activations: ActivationCode,
    words: Tensor<2>,
    /// Position embeddings with the embedding of token type 0 added.
    positions: Tensor<2>,
    /// The same for token type 1, or 0 if the model has no other.
    second_positions: Tensor<2>,
    norm: Norm,
    layers: Vec<Layer>,
}

struct Norm {
    scale: Tensor<1>,
    shift: Tensor<1>,
}

struct Linear {
    /// Weights, `[inputs, outputs]`.
    weight: Tensor<2>,
    bias: Tensor<1>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    attention_norm: Norm,
    up: Linear,
    up_bias: Vec<f32>,
    down: Linear,
    output_norm: Norm,
}

/// Copies weights to a device once their types and shapes are checked.
struct Loader<'a> {
    weights: &'a Weights<'a>,
    device: &'a burn::tensor::Device,
}

impl Loader<'_> {
    fn vector(&self, name: &str, size: usize) -> Result<Tensor<1>, WeightsError> {
        let values = self.weights.take(name, &[size])?;
        Ok(Tensor::from_data(TensorData::new(values, [size]), self.device))
    }

    fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Tensor<2>, WeightsError> {
        let values = self.weights.take(name, &[rows, columns])?;
        Ok(Tensor::from_data(
            TensorData::new(values, [rows, columns]),
            self.device,
        ))
    }

    fn norm(&self, prefix: &str, size: usize) -> Result<Norm, WeightsError> {
        let scale = self.vector(&format!("{prefix}.weight"), size)?;
        Ok(Norm {
            scale,
            shift: self.vector(&format!("{prefix}.bias"), size)?,
        })
    }

    /// Loads a linear map. The file holds `[outputs, inputs]`; the product wants rows of inputs.
    fn linear(&self, prefix: &str, inputs: usize, outputs: usize) -> Result<Linear, WeightsError> {
        let stored = self
            .weights
            .take(&format!("{prefix}.weight"), &[outputs, inputs])?;
        let weight = Tensor::from_data(
            TensorData::new(transposed(&stored, inputs), [inputs, outputs]),
            self.device,
        );
        Ok(Linear {
            weight,
            bias: self.vector(&format!("{prefix}.bias"), outputs)?,
        })
    }

    fn layer(&self, index: usize, config: &Config) -> Result<Layer, WeightsError> {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let name = |part: &str| format!("encoder.layer.{index}.{part}");
        Ok(Layer {
            query: self.linear(&name("attention.self.query"), hidden, hidden)?,
            key: self.linear(&name("attention.self.key"), hidden, hidden)?,
            value: self.linear(&name("attention.self.value"), hidden, hidden)?,
            attention_output: self.linear(&name("attention.output.dense"), hidden, hidden)?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"), hidden)?,
            up: self.linear(&name("intermediate.dense"), hidden, inner)?,
            up_bias: self.weights.take(&name("intermediate.dense.bias"), &[inner])?,
            down: self.linear(&name("output.dense"), inner, hidden)?,
            output_norm: self.norm(&name("output.LayerNorm"), hidden)?,
        })
    }
}

fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns;
    (0..values.len())
        .map(|i| values[(i % rows) * columns + i / rows])
        .collect()
}

impl Bert {
    pub(super) fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, WeightsError> {
        let device = burn::tensor::Device::flex();
        let loader = Loader {
            weights,
            device: &device,
        };
        let (hidden, positions) = (config.hidden_size, config.max_position_embeddings);
        let words = loader.matrix(WORD_EMBEDDINGS, config.vocab_size, hidden)?;
        let types = loader.matrix(
            "embeddings.token_type_embeddings.weight",
            config.type_vocab_size,
            hidden,
        )?;
        let positions = loader.matrix("embeddings.position_embeddings.weight", positions, hidden)?;
        let norm = loader.norm("embeddings.LayerNorm", hidden)?;
        let layers = (0..config.num_hidden_layers).map(|i| loader.layer(i, config));
        let layers = layers.collect::<Result<_, _>>()?;
        let second = types.clone().narrow(0, 1.min(config.type_vocab_size - 1), 1);
        let second_positions = positions.clone() + second;
        let positions = positions + types.narrow(0, 0, 1);
        Ok(Self {
            config: config.clone(),
            device,
            activations: ActivationCode::Cpu,
            words,
            positions,
            second_positions,
            norm,
            layers,
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Computes the last hidden states, `[windows * length, hidden]` row-major; rows of padding hold numbers
    /// without meaning. The error is what burn says about the device.
    pub(super) fn forward(&self, batch: &Batch) -> Result<Vec<f32>, String> {
        let (windows, length, hidden) = (batch.lengths.len(), batch.length, self.config.hidden_size);
        let ids = TensorData::new(batch.ids.clone(), [windows * length]);
        let ids = Tensor::<1, Int>::from_data(ids, &self.device);
        let words = self
            .words
            .clone()
            .select(0, ids)
            .reshape([windows, length, hidden]);
        let states = (words + self.place(batch).unsqueeze::<3>()).reshape([windows * length, hidden]);
        let mut states = self.norm(states, &self.norm);
        for layer in &self.layers {
            let attended = self.attend(&states, layer, batch)?;
            states = self.norm(states + attended, &layer.attention_norm);
            let inner = self.activate(states.clone(), layer)?;
            states = self.norm(states + layer.down.apply(inner), &layer.output_norm);
        }
        let data = states.try_into_data().map_err(|e| e.to_string())?;
        data.try_into_vec().map_err(|e| e.to_string())
    }

    /// Returns what position and token type add to each place of a window, `[length, hidden]`.
    fn place(&self, batch: &Batch) -> Tensor<2> {
        let rows = |table: &Tensor<2>, start, end| table.clone().narrow(0, start, end - start);
        match batch.second_segment {
            Some(second) if second < batch.length => {
                let first = rows(&self.positions, 0, second);
                Tensor::cat(vec![first, rows(&self.second_positions, second, batch.length)], 0)
            }
            _ => rows(&self.positions, 0, batch.length),
        }
    }

    fn attend(&self, states: &Tensor<2>, layer: &Layer, batch: &Batch) -> Result<Tensor<2>, String> {
        let (windows, length) = (batch.lengths.len(), batch.length);
        let heads = self.config.num_attention_heads;
        let width = self.config.hidden_size / heads;
        let split = |part: &Linear| {
            let rows = part.apply(states.clone());
            rows.reshape([windows, length, heads, width]).swap_dims(1, 2)
        };
        let (query, key, value) = (split(&layer.query), split(&layer.key), split(&layer.value));
        let attended = match self.activations {
            ActivationCode::Cpu => {
                let scores = query.matmul(key.swap_dims(2, 3));
                let scale = 1.0 / (width as f32).sqrt();
                activation::softmax(scores, scale, &batch.lengths, &self.device)?.matmul(value)
            }
            ActivationCode::Burn => {
                let options = AttentionModuleOptions::default();
                attention(query, key, value, self.padding(batch), None, options)
            }
        };
        let joined = attended
            .swap_dims(1, 2)
            .reshape([windows * length, heads * width]);
        Ok(layer.attention_output.apply(joined))
    }

    /// Makes the mask of the positions that nothing may attend to, `[windows, heads, length, length]`; `None`
    /// if no window is padded.
    fn padding(&self, batch: &Batch) -> Option<Tensor<4, Bool>> {
        let (windows, length) = (batch.lengths.len(), batch.length);
        if batch.lengths.iter().all(|n| *n == length) {
            return None;
        }
        let columns: Vec<bool> = batch
            .lengths
            .iter()
            .flat_map(|valid| (0..length).map(move |i| i >= *valid))
            .collect();
        let columns = TensorData::new(columns, [windows, 1, 1, length]);
        let columns = Tensor::<4, Bool>::from_data(columns, &self.device);
        Some(columns.expand([windows, self.config.num_attention_heads, length, length]))
    }

    fn activate(&self, states: Tensor<2>, layer: &Layer) -> Result<Tensor<2>, String> {
        match self.activations {
            ActivationCode::Cpu => activation::bias_gelu(
                states.matmul(layer.up.weight.clone()),
                &layer.up_bias,
                &self.device,
            ),
            ActivationCode::Burn => Ok(burns::gelu(layer.up.apply(states))),
        }
    }

    fn norm(&self, states: Tensor<2>, norm: &Norm) -> Tensor<2> {
        layer_norm(
            states,
            norm.scale.clone(),
            Some(norm.shift.clone()),
            self.config.layer_norm_eps,
        )
    }
}

impl Linear {
    fn apply(&self, input: Tensor<2>) -> Tensor<2> {
        linear(input, self.weight.clone(), Some(self.bias.clone()))
    }
}
