//! A model's `config.json` as one [`Architecture`]: the first step of loading. What would make the model compute
//! something that this crate does not is refused by name here, before a weight is read.

use std::path::{Path, PathBuf};

mod error;
mod fields;
mod layers;
mod refusals;
mod rope;
#[cfg(test)]
mod tests;

pub use error::ConfigError;
use fields::Fields;
pub use rope::{Rope, RopeScaling};

/// File of the configuration in a model folder.
const FILE: &str = "config.json";

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
}

impl Family {
    const ALL: [Self; 4] = [Self::Llama, Self::Mistral, Self::Qwen2, Self::Qwen3];

    /// Returns the family's `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Returns the family's entry of `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
        }
    }
}

/// What the queries of a layer attend to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// All tokens up to the query's own.
    Full,
    /// The last tokens up to the query's own, which counts as one of them.
    Sliding {
        /// How many.
        window: usize,
    },
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
    /// The layers, first to last.
    pub layers: Vec<LayerKind>,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Whether every head's queries and keys are normalised before they are rotated.
    pub head_norms: bool,
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
        let fields = Fields::parse(text, path.into())?;
        let family = family(&fields)?;
        refusals::check(&fields)?;
        let (hidden_size, heads) = (fields.count("hidden_size")?, fields.count("num_attention_heads")?);
        let architecture = Self {
            family,
            vocab_size: fields.count("vocab_size")?,
            hidden_size,
            intermediate_size: fields.count("intermediate_size")?,
            heads,
            key_value_heads: key_value_heads(&fields, family, heads)?,
            head_dim: head_dim(&fields, family, hidden_size, heads)?,
            layers: layers::read(&fields, family)?,
            biases: biases(&fields, family)?,
            head_norms: family == Family::Qwen3,
            tied_embeddings: fields.flag("tie_word_embeddings", false)?,
            norm_epsilon: fields.positive("rms_norm_eps")?,
            rope: Rope::read(&fields)?,
            max_positions: fields.count("max_position_embeddings")?,
        };
        architecture.consistent(&fields)?;
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
        format!("one of {} (SmolLM2 is a llama)", names.join(", "))
    };
    let model_type = fields.text("model_type")?;
    let family = Family::ALL
        .into_iter()
        .find(|family| family.model_type() == model_type);
    let family = family.ok_or_else(|| fields.wrong("model_type", &model_type, served()))?;
    match fields.list("architectures")? {
        None => Ok(family),
        Some(classes) => match classes.iter().find(|class| class.as_str() != family.class()) {
            Some(class) => Err(fields.wrong("architectures", class, family.class())),
            None => Ok(family),
        },
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

/// Reads the width of a head. Qwen3's is not bound to the others, so it must be there.
fn head_dim(fields: &Fields, family: Family, hidden: usize, heads: usize) -> Result<usize, ConfigError> {
    match fields.optional_count("head_dim")? {
        Some(width) => Ok(width),
        None if family == Family::Qwen3 => fields.count("head_dim"),
        None if hidden.is_multiple_of(heads) => Ok(hidden / heads),
        None => {
            let expected = format!("a multiple of num_attention_heads, {heads}, or head_dim beside it");
            Err(fields.wrong("hidden_size", hidden, expected))
        }
    }
}

fn biases(fields: &Fields, family: Family) -> Result<Biases, ConfigError> {
    let attention = match family {
        Family::Llama | Family::Qwen3 => fields.flag("attention_bias", false)?,
        Family::Mistral | Family::Qwen2 => false,
    };
    Ok(Biases {
        query_key_value: attention || family == Family::Qwen2,
        attention_output: attention,
        feed_forward: family == Family::Llama && fields.flag("mlp_bias", false)?,
    })
}
