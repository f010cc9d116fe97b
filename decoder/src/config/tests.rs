//! Configurations of published models, and every refusal by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use serde_json::{Value, json};

use super::*;

/// The smallest configuration of a family.
fn config(family: Family) -> Value {
    json!({
        "model_type": family.model_type(), "architectures": [family.class()], "hidden_act": "silu",
        "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5, "sliding_window": null, "num_experts": 0,
        "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
        "linear_value_head_dim": 16, "linear_conv_kernel_dim": 4,
    })
}

fn changed(family: Family, changes: Value) -> Result<Architecture, ConfigError> {
    let mut config = config(family);
    for (name, value) in changes.as_object().unwrap() {
        match value.as_str() {
            Some("(absent)") => drop(config.as_object_mut().unwrap().remove(name)),
            _ => config[name] = value.clone(),
        }
    }
    Architecture::parse(&config.to_string(), "config.json")
}

fn refusal(family: Family, changes: Value) -> String {
    changed(family, changes).unwrap_err().to_string()
}

#[test]
fn smollm2_is_a_llama() {
    let text = r#"{
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 1,
        "eos_token_id": 2, "hidden_act": "silu", "hidden_size": 576, "initializer_range": 0.041666666666666664,
        "intermediate_size": 1536, "is_llama_config": true, "max_position_embeddings": 8192, "mlp_bias": false,
        "model_type": "llama", "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
        "pad_token_id": 2, "pretraining_tp": 1, "rms_norm_eps": 1e-05, "rope_interleaved": false, "rope_scaling": null,
        "rope_theta": 100000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
        "vocab_size": 49152}"#;
    let smollm2 = Architecture::parse(text, "config.json").unwrap();
    let expected = Architecture {
        family: Family::Llama,
        prefix: "model.",
        vocab_size: 49152,
        hidden_size: 576,
        intermediate_size: 1536,
        heads: 9,
        key_value_heads: 3,
        head_dim: 64,
        rotary_dim: 64,
        layers: vec![LayerKind::Full; 30],
        delta: None,
        gated_heads: false,
        biases: Biases {
            query_key_value: false,
            attention_output: false,
            feed_forward: false,
        },
        head_norms: false,
        centred_norms: false,
        tied_embeddings: true,
        norm_epsilon: 1e-5,
        rope: Rope {
            theta: 100_000.0,
            scaling: RopeScaling::Default,
        },
        max_positions: 8192,
    };
    assert_eq!(smollm2, expected);
}

#[test]
fn each_family_has_its_options() {
    let sliding = LayerKind::Sliding { window: 5 };
    let qwen2 = changed(
        Family::Qwen2,
        json!({"use_sliding_window": true, "sliding_window": 5, "max_window_layers": 3}),
    );
    let qwen2 = qwen2.unwrap();
    assert!(qwen2.biases.query_key_value && !qwen2.biases.attention_output && !qwen2.head_norms);
    assert_eq!(
        qwen2.layers,
        [LayerKind::Full, LayerKind::Full, LayerKind::Full, sliding]
    );
    let types = json!([
        "sliding_attention",
        "full_attention",
        "attention",
        "sliding_attention"
    ]);
    let listed = json!({"use_sliding_window": true, "sliding_window": 5, "layer_types": types, "max_window_layers": 1});
    let qwen3 = changed(Family::Qwen3, listed).unwrap();
    assert!(qwen3.head_norms && !qwen3.biases.query_key_value);
    assert_eq!(qwen3.layers, [sliding, LayerKind::Full, LayerKind::Full, sliding]);
    let unused = json!({"use_sliding_window": false, "sliding_window": 5, "max_window_layers": 0});
    assert_eq!(
        changed(Family::Qwen3, unused).unwrap().layers,
        [LayerKind::Full; 4]
    );
    let mistral = |window: Value| {
        changed(Family::Mistral, json!({"sliding_window": window}))
            .unwrap()
            .layers
    };
    assert_eq!(mistral(json!(null)), [LayerKind::Full; 4]);
    assert_eq!(mistral(json!(5)), [sliding; 4]);
    // The class's own default.
    assert_eq!(
        mistral(json!("(absent)")),
        [LayerKind::Sliding { window: 4096 }; 4]
    );
    let biased = changed(Family::Llama, json!({"attention_bias": true, "mlp_bias": true}))
        .unwrap()
        .biases;
    assert!(biased.query_key_value && biased.attention_output && biased.feed_forward);
}

