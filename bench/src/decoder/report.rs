//! The table: ours in both precisions, transformers, and the bounds of the device.

use liquid_decoder::cuda::Precision;
use serde::Serialize;
use serde_json::Value;

use super::ceilings::Ceilings;

/// Tokens of prompts that are read alone.
pub(super) const PREFILLS: [usize; 3] = [2048, 8192, 32_768];
/// Sequences that write together, and the tokens that each has read.
pub(super) const DECODES: [(usize, usize); 3] = [(1, 2048), (16, 4096), (64, 4096)];

/// Number types of an engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers {
    pub(super) name: &'static str,
    pub(super) projections: Precision,
    pub(super) keys_values: Precision,
}

impl Numbers {
    pub(super) const BF16: Self = Self {
        name: "bf16",
        projections: Precision::Bf16,
        keys_values: Precision::Bf16,
    };
    pub(super) const FP8: Self = Self {
        name: "FP8",
        projections: Precision::Fp8,
        keys_values: Precision::Bf16,
    };
    pub(super) const FP8_KV: Self = Self {
        name: "FP8, keys and values too",
        projections: Precision::Fp8,
        keys_values: Precision::Fp8,
    };
}

/// Figures of an engine.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) name: &'static str,
    #[serde(skip)]
    pub(super) numbers: Numbers,
    /// Seconds until the weights are on the device and the kernels compiled.
    pub(super) load_s: f64,
    /// Seconds until the first token.
    pub(super) ready_s: f64,
    /// Bytes of weights and buffers.
    pub(super) model_bytes: u64,
    /// Bytes of keys and values.
    pub(super) cache_bytes: u64,
    /// Tokens a second, one number for each of [`PREFILLS`].
    pub(super) prefill: Vec<f64>,
    /// Tokens a second, one number for each of [`DECODES`].
    pub(super) decode: Vec<f64>,
    /// Tokens a second of the second of [`DECODES`] if all answers have penalties: their logits are read whole.
    pub(super) penalised: f64,
    /// Seconds for six facts about each of 16 chunks of 8,192 tokens.
    pub(super) extraction_s: f64,
    /// Milliseconds to the first token of a second question about 8,192 tokens.
    pub(super) question_ms: f64,
}

impl Figures {
    /// Figures that are not measured yet.
    pub(super) fn new(numbers: Numbers) -> Self {
        Self {
            name: numbers.name,
            numbers,
            load_s: 0.0,
            ready_s: 0.0,
            model_bytes: 0,
            cache_bytes: 0,
            prefill: Vec::new(),
            decode: Vec::new(),
            penalised: 0.0,
            extraction_s: 0.0,
            question_ms: 0.0,
        }
    }
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) device: String,
    pub(super) ceilings: Ceilings,
    pub(super) ours: Vec<Figures>,
    pub(super) peer: Option<super::peer::Peer>,
    pub(super) hybrid: Option<super::hybrid::Hybrid>,
}

/// Sizes of a model that bound its speed.
pub(super) struct Sizes {
    /// Numbers of all projections of the layers.
    layers: f64,
    /// Numbers of the head.
    head: f64,
    /// Numbers of a token's keys and values.
    token: f64,
    /// Operations of a token's attention to another one.
    attention: f64,
    /// Bytes of a sequence's states; none of a model that is no hybrid.
    states: f64,
}

impl Sizes {
    /// Reads a configuration.
    pub(super) fn new(config: &Value) -> Self {
        let count = |field: &str| config.get(field).and_then(Value::as_f64).unwrap_or(0.0);
        let (hidden, width) = (count("hidden_size"), count("head_dim"));
        let (queries, keys) = (
            count("num_attention_heads") * width,
            count("num_key_value_heads") * width,
        );
        let all = count("num_hidden_layers");
        let heads = count("linear_num_value_heads");
        let hybrid = heads > 0.0;
        let attending = if hybrid {
            all / count("full_attention_interval")
        } else {
            all
        };
        // A hybrid's queries have gates.
        let attention = hidden * (if hybrid { 3.0 } else { 2.0 } * queries + 2.0 * keys);
        let values = heads * count("linear_value_head_dim");
        let channels = 2.0 * count("linear_num_key_heads") * count("linear_key_head_dim") + values;
        let delta = hidden * (channels + 2.0 * values + 2.0 * heads);
        let state = 4.0 * values * count("linear_key_head_dim")
            + 2.0 * channels * (count("linear_conv_kernel_dim") - 1.0).max(0.0);
        let feed_forward = 3.0 * hidden * count("intermediate_size");
        Self {
            layers: attending * attention + (all - attending) * delta + all * feed_forward,
            head: hidden * count("vocab_size"),
            token: attending * 2.0 * keys,
            attention: attending * 4.0 * queries,
            states: (all - attending) * state,
        }
    }

