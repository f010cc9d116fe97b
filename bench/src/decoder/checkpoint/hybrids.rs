//! What checkpoints of hybrids have: layers of the gated delta rule, and weights of norms to which 1 is added.

use serde_json::{Value, json};

use super::{Checkpoint, Part, Spread, Tensor};

/// Returns the shape of Qwen3.5-9B, for longer sequences than it was trained for.
pub(super) fn qwen3_5_9b() -> Value {
    json!({
        "architectures": ["Qwen3_5ForCausalLM"], "model_type": "qwen3_5_text", "hidden_act": "silu",
        "vocab_size": 248_320, "hidden_size": 4096, "intermediate_size": 12_288, "num_hidden_layers": 32,
        "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 256, "full_attention_interval": 4,
        "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_key_head_dim": 128,
        "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
        "max_position_embeddings": 1_050_624, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "partial_rotary_factor": 0.25}
    })
}

/// Returns what a small hybrid has beside other small models; `heads` are value heads, `width` is that of theirs and of keys.
pub(in crate::decoder) fn small(key_heads: usize, heads: usize, width: usize) -> Value {
    json!({
        "num_hidden_layers": 4, "head_dim": 256, "full_attention_interval": 2, "num_experts": 0,
        "linear_num_key_heads": key_heads, "linear_num_value_heads": heads, "linear_key_head_dim": width,
        "linear_value_head_dim": width, "linear_conv_kernel_dim": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}
    })
}

impl Checkpoint {
    /// Whether a layer is one of softmax attention.
    pub(super) fn attends(&self, layer: usize) -> bool {
        let interval = self.count("full_attention_interval");
        !self.is_hybrid() || (layer + 1).is_multiple_of(interval)
    }

    /// Names and shapes of what the gated delta rule has.
    pub(super) fn delta(&self) -> Vec<Part> {
        let hidden = self.count("hidden_size");
        let heads = self.count("linear_num_value_heads");
        let width = self.count("linear_value_head_dim");
        let keys = self.count("linear_num_key_heads") * self.count("linear_key_head_dim");
        let (channels, values) = (2 * keys + heads * width, heads * width);
        let inputs = match self.kind() {
            "qwen3_next" => vec![
                ("in_proj_qkvz.weight", vec![channels + values, hidden]),
                ("in_proj_ba.weight", vec![2 * heads, hidden]),
            ],
            _ => vec![
                ("in_proj_qkv.weight", vec![channels, hidden]),
                ("in_proj_z.weight", vec![values, hidden]),
                ("in_proj_b.weight", vec![heads, hidden]),
                ("in_proj_a.weight", vec![heads, hidden]),
            ],
        };
        let others = [
            (
                "conv1d.weight",
                vec![channels, 1, self.count("linear_conv_kernel_dim")],
            ),
            ("A_log", vec![heads]),
            ("dt_bias", vec![heads]),
            ("norm.weight", vec![width]),
            ("out_proj.weight", vec![hidden, values]),
        ];
        let named = |(name, shape): (&str, Vec<usize>)| (format!("linear_attn.{name}"), shape);
        inputs.into_iter().chain(others).map(named).collect()
    }

    /// Spread of a hybrid's tensors that are not as in other models.
    pub(super) fn hybrid_spread(&self, tensor: &Tensor) -> Option<Spread> {
        let ends = |end: &str| tensor.name.ends_with(end);
        let spread = |mean, deviation| Some(Spread { mean, deviation });
        match tensor.shape.len() {
            // Forgets a half in 3 to 80 tokens, so that a state holds what was read long ago.
            1 if ends("A_log") => spread(-3.5, 0.87),
            3 => spread(0.0, 0.6),
            // 1 is added to the weights of these norms.
            1 if self.is_hybrid() && ends("norm.weight") && !ends("linear_attn.norm.weight") => {
                spread(0.0, 0.1)
            }
            _ => None,
        }
    }
}