#[test]
fn rotary_scaling_is_read_in_both_spellings() {
    let scaling = |changes| changed(Family::Llama, changes).unwrap().rope;
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_positions: 128,
    };
    let parameters = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 128});
    let old = scaling(json!({"rope_theta": 500000.0, "rope_scaling": parameters}));
    assert_eq!((old.theta, &old.scaling), (500_000.0, &llama3));
    let mut new = parameters;
    new["rope_theta"] = json!(500000.0);
    assert_eq!(scaling(json!({"rope_parameters": new})), old);
    let linear = scaling(json!({"rope_scaling": {"type": "linear", "factor": 2.0}}));
    assert_eq!(
        (linear.theta, linear.scaling),
        (10_000.0, RopeScaling::Linear { factor: 2.0 })
    );
    let yarn = scaling(json!({"rope_scaling": {"type": "yarn", "original_max_position_embeddings": 128}}));
    let expected = RopeScaling::Yarn {
        factor: 4.0,
        attention_factor: None,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: None,
        truncate: true,
        original_max_positions: 128,
    };
    assert_eq!(yarn.scaling, expected);
}

#[test]
fn what_is_not_computed_is_refused_with_field_and_value() {
    let cases = [
        (json!({"model_type": "gemma3"}), ["model_type", "gemma3", "qwen3"]),
        (
            json!({"model_type": "mixtral"}),
            ["model_type", "mixtral", "llama"],
        ),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            [
                "architectures",
                "LlamaForSequenceClassification",
                "LlamaForCausalLM",
            ],
        ),
        (
            json!({"quantization_config": {"quant_method": "awq"}}),
            ["quantization_config", "awq", "bf16"],
        ),
        (
            json!({"num_local_experts": 8}),
            ["num_local_experts", "8", "dense"],
        ),
        (
            json!({"vision_config": {"depth": 32}}),
            ["vision_config", "depth", "text alone"],
        ),
        (
            json!({"final_logit_softcapping": 30.0}),
            ["final_logit_softcapping", "30", "capped"],
        ),
        (json!({"hidden_act": "gelu"}), ["hidden_act", "gelu", "silu"]),
        (
            json!({"partial_rotary_factor": 0.5}),
            ["partial_rotary_factor", "0.5", "1"],
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}),
            ["rope_scaling.rope_type", "longrope", "yarn"],
        ),
        (
            json!({"rope_scaling": {"type": "su"}}),
            ["rope_scaling.type", "su", "default, linear"],
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
            ["rope_parameters.full_attention", "default", "one set"],
        ),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            ["rope_scaling.factor", "has no", "decoder"],
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0}}),
            ["rope_scaling.factor", "0", "above 0"],
        ),
        (
            json!({"num_key_value_heads": 3}),
            ["num_key_value_heads", "3", "divisor"],
        ),
        (json!({"head_dim": 7}), ["head_dim", "7", "even"]),
        (
            json!({"hidden_size": 30, "head_dim": null}),
            ["hidden_size", "30", "multiple"],
        ),
        (
            json!({"num_hidden_layers": 0}),
            ["num_hidden_layers", "0", "above 0"],
        ),
        (
            json!({"vocab_size": "many"}),
            ["vocab_size", "many", "whole number"],
        ),
        (
            json!({"rms_norm_eps": "(absent)"}),
            ["rms_norm_eps", "has no", "llama"],
        ),
        (
            json!({"tie_word_embeddings": 1}),
            ["tie_word_embeddings", "1", "true or false"],
        ),
    ];
    for (changes, words) in cases {
        let text = refusal(Family::Llama, changes.clone());
        let named = words.iter().all(|word| text.contains(word));
        assert!(named && text.starts_with("config.json: "), "{changes}: {text}");
    }
}

