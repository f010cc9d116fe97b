//! The projections of a layer as they are joined, each in the rows of its tensor.

use crate::config::{Architecture, Family, GatedDelta, LayerKind};
use crate::weights::Band;

/// Rows of a projection in a checkpoint.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// All rows of the tensor.
    pub(crate) rows: usize,
    /// Those that are taken.
    pub(crate) band: Band,
    pub(crate) inputs: usize,
    pub(crate) bias: bool,
}

/// The projections of a layer, joined as they are computed.
pub(crate) struct LayerParts {
    /// From the hidden state to all that the mixing of tokens reads.
    pub(crate) packed: Vec<Part>,
    /// From the heads back to the hidden state.
    pub(crate) output: Part,
    pub(crate) gate_up: [Part; 2],
    pub(crate) down: Part,
}

/// A tensor that holds one projection, or several in bands.
#[derive(Clone, Copy)]
struct Source {
    name: &'static str,
    rows: usize,
    inputs: usize,
    bias: bool,
}

impl Source {
    fn all(self) -> Part {
        self.band(Band::all(self.rows))
    }

    fn band(self, band: Band) -> Part {
        Part {
            name: self.name,
            rows: self.rows,
            band,
            inputs: self.inputs,
            bias: self.bias,
        }
    }

    /// Cuts every `sum(counts)` rows into bands of these counts.
    fn bands<const N: usize>(self, counts: [usize; N]) -> [Part; N] {
        let every = counts.iter().sum();
        let mut first = 0;
        counts.map(|count| {
            let part = self.band(Band { first, count, every });
            first += count;
            part
        })
    }
}

impl LayerParts {
    pub(crate) fn new(architecture: &Architecture, kind: LayerKind) -> Self {
        let (hidden, inner) = (architecture.hidden_size, architecture.intermediate_size);
        let bias = architecture.biases.feed_forward;
        let feed = |name, rows, inputs| {
            let source = Source {
                name,
                rows,
                inputs,
                bias,
            };
            source.all()
        };
        let (packed, output) = match (kind, architecture.delta) {
            (LayerKind::GatedDelta, Some(delta)) => gated_delta(architecture, delta),
            _ => attention(architecture),
        };
        Self {
            packed,
            output,
            gate_up: [
                feed("mlp.gate_proj", inner, hidden),
                feed("mlp.up_proj", inner, hidden),
            ],
            down: feed("mlp.down_proj", hidden, inner),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Part> {
        let feed = self.gate_up.iter().chain([&self.down]);
        self.packed.iter().chain([&self.output]).chain(feed)
    }
}

/// Queries, keys, values, and the heads' gates where there are any: those stand behind each head's query.
fn attention(architecture: &Architecture) -> (Vec<Part>, Part) {
    let (hidden, width, biases) = (
        architecture.hidden_size,
        architecture.head_dim,
        architecture.biases,
    );
    let (queries, keys) = (architecture.heads * width, architecture.key_value_heads * width);
    let source = |name, rows| Source {
        name,
        rows,
        inputs: hidden,
        bias: biases.query_key_value,
    };
    let key_value = [
        source("self_attn.k_proj", keys).all(),
        source("self_attn.v_proj", keys).all(),
    ];
    let output = Source {
        name: "self_attn.o_proj",
        rows: hidden,
        inputs: queries,
        bias: biases.attention_output,
    };
    let mut packed = Vec::new();
    match architecture.gated_heads {
        true => {
            let [query, gate] = source("self_attn.q_proj", 2 * queries).bands([width, width]);
            packed.push(query);
            packed.extend(key_value);
            packed.push(gate);
        }
        false => {
            packed.push(source("self_attn.q_proj", queries).all());
            packed.extend(key_value);
        }
    }
    (packed, output.all())
}

/// Queries, keys, values, gates of the output, strengths and forgetting numbers. Qwen3-Next keeps them together for each key
/// head.
fn gated_delta(architecture: &Architecture, delta: GatedDelta) -> (Vec<Part>, Part) {
    let hidden = architecture.hidden_size;
    let source = |name, rows| Source {
        name,
        rows,
        inputs: hidden,
        bias: false,
    };
    let heads = delta.value_heads;
    let packed = match architecture.family {
        Family::Qwen3Next => {
            let values = delta.group() * delta.value_width;
            let rows = delta.channels() + delta.values();
            let all = source("linear_attn.in_proj_qkvz", rows);
            let numbers = source("linear_attn.in_proj_ba", 2 * heads);
            let mut packed = all
                .bands([delta.key_width, delta.key_width, values, values])
                .to_vec();
            packed.extend(numbers.bands([delta.group(), delta.group()]));
            packed
        }
        _ => vec![
            source("linear_attn.in_proj_qkv", delta.channels()).all(),
            source("linear_attn.in_proj_z", delta.values()).all(),
            source("linear_attn.in_proj_b", heads).all(),
            source("linear_attn.in_proj_a", heads).all(),
        ],
    };
    let output = Source {
        name: "linear_attn.out_proj",
        rows: hidden,
        inputs: delta.values(),
        bias: false,
    };
    (packed, output.all())
}
