//! Random checkpoints as Hugging Face folders.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::ShapeName;

/// Letters, digits and punctuation: text is not what is measured.
const TOKENIZER: &str = include_str!("../../../decoder/fixtures/tokenizer.json");

/// Most bytes of a shard.
const SHARD: usize = 2 << 30;

/// Numbers that a thread makes at a time.
const PIECE: usize = 1 << 20;

/// A checkpoint to be written.
#[derive(Clone, Debug)]
pub(super) struct Checkpoint {
    /// `config.json`.
    pub(super) config: Value,
    /// Standard deviation of the matrices' numbers.
    pub(super) deviation: f32,
}

/// A tensor of a checkpoint.
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

impl Tensor {
    fn numbers(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Checkpoint {
    /// Returns a known model's shape.
    pub(super) fn named(name: ShapeName) -> Self {
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

    /// Lists the tensors of the model.
    fn tensors(&self) -> Vec<Tensor> {
        let (hidden, inner, vocab) = (
            self.count("hidden_size"),
            self.count("intermediate_size"),
            self.count("vocab_size"),
        );
        let width = self.count("head_dim");
        let (queries, keys) = (
            self.count("num_attention_heads") * width,
            self.count("num_key_value_heads") * width,
        );
        let kind = self
            .config
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let (own, bias) = (kind == "qwen2", self.flag("attention_bias"));
        let parts = [
            ("self_attn.q_proj", queries, hidden, own || bias),
            ("self_attn.k_proj", keys, hidden, own || bias),
            ("self_attn.v_proj", keys, hidden, own || bias),
            ("self_attn.o_proj", hidden, queries, bias),
            ("mlp.gate_proj", inner, hidden, self.flag("mlp_bias")),
            ("mlp.up_proj", inner, hidden, self.flag("mlp_bias")),
            ("mlp.down_proj", hidden, inner, self.flag("mlp_bias")),
        ];
        let tensor = |name: String, shape: &[usize]| Tensor {
            name,
            shape: shape.to_vec(),
        };
        let mut tensors = vec![tensor("model.embed_tokens.weight".to_owned(), &[vocab, hidden])];
        for layer in 0..self.count("num_hidden_layers") {
            let named = |part: &str| format!("model.layers.{layer}.{part}");
            for (part, outputs, inputs, bias) in parts {
                tensors.push(tensor(named(&format!("{part}.weight")), &[outputs, inputs]));
                if bias {
                    tensors.push(tensor(named(&format!("{part}.bias")), &[outputs]));
                }
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                tensors.push(tensor(named(&format!("{norm}.weight")), &[hidden]));
            }
            if kind == "qwen3" {
                for norm in ["self_attn.q_norm", "self_attn.k_norm"] {
                    tensors.push(tensor(named(&format!("{norm}.weight")), &[width]));
                }
            }
        }
        tensors.push(tensor("model.norm.weight".to_owned(), &[hidden]));
        if !self.flag("tie_word_embeddings") {
            tensors.push(tensor("lm_head.weight".to_owned(), &[vocab, hidden]));
        }
        tensors
    }

    /// Writes the folder. The same configuration gives the same weights.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let at = || format!("cannot write to {}", folder.display());
        std::fs::create_dir_all(folder).with_context(at)?;
        std::fs::write(folder.join("config.json"), self.config.to_string()).with_context(at)?;
        std::fs::write(folder.join("tokenizer.json"), TOKENIZER).with_context(at)?;
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
            // Norms near 1, biases near 0, so that neither is without effect.
            let (mean, deviation) = match tensor.shape.len() {
                1 if tensor.name.ends_with("bias") => (0.0, self.deviation),
                1 => (1.0, 0.1),
                _ => (0.0, self.deviation),
            };
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

/// Random numbers: xorshift, quick enough for billions of weights.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Returns random tokens below a limit, none of the first few, which are special.
    pub(super) fn tokens(&mut self, count: usize, limit: usize) -> Vec<u32> {
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
