//! Fields that change what a model computes in ways that this crate does not.

use serde_json::Value;

use super::ConfigError;
use super::fields::Fields;

/// A feature, the fields that ask for it, and what to do.
struct Refusal {
    /// Whether the name of a field belongs to the feature.
    names: fn(&str) -> bool,
    feature: &'static str,
    remedy: &'static str,
}

const REFUSALS: [Refusal; 5] = [
    Refusal {
        names: |name| matches!(name, "quantization_config" | "compression_config"),
        feature: "quantised weights",
        remedy: "take the checkpoint in bf16, f16 or f32",
    },
    Refusal {
        names: |name| {
            matches!(
                name,
                "num_experts" | "num_local_experts" | "n_routed_experts" | "num_experts_per_tok"
            ) || name.starts_with("moe_")
        },
        feature: "experts",
        remedy: "take a dense model",
    },
    Refusal {
        names: |name| {
            matches!(
                name,
                "vision_config" | "audio_config" | "text_config" | "image_token_id"
            )
        },
        feature: "images or sound",
        remedy: "take a model of text alone",
    },
    Refusal {
        names: |name| {
            name.ends_with("_logit_softcapping")
                || matches!(
                    name,
                    "logit_scale"
                        | "embedding_multiplier"
                        | "residual_multiplier"
                        | "attention_multiplier"
                        | "logits_scaling"
                        | "query_pre_attn_scalar"
                )
        },
        feature: "scaled or capped activations",
        remedy: "take a model of the classes Llama, Mistral, Qwen2 or Qwen3",
    },
    Refusal {
        names: |name| {
            matches!(
                name,
                "no_rope_layers" | "attention_chunk_size" | "use_qk_norm" | "auto_map"
            )
        },
        feature: "layers of another class",
        remedy: "take a model of the classes Llama, Mistral, Qwen2 or Qwen3",
    },
];

/// Refuses what is not computed here.
pub(super) fn check(fields: &Fields) -> Result<(), ConfigError> {
    for name in fields.names() {
        let Some(value) = fields.value(name).filter(|value| asks(value)) else {
            continue;
        };
        if let Some(refusal) = REFUSALS.iter().find(|refusal| (refusal.names)(name)) {
            return Err(fields.feature(name, value, refusal.feature, refusal.remedy));
        }
    }
    let activation = fields.text("hidden_act")?;
    if activation != "silu" {
        return Err(fields.wrong("hidden_act", activation, "silu"));
    }
    for (name, neutral) in [("partial_rotary_factor", 1.0), ("pretraining_tp", 1.0)] {
        match fields.value(name) {
            Some(value) if value.as_f64() != Some(neutral) => {
                return Err(fields.wrong(name, value, neutral.to_string()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether a value asks for anything: false, 0 and empty lists do not.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}