#[test]
fn layer_types_are_read_and_never_guessed() {
    let types = |types: Value| json!({"layer_types": types, "use_sliding_window": true, "sliding_window": 5});
    let cases = [
        (Family::Qwen3, types(json!(["full_attention"])), "a list of 1"),
        (
            Family::Qwen3,
            types(json!(vec!["linear_attention"; 4])),
            "linear_attention",
        ),
        (
            Family::Qwen2,
            json!({"layer_types": vec!["sliding_attention"; 4], "sliding_window": 5}),
            "use_sliding_window",
        ),
        (
            Family::Mistral,
            json!({"layer_types": vec!["full_attention"; 4], "sliding_window": 5}),
            "does not mix",
        ),
        (
            Family::Llama,
            json!({"layer_types": vec!["chunked_attention"; 4]}),
            "chunked_attention",
        ),
    ];
    for (family, changes, word) in cases {
        let text = refusal(family, changes);
        assert!(text.contains("layer_types") && text.contains(word), "{text}");
    }
    let same = json!({"layer_types": vec!["full_attention"; 4]});
    assert_eq!(changed(Family::Llama, same).unwrap().layers, [LayerKind::Full; 4]);
}

#[test]
fn the_layers_of_a_hybrid_are_listed_or_every_nth_attends_to_everything() {
    use LayerKind::{Full, GatedDelta};
    let layers = |changes| changed(Family::Qwen3_5, changes).unwrap().layers;
    let types = json!(["linear_attention", "attention", "full_attention", "mamba"]);
    let listed = json!({"layer_types": types, "full_attention_interval": 2});
    assert_eq!(layers(listed), [GatedDelta, Full, Full, GatedDelta]);
    assert_eq!(layers(json!({})), [GatedDelta, GatedDelta, GatedDelta, Full]);
    assert_eq!(
        layers(json!({"full_attention_interval": 2})),
        [GatedDelta, Full, GatedDelta, Full]
    );
    let hybrid = changed(Family::Qwen3Next, json!({})).unwrap();
    let delta = super::GatedDelta {
        key_heads: 2,
        value_heads: 4,
        key_width: 8,
        value_width: 16,
        kernel: 4,
    };
    assert_eq!(
        (hybrid.delta, hybrid.rotary_dim, hybrid.prefix),
        (Some(delta), 2, "model.")
    );
    assert!(hybrid.gated_heads && hybrid.centred_norms && hybrid.head_norms);
    let softmax = changed(Family::Qwen3, json!({})).unwrap();
    assert!(softmax.delta.is_none() && !softmax.gated_heads && !softmax.centred_norms);
    let positions = json!({"rope_theta": 1e7, "rope_type": "default", "partial_rotary_factor": 0.5,
        "mrope_section": [2, 1, 1], "mrope_interleaved": true});
    let turned = changed(Family::Qwen3_5, json!({"rope_parameters": positions})).unwrap();
    assert_eq!((turned.rotary_dim, turned.rope.theta), (4, 1e7));
}

/// Qwen3.5 with its part for images, changed.
fn wrapped(changes: Value) -> Result<Architecture, ConfigError> {
    let mut config = json!({
        "model_type": "qwen3_5", "architectures": ["Qwen3_5ForConditionalGeneration"], "image_token_id": 7,
        "tie_word_embeddings": true, "vision_config": {"depth": 2}, "text_config": config(Family::Qwen3_5),
    });
    config["text_config"]["architectures"] = json!(null);
    for (name, value) in changes.as_object().unwrap() {
        config[name] = value.clone();
    }
    Architecture::parse(&config.to_string(), "config.json")
}

