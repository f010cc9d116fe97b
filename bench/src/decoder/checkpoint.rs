//! Random checkpoints as Hugging Face folders.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::ShapeName;

pub(super) mod hybrids;

/// Letters, digits and punctuation: text is not what is measured.
const TOKENIZER: &str = include_str!("../../../decoder/fixtures/tokenizer.json");
/// What its files say beside it: constrained answers need a token that ends them.
const TOKENIZER_CONFIG: &str = r#"{"eos_token":"</s>"}"#;

/// Most bytes of a shard.
const SHARD: usize = 2 << 30;

/// Numbers that a thread makes at a time.
const PIECE: usize = 1 << 20;

/// A checkpoint to be written.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// `config.json`.
    pub(crate) config: Value,
    /// Standard deviation of the matrices' numbers.
    pub(super) deviation: f32,
}

/// A tensor of a checkpoint.
#[derive(Debug)]
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

/// Name of a tensor in its layer, and its shape.
type Part = (String, Vec<usize>);

impl Tensor {
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Checkpoint {
    /// Returns a known model's shape.
    pub(crate) fn named(name: ShapeName) -> Self {
        let shape = |vocab: usize, positions: usize, theta: f64| {
            json!({
                "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
                "vocab_size": vocab, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "sliding_window": null,
                "max_position_embeddings": positions, "rms_norm_eps": 1e-5, "tie_word_embeddings": false,
                "rope_parameters": {"rope_type": "default", "rope_theta": theta}
            })
        };
        match name {
            ShapeName::Mistral7b => Self {
                config: shape(32_768, 32_768 + 1024, 1e6),
                deviation: 0.02,
            },
            ShapeName::Llama8b => Self {
                config: shape(128_256, 131_072, 5e5),
                deviation: 0.02,
            },
            ShapeName::Qwen35 => Self {
                config: hybrids::qwen3_5_9b(),
                deviation: 0.02,
            },
            ShapeName::Small => Self::small(
                "mistral",
                json!({ "num_hidden_layers": 4, "sliding_window": null, "max_position_embeddings": 40_960 }),
            ),
        }
    }

    /// Returns a small model of a type, with fields of its configuration that differ.
    pub(super) fn small(model_type: &str, changes: Value) -> Self {
        let class = match model_type {
            "llama" => "LlamaForCausalLM",
            "mistral" => "MistralForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3_5_text" => "Qwen3_5ForCausalLM",
            "qwen3_next" => "Qwen3NextForCausalLM",
            _ => "Qwen3ForCausalLM",
        };
        let mut config = json!({
            "architectures": [class], "model_type": model_type, "hidden_act": "silu",
            "vocab_size": 512, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
            "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "tie_word_embeddings": false,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}
        });
        if let (Some(config), Value::Object(changes)) = (config.as_object_mut(), changes) {
            config.extend(changes);
        }
        Self {
            config,
            deviation: 0.06,
        }
    }

    fn count(&self, field: &str) -> usize {
        self.config.get(field).and_then(Value::as_u64).unwrap_or(0) as usize
    }

    fn flag(&self, field: &str) -> bool {
        self.config.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    fn kind(&self) -> &str {
        let kind = self.config.get("model_type").and_then(Value::as_str);
        kind.unwrap_or_default()
    }

    /// Whether some layers attend by the gated delta rule.
    fn is_hybrid(&self) -> bool {
        self.config.get("linear_num_value_heads").is_some()
    }

    /// Lists the tensors of the model.
    fn tensors(&self) -> Vec<Tensor> {
        let (hidden, vocab) = (self.count("hidden_size"), self.count("vocab_size"));
        let tensor = |name: &str, shape: &[usize]| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
        };
        let mut tensors = vec![tensor("model.embed_tokens.weight", &[vocab, hidden])];
        for layer in 0..self.count("num_hidden_layers") {
            let mixer = match self.attends(layer) {
                true => self.attention(),
                false => self.delta(),
            };
            for (part, shape) in mixer.into_iter().chain(self.feed_forward()) {
                tensors.push(tensor(&format!("model.layers.{layer}.{part}"), &shape));
            }
        }
        tensors.push(tensor("model.norm.weight", &[hidden]));
        if !self.flag("tie_word_embeddings") {
            tensors.push(tensor("lm_head.weight", &[vocab, hidden]));
        }
        tensors
    }

    /// Names and shapes of what softmax attention has.
    fn attention(&self) -> Vec<Part> {
        let (hidden, width) = (self.count("hidden_size"), self.count("head_dim"));
        let queries = self.count("num_attention_heads") * width;
        let keys = self.count("num_key_value_heads") * width;
        let gates = if self.is_hybrid() { queries } else { 0 };
        let output = self.flag("attention_bias");
        let input = output || self.kind() == "qwen2";
        let mut parts = Vec::new();
        for (name, outputs, inputs, bias) in [
            ("q_proj", queries + gates, hidden, input),
            ("k_proj", keys, hidden, input),
            ("v_proj", keys, hidden, input),
            ("o_proj", hidden, queries, output),
        ] {
            parts.push((format!("self_attn.{name}.weight"), vec![outputs, inputs]));
            parts.extend(bias.then(|| (format!("self_attn.{name}.bias"), vec![outputs])));
        }
        if self.kind() == "qwen3" || self.is_hybrid() {
            let norm = |name: &str| (format!("self_attn.{name}.weight"), vec![width]);
            parts.extend(["q_norm", "k_norm"].map(norm));
        }
        parts
    }

    /// Names and shapes of what every layer has.
    fn feed_forward(&self) -> Vec<Part> {
        let (hidden, inner) = (self.count("hidden_size"), self.count("intermediate_size"));
        let bias = self.flag("mlp_bias");
        let mut parts = Vec::new();
        for (name, outputs, inputs) in [
            ("gate_proj", inner, hidden),
            ("up_proj", inner, hidden),
            ("down_proj", hidden, inner),
        ] {
            parts.push((format!("mlp.{name}.weight"), vec![outputs, inputs]));
            parts.extend(bias.then(|| (format!("mlp.{name}.bias"), vec![outputs])));
        }
        let norm = |name: &str| (format!("{name}.weight"), vec![hidden]);
        parts.extend(["input_layernorm", "post_attention_layernorm"].map(norm));
        parts
    }

    /// Writes the folder. The same configuration gives the same weights.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let at = || format!("cannot write to {}", folder.display());
        std::fs::create_dir_all(folder).with_context(at)?;
        std::fs::write(folder.join("config.json"), self.config.to_string()).with_context(at)?;
        std::fs::write(folder.join("tokenizer.json"), TOKENIZER).with_context(at)?;
        std::fs::write(folder.join("tokenizer_config.json"), TOKENIZER_CONFIG).with_context(at)?;
        let mut shards: Vec<Vec<Tensor>> = Vec::new();
        let mut bytes = SHARD;
        for tensor in self.tensors() {
            if bytes + 2 * tensor.numbers() > SHARD {
                shards.push(Vec::new());
                bytes = 0;
            }
            bytes += 2 * tensor.numbers();
            if let Some(shard) = shards.last_mut() {
                shard.push(tensor);
            }
        }
        let name = |shard: usize| format!("model-{:05}-of-{:05}.safetensors", shard + 1, shards.len());
        let mut map = Map::new();
        for (number, shard) in shards.iter().enumerate() {
            map.extend(
                shard
                    .iter()
                    .map(|tensor| (tensor.name.clone(), Value::from(name(number)))),
            );
        }
        let index = json!({ "metadata": {}, "weight_map": map }).to_string();
        std::fs::write(folder.join("model.safetensors.index.json"), index).with_context(at)?;
        std::thread::scope(|scope| {
            let write = |number| self.write_shard(&folder.join(name(number)), &shards[number], number as u64);
            let threads: Vec<_> = (0..shards.len())
                .map(|number| scope.spawn(move || write(number)))
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(written) => written.with_context(at),
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    /// Norms near 1, biases near 0, so that neither is without effect.
    fn spread(&self, tensor: &Tensor) -> Spread {
        let spread = |mean, deviation| Spread { mean, deviation };
        if let Some(spread) = self.hybrid_spread(tensor) {
            return spread;
        }
        match tensor.shape.len() {
            1 if tensor.name.ends_with("bias") => spread(0.0, self.deviation),
            1 => spread(1.0, 0.1),
            _ => spread(0.0, self.deviation),
        }
    }

    fn write_shard(&self, path: &Path, tensors: &[Tensor], seed: u64) -> Result<()> {
        let mut header = Map::new();
        let mut start = 0;
        for tensor in tensors {
            let end = start + 2 * tensor.numbers();
            let entry = json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [start, end] });
            header.insert(tensor.name.clone(), entry);
            start = end;
        }
        let mut header = Value::Object(header).to_string();
        while !header.len().is_multiple_of(8) {
            header.push(' ');
        }
        let mut file = BufWriter::new(File::create(path)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut random = Random(0x9e37_79b9 + seed);
        let mut bytes = Vec::with_capacity(2 * PIECE);
        for tensor in tensors {
            let Spread { mean, deviation } = self.spread(tensor);
            let mut left = tensor.numbers();
            while left > 0 {
                let count = left.min(PIECE);
                bytes.clear();
                random.fill(&mut bytes, count, mean, deviation);
                file.write_all(&bytes)?;
                left -= count;
            }
        }
        Ok(file.flush()?)
    }
}

/// Mean and standard deviation of a tensor's numbers.
#[derive(Clone, Copy)]
struct Spread {
    mean: f32,
    deviation: f32,
}

/// Random numbers: xorshift, quick enough for billions of weights.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns random tokens below a limit, none of the first few, which are special.
    pub(crate) fn tokens(&mut self, count: usize, limit: usize) -> Vec<u32> {
        let limit = limit as u64 - 3;
        (0..count).map(|_| 3 + (self.next() % limit) as u32).collect()
    }

    /// Appends bf16 numbers, uniform with a mean and a deviation.
    fn fill(&mut self, bytes: &mut Vec<u8>, count: usize, mean: f32, deviation: f32) {
        let factor = deviation * 3.0_f32.sqrt() / 32_768.0;
        for _ in 0..count.div_ceil(4) {
            let bits = self.next();
            for part in 0..4 {
                let number = mean + f32::from((bits >> (16 * part)) as i16) * factor;
                bytes.extend_from_slice(&((number.to_bits() >> 16) as u16).to_le_bytes());
            }
        }
        bytes.truncate(2 * count);
    }
}
