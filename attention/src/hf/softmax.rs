//! The projections of softmax attention in a checkpoint, to start a distillation from.

use burn::module::Param;
use burn::nn::Linear;
use burn::tensor::{DType, Device};

use super::LoadError;
use super::checkpoint::Checkpoint;
use super::config::{count, read};
use super::gated_delta::linear;
use crate::patch::Projections;

/// Sizes of a model's softmax attention, as `config.json` has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoftmaxConfig {
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads.
    pub key_value_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Number of layers of the model.
    pub layers: usize,
}

impl SoftmaxConfig {
    /// Reads the text of `config.json` of a `llama`, `mistral`, `qwen2` or `qwen3` model.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the key.
    pub fn parse(json: &str) -> Result<Self, LoadError> {
        let config = read(json)?;
        let model_type = config["model_type"].as_str().unwrap_or_default();
        if !matches!(model_type, "llama" | "mistral" | "qwen2" | "qwen3") {
            let reason = format!("{model_type:?} is not one of llama, mistral, qwen2, qwen3");
            return Err(LoadError::Config {
                key: "model_type".to_owned(),
                reason,
            });
        }
        let (hidden_size, heads) = (
            count(&config, "hidden_size")?,
            count(&config, "num_attention_heads")?,
        );
        let or = |key: &str, otherwise: usize| match config[key].is_null() {
            true => Ok(otherwise),
            false => count(&config, key),
        };
        Ok(Self {
            hidden_size,
            heads,
            key_value_heads: or("num_key_value_heads", heads)?,
            head_dim: or("head_dim", hidden_size / heads)?,
            layers: count(&config, "num_hidden_layers")?,
        })
    }

    /// Reads the projections of layer `index`, counted from 0. What belongs to softmax alone is left out: rotary
    /// positions (the gates carry the order) and the norms of queries and keys (the rule has its own).
    ///
    /// # Errors
    /// What [`Checkpoint::tensor`] says.
    pub fn load(
        &self,
        checkpoint: &Checkpoint,
        index: usize,
        dtype: Option<DType>,
        device: &Device,
    ) -> Result<Projections, LoadError> {
        let project = |name: &str, output: usize, input: usize| -> Result<Linear, LoadError> {
            let name = format!("model.layers.{index}.self_attn.{name}");
            let weight = checkpoint.tensor(&format!("{name}.weight"), [output, input], dtype, device)?;
            let bias = match checkpoint.shape(&format!("{name}.bias")) {
                Some(_) => Some(checkpoint.tensor(&format!("{name}.bias"), [output], dtype, device)?),
                None => None,
            };
            Ok(Linear {
                bias: bias.map(Param::from_tensor),
                ..linear(weight)
            })
        };
        let (queries, keys) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
        Ok(Projections {
            query: project("q_proj", queries, self.hidden_size)?,
            key: project("k_proj", keys, self.hidden_size)?,
            value: project("v_proj", keys, self.hidden_size)?,
            output: project("o_proj", self.hidden_size, queries)?,
            heads: self.heads,
            key_value_heads: self.key_value_heads,
        })
    }
}
