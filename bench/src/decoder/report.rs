//! The table: ours in both precisions, transformers, and the bounds of the device.

use serde::Serialize;
use serde_json::Value;

use super::ceilings::Ceilings;

/// Tokens of prompts that are read alone.
pub(super) const PREFILLS: [usize; 3] = [2048, 8192, 32_768];
/// Sequences that write together, and the tokens that each has read.
pub(super) const DECODES: [(usize, usize); 3] = [(1, 2048), (16, 4096), (64, 4096)];

/// Figures of an engine.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Figures {
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
    /// Milliseconds to the first token of a second question about 8,192 tokens.
    pub(super) question_ms: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) device: String,
    pub(super) ceilings: Ceilings,
    pub(super) bf16: Option<Figures>,
    pub(super) fp8: Option<Figures>,
    pub(super) peer: Option<super::peer::Peer>,
    pub(super) hybrid: Option<super::hybrid::Hybrid>,
}

/// Sizes of a model that bound its speed.
pub(super) struct Sizes {
    /// Numbers of all projections of the layers.
    layers: f64,
    /// Numbers of the head.
    head: f64,
    /// Bytes of a token's keys and values.
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
            token: attending * 4.0 * keys,
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
    /// written. `bytes` are those of a projection's number.
    pub(super) fn decode(&self, count: f64, tokens: f64, bytes: f64, ceilings: &Ceilings) -> f64 {
        let sequence = tokens * self.token + 2.0 * self.states;
        let moved = bytes * self.layers + 2.0 * self.head + count * sequence;
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
        if self.bf16.is_some() || self.fp8.is_some() || self.peer.is_some() {
            self.print_speed(sizes);
        }
        if let Some(hybrid) = &self.hybrid {
            hybrid.print();
        }
    }

    fn print_speed(&self, sizes: &Sizes) {
        println!("| tokens/s | transformers | bf16 | bound | FP8 | bound |\n|---|---|---|---|---|---|");
        let figure = |value: Option<&f64>| value.map_or_else(String::new, |value| format!("{value:.0}"));
        let of = |figures: &Option<Figures>, decode: bool, index: usize| {
            let figures = figures.as_ref();
            let list = figures.map(|figures| if decode { &figures.decode } else { &figures.prefill });
            figure(list.and_then(|list| list.get(index)))
        };
        let peer = |decode: bool, index: usize| {
            let list = self
                .peer
                .as_ref()
                .map(|peer| if decode { &peer.decode } else { &peer.prefill });
            figure(list.and_then(|list| list.get(index)))
        };
        for (index, tokens) in PREFILLS.into_iter().enumerate() {
            println!(
                "| prefill of {tokens} | {} | {} | {:.0} | {} | |",
                peer(false, index),
                of(&self.bf16, false, index),
                sizes.prefill(tokens as f64, &self.ceilings),
                of(&self.fp8, false, index),
            );
        }
        for (index, (count, tokens)) in DECODES.into_iter().enumerate() {
            let bound = |bytes| sizes.decode(count as f64, tokens as f64, bytes, &self.ceilings);
            println!(
                "| decode, {count} at {tokens} | {} | {} | {:.0} | {} | {:.0} |",
                peer(true, index),
                of(&self.bf16, true, index),
                bound(2.0),
                of(&self.fp8, true, index),
                bound(1.0),
            );
        }
        println!();
        for (name, figures) in [("bf16", &self.bf16), ("FP8", &self.fp8)] {
            if let Some(figures) = figures {
                println!(
                    "{name}: from start to ready {:.2} s; question on 8192 tokens in memory {:.2} ms to its first token; with \
                     penalties, decode of {} at {} {:.0} tokens/s",
                    figures.ready_s, figures.question_ms, DECODES[1].0, DECODES[1].1, figures.penalised
                );
            }
        }
        if let Some(peer) = &self.peer {
            println!("peer: {}", peer.versions);
        }
    }
}
