//! The keys of `config.json` that describe gated delta layers.

use serde_json::Value;

use super::LoadError;
use crate::config::LiquidAttentionConfig;

/// Layout of the input projections in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Four tensors: `in_proj_qkv`, `in_proj_z`, `in_proj_b`, `in_proj_a`.
    Apart,
    /// Two tensors, `in_proj_qkvz` and `in_proj_ba`, interleaved by group of key heads.
    Grouped,
}

/// Sizes and places of a model's gated delta layers, as `config.json` has them.
#[derive(Clone, Debug, PartialEq)]
pub struct GatedDeltaConfig {
    pub(super) layout: Layout,
    /// Prefix of `layers.N.` in the names of tensors.
    pub(super) prefix: &'static str,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Number of heads of queries and keys (`linear_num_key_heads`).
    pub key_heads: usize,
    /// Number of heads of values and of the state (`linear_num_value_heads`).
    pub value_heads: usize,
    /// Width of a head's queries and keys (`linear_key_head_dim`).
    pub d_key: usize,
    /// Width of a head's values (`linear_value_head_dim`).
    pub d_value: usize,
    /// Width of the convolution (`linear_conv_kernel_dim`).
    pub conv_kernel: usize,
    /// Constant under the root of the output's norm (`rms_norm_eps`).
    pub norm_epsilon: f64,
    /// Whether each layer is a gated delta layer (`layer_types`, or `full_attention_interval`).
    pub linear_layers: Vec<bool>,
}

impl GatedDeltaConfig {
    /// Reads the text of `config.json`.
    ///
    /// # Errors
    /// [`LoadError::Config`] naming the key.
    pub fn parse(json: &str) -> Result<Self, LoadError> {
        let root = read(json)?;
        let model_type = root["model_type"].as_str().unwrap_or_default();
        let (layout, prefix, text) = match model_type {
            "qwen3_5" => (Layout::Apart, "model.language_model.", &root["text_config"]),
            "qwen3_5_text" => (Layout::Apart, "model.", &root),
            "qwen3_next" => (Layout::Grouped, "model.", &root),
            other => {
                let reason =
                    format!("{other:?} has no gated delta layers; qwen3_5, qwen3_5_text and qwen3_next have");
                return Err(LoadError::Config {
                    key: "model_type".to_owned(),
                    reason,
                });
            }
        };
        Ok(Self {
            layout,
            prefix,
            hidden_size: count(text, "hidden_size")?,
            key_heads: count(text, "linear_num_key_heads")?,
            value_heads: count(text, "linear_num_value_heads")?,
            d_key: count(text, "linear_key_head_dim")?,
            d_value: count(text, "linear_value_head_dim")?,
            conv_kernel: count(text, "linear_conv_kernel_dim")?,
            norm_epsilon: text["rms_norm_eps"].as_f64().unwrap_or(1e-6),
            linear_layers: layers(text)?,
        })
    }

    /// Returns the settings of one of these layers.
    pub fn layer(&self) -> LiquidAttentionConfig {
        LiquidAttentionConfig::new(self.hidden_size, self.value_heads)
            .with_n_key_heads(Some(self.key_heads))
            .with_d_key(Some(self.d_key))
            .with_d_value(Some(self.d_value))
            .with_conv_kernel(Some(self.conv_kernel))
            .with_output_gate(true)
            .with_norm_epsilon(self.norm_epsilon)
            .with_query_bias(false)
            .with_key_bias(false)
            .with_value_bias(false)
            .with_output_bias(false)
    }
}

pub(super) fn read(json: &str) -> Result<Value, LoadError> {
    serde_json::from_str(json).map_err(|error| LoadError::Config {
        key: "(the file)".to_owned(),
        reason: error.to_string(),
    })
}

pub(super) fn count(config: &Value, key: &str) -> Result<usize, LoadError> {
    let value = &config[key];
    value
        .as_u64()
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or_else(|| LoadError::Config {
            key: key.to_owned(),
            reason: format!("{value} where a whole number above 0 is needed"),
        })
}

/// Reads which layers are gated delta layers: those named, or all but every n-th (the fourth unless configured).
fn layers(text: &Value) -> Result<Vec<bool>, LoadError> {
    if let Some(types) = text["layer_types"].as_array() {
        return Ok(types.iter().map(|kind| kind == "linear_attention").collect());
    }
    let interval = match &text["full_attention_interval"] {
        Value::Null => 4,
        _ => count(text, "full_attention_interval")?,
    };
    Ok((1..=count(text, "num_hidden_layers")?)
        .map(|layer| layer % interval != 0)
        .collect())
}
