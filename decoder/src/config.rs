//! A model's `config.json` as one [`Architecture`]: the first step of loading. What would make the model compute
//! something that this crate does not is refused by name here, before a weight is read.

use std::path::{Path, PathBuf};

mod delta;
mod error;
mod fields;
mod layers;
mod refusals;
mod rope;
#[cfg(test)]
mod tests;

pub use delta::GatedDelta;
pub use error::ConfigError;
use fields::Fields;
pub use rope::{Rope, RopeScaling};

/// File of the configuration in a model folder.
const FILE: &str = "config.json";
/// `model_type` of Qwen3.5 with its part for images, which is not computed; the language model is in `text_config`.
const WRAPPED: &str = "qwen3_5";
const WRAPPED_CLASS: &str = "Qwen3_5ForConditionalGeneration";

/// The class of `transformers` that a model is computed as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `LlamaForCausalLM`; SmolLM2 is one.
    Llama,
    /// `MistralForCausalLM`.
    Mistral,
    /// `Qwen2ForCausalLM`.
    Qwen2,
    /// `Qwen3ForCausalLM`.
    Qwen3,
    /// `Qwen3_5ForCausalLM`, and the language model in `Qwen3_5ForConditionalGeneration`.
    Qwen3_5,
    /// `Qwen3NextForCausalLM` without experts.
    Qwen3Next,
}

impl Family {
    const ALL: [Self; 6] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Qwen3_5,
        Self::Qwen3Next,
    ];

    /// Returns the family's `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Qwen3_5 => "qwen3_5_text",
            Self::Qwen3Next => "qwen3_next",
        }
    }

    /// Returns the family's entry of `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Qwen3_5 => "Qwen3_5ForCausalLM",
            Self::Qwen3Next => "Qwen3NextForCausalLM",
        }
    }

    /// Whether some layers attend by the gated delta rule, and the others through a gate.
    fn is_hybrid(self) -> bool {
        matches!(self, Self::Qwen3_5 | Self::Qwen3Next)
    }
}

/// How a layer mixes the tokens of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// Softmax attention: a query attends to all tokens up to its own.
    Full,
    /// Softmax attention to the last tokens up to the query's own, which counts as one of them.
    Sliding {
        /// How many.
        window: usize,
    },
    /// The gated delta rule: what was read is in a state of constant size.
    GatedDelta,
}

/// Which projections of a model have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Those to queries, keys and values.
    pub query_key_value: bool,
    /// The one from the heads back to the hidden state.
    pub attention_output: bool,
    /// The three of the feed-forward part.
    pub feed_forward: bool,
}

/// Everything about a decoder model but its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Architecture {
    /// The class that the model is computed as.
    pub family: Family,
    /// What the names of its tensors begin with, but for that of the projection to logits.
    pub prefix: &'static str,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of the hidden state.
    pub hidden_size: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Number of query heads; a multiple of `key_value_heads`.
    pub heads: usize,
    /// Number of key and value heads.
    pub key_value_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Numbers of a head that are turned by its position, from the first one on; even.
    pub rotary_dim: usize,
    /// The layers, first to last.
    pub layers: Vec<LayerKind>,
    /// Sizes of the layers that attend by the gated delta rule; only where there are some.
    pub delta: Option<GatedDelta>,
    /// Whether the output of every head of softmax attention is multiplied by the sigmoid of a gate.
    pub gated_heads: bool,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Whether every head's queries and keys are normalised before they are rotated.
    pub head_norms: bool,
    /// Whether 1 is added to the weights of all norms but those of the gated delta rule.
    pub centred_norms: bool,
    /// Whether the embedding is also the projection to logits.
    pub tied_embeddings: bool,
    /// Constant under the root of the norms.
    pub norm_epsilon: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Tokens of the longest sequence that the model is made for.
    pub max_positions: usize,
}