#[test]
fn a_language_model_within_one_for_images_is_read_and_the_rest_left() {
    let text = wrapped(json!({})).unwrap();
    assert_eq!(
        (text.prefix, text.tied_embeddings),
        ("model.language_model.", true)
    );
    let alone = changed(Family::Qwen3_5, json!({"tie_word_embeddings": true})).unwrap();
    let prefix = text.prefix;
    assert_eq!(text, Architecture { prefix, ..alone });
    let mut tied = config(Family::Qwen3_5);
    tied["tie_word_embeddings"] = json!(false);
    let mut experts = config(Family::Qwen3_5);
    experts["num_experts"] = json!(256);
    let cases = [
        (
            json!({"text_config": tied}),
            ["tie_word_embeddings", "true", "text_config"],
        ),
        (
            json!({"text_config": experts}),
            ["text_config.num_experts", "256", "dense"],
        ),
        (json!({"text_config": null}), ["text_config", "has no", "qwen3_5"]),
        (
            json!({"architectures": ["Qwen3_5MoeForConditionalGeneration"]}),
            ["architectures", "Moe", "Qwen3_5ForConditionalGeneration"],
        ),
        (
            json!({"quantization_config": {"quant_method": "fp8"}}),
            ["quantization_config", "fp8", "bf16"],
        ),
    ];
    for (changes, words) in cases {
        let text = wrapped(changes.clone()).unwrap_err().to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{changes}: {text}");
    }
}

#[test]
fn what_is_not_computed_of_hybrids_is_refused_with_field_and_value() {
    let types = |name: &str| json!({"layer_types": ["full_attention", name, name, name]});
    let cases = [
        (
            types("indexed_attention"),
            ["layer_types", "indexed_attention", "linear_attention"],
        ),
        (
            types("sliding_attention"),
            ["layer_types", "sliding_attention", "linear_attention"],
        ),
        (
            json!({"layer_types": ["mamba"]}),
            ["layer_types", "a list of 1", "4 layers"],
        ),
        (
            json!({"layer_types": vec!["mamba"; 4]}),
            ["layer_types", "full_attention", "at least one"],
        ),
        (
            json!({"full_attention_interval": 9}),
            ["layer_types", "full_attention", "at least one"],
        ),
        (
            json!({"attn_output_gate": false}),
            ["attn_output_gate", "false", "true"],
        ),
        (
            json!({"partial_rotary_factor": 0.1}),
            ["partial_rotary_factor", "0.1", "even"],
        ),
        (
            json!({"partial_rotary_factor": 1.5}),
            ["partial_rotary_factor", "1.5", "at most 1"],
        ),
        (
            json!({"linear_num_value_heads": 3}),
            ["linear_num_value_heads", "3", "linear_num_key_heads, 2"],
        ),
        (
            json!({"linear_conv_kernel_dim": 1}),
            ["linear_conv_kernel_dim", "1", "at least 2"],
        ),
        (
            json!({"linear_key_head_dim": "(absent)"}),
            ["linear_key_head_dim", "has no", "qwen3_next"],
        ),
        (
            json!({"head_dim": "(absent)"}),
            ["head_dim", "has no", "qwen3_next"],
        ),
        (json!({"num_experts": 512}), ["num_experts", "512", "dense"]),
        (
            json!({"num_experts": "(absent)"}),
            ["num_experts", "missing", "0"],
        ),
        (
            json!({"num_experts": 8, "mlp_only_layers": [0, 1, 3]}),
            ["num_experts", "8", "experts"],
        ),
    ];
    for (changes, words) in cases {
        let text = refusal(Family::Qwen3Next, changes.clone());
        assert!(words.iter().all(|word| text.contains(word)), "{changes}: {text}");
    }
    // Sizes of experts that no layer has.
    for dense in [
        json!({"moe_intermediate_size": 512, "num_experts_per_tok": 10}),
        json!({"num_experts": 8, "mlp_only_layers": [0, 1, 2, 3]}),
        json!({"num_experts": 8, "mlp_only_layers": [1, 3], "decoder_sparse_step": 2}),
    ] {
        changed(Family::Qwen3Next, dense).unwrap();
    }
}

#[test]
fn what_says_no_is_no_feature() {
    let quiet =
        json!({"num_experts": 0, "vision_config": null, "quantization_config": null, "use_qk_norm": false});
    assert!(changed(Family::Llama, quiet).is_ok());
}

#[test]
fn a_file_that_is_no_object_is_refused() {
    for (text, word) in [("[]", "no JSON object"), ("{", "EOF")] {
        let error = Architecture::parse(text, "config.json").unwrap_err().to_string();
        assert!(
            error.contains(word) && error.starts_with("config.json"),
            "{error}"
        );
    }
}
