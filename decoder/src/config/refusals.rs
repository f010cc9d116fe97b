//! Fields that change what a model computes in ways that this crate does not.

use serde_json::Value;

use super::fields::Fields;
use super::{ConfigError, Family};

/// A feature, the fields that ask for it, and what to do.
struct Refusal {
    /// Whether the name of a field belongs to the feature.
    names: fn(&str) -> bool,
    feature: &'static str,
    remedy: &'static str,
}

const EXPERTS: &str = "experts";
const IMAGES: &str = "images or sound";
const DENSE: &str = "take a dense model";
const SERVED: &str = "take a model of the classes Llama, Mistral, Qwen2, Qwen3, Qwen3.5 or Qwen3-Next";

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
        feature: EXPERTS,
        remedy: DENSE,
    },
    Refusal {
        names: |name| {
            matches!(
                name,
                "vision_config" | "audio_config" | "text_config" | "image_token_id"
            )
        },
        feature: IMAGES,
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
        remedy: SERVED,
    },
    Refusal {
        names: |name| {
            matches!(
                name,
                "no_rope_layers" | "attention_chunk_size" | "use_qk_norm" | "auto_map"
            )
        },
        feature: "layers of another class",
        remedy: SERVED,
    },
];

/// Refuses what is not computed here.
pub(super) fn check(fields: &Fields, family: Family) -> Result<(), ConfigError> {
    match family {
        // Its configurations name sizes of experts also where no layer has any.
        Family::Qwen3Next => {
            check_features(fields, Some(EXPERTS))?;
            check_sparse_layers(fields)?;
        }
        _ => check_features(fields, None)?,
    }
    let activation = fields.text("hidden_act")?;
    if activation != "silu" {
        return Err(fields.wrong("hidden_act", activation, "silu"));
    }
    if !fields.flag("attn_output_gate", true)? {
        return Err(fields.wrong("attn_output_gate", false, "true"));
    }
    match fields.value("pretraining_tp") {
        Some(value) if value.as_f64() != Some(1.0) => Err(fields.wrong("pretraining_tp", value, "1")),
        _ => Ok(()),
    }
}

/// Refuses what is not computed here, in a configuration around that of a language model; its images are left out.
pub(super) fn check_wrapper(fields: &Fields) -> Result<(), ConfigError> {
    check_features(fields, Some(IMAGES))
}

fn check_features(fields: &Fields, except: Option<&str>) -> Result<(), ConfigError> {
    for name in fields.names() {
        let Some(value) = fields.value(name).filter(|value| asks(value)) else {
            continue;
        };
        let refusal = REFUSALS.iter().find(|refusal| (refusal.names)(name));
        if let Some(refusal) = refusal.filter(|refusal| Some(refusal.feature) != except) {
            return Err(fields.feature(name, value, refusal.feature, refusal.remedy));
        }
    }
    Ok(())
}

/// Refuses a Qwen3-Next of which a layer has experts: every one that is a multiple of `decoder_sparse_step` and not in
/// `mlp_only_layers`, counted from 0.
fn check_sparse_layers(fields: &Fields) -> Result<(), ConfigError> {
    let experts = fields.value("num_experts");
    let Some(value) = experts else {
        let expected = "0: the class has experts otherwise, which are not computed here";
        return Err(fields.wrong("num_experts", "missing", expected));
    };
    if !asks(value) {
        return Ok(());
    }
    let step = fields.optional_count("decoder_sparse_step")?.unwrap_or(1);
    let dense = fields.value("mlp_only_layers").and_then(Value::as_array);
    let is_dense = |layer: usize| {
        let listed = dense.is_some_and(|layers| layers.contains(&layer.into()));
        listed || !(layer + 1).is_multiple_of(step)
    };
    match (0..fields.count("num_hidden_layers")?).all(is_dense) {
        true => Ok(()),
        false => Err(fields.feature("num_experts", value, EXPERTS, DENSE)),
    }
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