impl Architecture {
    /// Reads `config.json` of a model folder.
    ///
    /// # Errors
    /// [`ConfigError`] names the field, its value and what to do.
    pub fn read(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
            path: path.clone(),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Reads the text of a `config.json`; `path` is only named in errors.
    ///
    /// # Errors
    /// As [`Architecture::read`].
    pub fn parse(text: &str, path: impl Into<PathBuf>) -> Result<Self, ConfigError> {
        let whole = Fields::parse(text, path.into())?;
        match whole.text("model_type")?.as_str() {
            WRAPPED => {
                refusals::check_wrapper(&whole)?;
                check_classes(&whole, WRAPPED_CLASS)?;
                let fields = whole.object("text_config")?;
                let fields = fields.ok_or_else(|| whole.missing("text_config"))?;
                let tied = wrapped_tie(&whole, &fields)?;
                let architecture = Self::from_fields(&fields)?;
                Ok(Self {
                    prefix: "model.language_model.",
                    tied_embeddings: tied,
                    ..architecture
                })
            }
            _ => Self::from_fields(&whole),
        }
    }

    fn from_fields(fields: &Fields) -> Result<Self, ConfigError> {
        let family = family(fields)?;
        refusals::check(fields, family)?;
        let (hidden_size, heads) = (fields.count("hidden_size")?, fields.count("num_attention_heads")?);
        let head_dim = head_dim(fields, family, hidden_size, heads)?;
        let layers = layers::read(fields, family)?;
        let architecture = Self {
            family,
            prefix: "model.",
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            heads,
            key_value_heads: key_value_heads(fields, family, heads)?,
            head_dim,
            rotary_dim: rope::rotary_dim(fields, family, head_dim)?,
            delta: match layers.contains(&LayerKind::GatedDelta) {
                true => Some(GatedDelta::read(fields)?),
                false => None,
            },
            layers,
            gated_heads: family.is_hybrid(),
            biases: biases(fields, family)?,
            head_norms: family == Family::Qwen3 || family.is_hybrid(),
            centred_norms: family.is_hybrid(),
            tied_embeddings: fields.flag("tie_word_embeddings", false)?,
            norm_epsilon: fields.positive("rms_norm_eps")?,
            rope: Rope::read(fields)?,
            max_positions: fields.count("max_position_embeddings")?,
        };
        architecture.consistent(fields)?;
        Ok(architecture)
    }

    /// Returns the tokens of the longest sequence: what the model is made for, or, with dynamic rotary scaling, that many
    /// times the factor.
    pub fn most_tokens(&self) -> usize {
        match self.rope.scaling {
            RopeScaling::Dynamic { factor } => (self.max_positions as f64 * factor) as usize,
            _ => self.max_positions,
        }
    }

    fn consistent(&self, fields: &Fields) -> Result<(), ConfigError> {
        if !self.heads.is_multiple_of(self.key_value_heads) {
            let expected = format!("a divisor of num_attention_heads, {}", self.heads);
            return Err(fields.wrong("num_key_value_heads", self.key_value_heads, expected));
        }
        if !self.head_dim.is_multiple_of(2) {
            let expected = "even: rotary positions turn pairs of numbers";
            return Err(fields.wrong("head_dim", self.head_dim, expected));
        }
        Ok(())
    }
}

fn family(fields: &Fields) -> Result<Family, ConfigError> {
    let served = || {
        let names: Vec<&str> = Family::ALL.iter().map(|family| family.model_type()).collect();
        format!("one of {}, {WRAPPED} (SmolLM2 is a llama)", names.join(", "))
    };
    let model_type = fields.text("model_type")?;
    let family = Family::ALL
        .into_iter()
        .find(|family| family.model_type() == model_type);
    let family = family.ok_or_else(|| fields.wrong("model_type", &model_type, served()))?;
    check_classes(fields, family.class())?;
    Ok(family)
}

/// Checks that all classes of `architectures`, where there are any, are the one that is computed.
fn check_classes(fields: &Fields, expected: &str) -> Result<(), ConfigError> {
    let classes = fields.list("architectures")?.unwrap_or_default();
    match classes.iter().find(|class| class.as_str() != expected) {
        Some(class) => Err(fields.wrong("architectures", class, expected)),
        None => Ok(()),
    }
}

/// Reads whether the head is the embedding; a language model within another and the other must not contradict.
fn wrapped_tie(whole: &Fields, text: &Fields) -> Result<bool, ConfigError> {
    const NAME: &str = "tie_word_embeddings";
    let inner = text.flag(NAME, false)?;
    match whole.flag(NAME, inner)? {
        outer if outer == inner || text.value(NAME).is_none() => Ok(outer),
        outer => Err(whole.wrong(NAME, outer, format!("{inner}, as in text_config"))),
    }
}

/// Only Llama's class says what a missing number means.
fn key_value_heads(fields: &Fields, family: Family, heads: usize) -> Result<usize, ConfigError> {
    let optional = family == Family::Llama || fields.is_null("num_key_value_heads");
    match fields.optional_count("num_key_value_heads")? {
        None if optional => Ok(heads),
        None => fields.count("num_key_value_heads"),
        Some(count) => Ok(count),
    }
}

/// Reads the width of a head. That of Qwen3 and later is not bound to the others, so it must be there.
fn head_dim(fields: &Fields, family: Family, hidden: usize, heads: usize) -> Result<usize, ConfigError> {
    match fields.optional_count("head_dim")? {
        Some(width) => Ok(width),
        None if family == Family::Qwen3 || family.is_hybrid() => fields.count("head_dim"),
        None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
        None => {
            let expected = format!("a multiple of num_attention_heads, {heads}, or head_dim beside it");
            Err(fields.wrong("hidden_size", hidden, expected))
        }
    }
}

fn biases(fields: &Fields, family: Family) -> Result<Biases, ConfigError> {
    let attention = match family {
        Family::Mistral | Family::Qwen2 => false,
        Family::Llama | Family::Qwen3 | Family::Qwen3_5 | Family::Qwen3Next => {
            fields.flag("attention_bias", false)?
        }
    };
    Ok(Biases {
        query_key_value: attention || family == Family::Qwen2,
        attention_output: attention,
        feed_forward: family == Family::Llama && fields.flag("mlp_bias", false)?,
    })
}