    /// Bound of a prompt's tokens a second: its products at the device's rate.
    pub(super) fn prefill(&self, tokens: f64, ceilings: &Ceilings) -> f64 {
        let operations = 2.0 * self.layers * tokens + self.attention * tokens * tokens / 2.0;
        tokens / (operations / ceilings.bf16)
    }

    /// Bound of written tokens a second: weights read once a step, keys and values of every sequence, and its states read and
    /// written.
    pub(super) fn decode(&self, count: f64, tokens: f64, numbers: Numbers, ceilings: &Ceilings) -> f64 {
        let bytes = |of: Precision| of.bytes() as f64;
        let sequence = tokens * bytes(numbers.keys_values) * self.token + 2.0 * self.states;
        let moved = bytes(numbers.projections) * self.layers + 2.0 * self.head + count * sequence;
        count / (moved / ceilings.bandwidth)
    }
}

impl Report {
    /// Prints the table.
    pub(super) fn print(&self, sizes: &Sizes) {
        let Ceilings { bandwidth, bf16 } = self.ceilings;
        println!(
            "\n{}; copies at {:.2} TB/s, bf16 products at {:.0} TFLOP/s\n",
            self.device,
            bandwidth / 1e12,
            bf16 / 1e12
        );
        if !self.ours.is_empty() || self.peer.is_some() {
            self.print_speed(sizes);
        }
        if let Some(hybrid) = &self.hybrid {
            hybrid.print();
        }
    }

    fn print_speed(&self, sizes: &Sizes) {
        let heads: String = self
            .ours
            .iter()
            .map(|ours| format!(" {} | bound |", ours.name))
            .collect();
        println!(
            "| tokens/s | transformers |{heads}\n|---|---|{}",
            "---|---|".repeat(self.ours.len())
        );
        for (index, tokens) in PREFILLS.into_iter().enumerate() {
            let bound = |numbers: Numbers| match numbers.projections {
                Precision::Bf16 => Some(sizes.prefill(tokens as f64, &self.ceilings)),
                Precision::Fp8 => None,
            };
            self.print_row(&format!("prefill of {tokens}"), index, Figure::Prefill, bound);
        }
        for (index, (count, tokens)) in DECODES.into_iter().enumerate() {
            let bound = |numbers| Some(sizes.decode(count as f64, tokens as f64, numbers, &self.ceilings));
            self.print_row(
                &format!("decode, {count} at {tokens}"),
                index,
                Figure::Decode,
                bound,
            );
        }
        println!();
        for figures in &self.ours {
            println!(
                "{}: from start to ready {:.2} s; question on 8192 tokens in memory {:.2} ms to its first token; 96 facts of \
                 131072 tokens {:.2} s; with penalties, decode of {} at {} {:.0} tokens/s",
                figures.name,
                figures.ready_s,
                figures.question_ms,
                figures.extraction_s,
                DECODES[1].0,
                DECODES[1].1,
                figures.penalised
            );
        }
        if let Some(peer) = &self.peer {
            println!("peer: {}", peer.versions);
        }
    }

    fn print_row(&self, name: &str, index: usize, figure: Figure, bound: impl Fn(Numbers) -> Option<f64>) {
        let peer = self.peer.as_ref();
        let peer = peer.map_or_else(String::new, |peer| figure.of(&peer.prefill, &peer.decode, index));
        let ours = self.ours.iter().map(|ours| {
            let figure = figure.of(&ours.prefill, &ours.decode, index);
            format!(" {figure} | {} |", cell(bound(ours.numbers)))
        });
        println!("| {name} | {peer} |{}", ours.collect::<String>());
    }
}

/// A figure of the table.
#[derive(Clone, Copy)]
enum Figure {
    Prefill,
    Decode,
}

impl Figure {
    fn of(self, prefill: &[f64], decode: &[f64], index: usize) -> String {
        let list = match self {
            Self::Prefill => prefill,
            Self::Decode => decode,
        };
        cell(list.get(index).copied())
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.0}"))
}
