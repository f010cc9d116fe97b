//! How positions turn queries and keys. Written in two ways: `rope_parameters` since transformers 5, `rope_theta` and
//! `rope_scaling` before.

use super::fields::Fields;
use super::{ConfigError, Family};

/// Base of the frequencies where none is given.
const DEFAULT_THETA: f64 = 10_000.0;
/// Part of a hybrid's heads that is turned where none is given.
const HYBRID_PART: f64 = 0.25;
const PART: &str = "partial_rotary_factor";

/// Rotary positions of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// How frequencies are changed for long sequences.
    pub scaling: RopeScaling,
}

/// How the frequencies of rotary positions are changed for sequences longer than those of the training. Names and
/// arithmetic: `modeling_rope_utils.py` of transformers.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// All are divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// The base grows with the length of the sequence.
    Dynamic {
        /// How many times longer sequences may be.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided, high ones kept.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Turns within the trained length below which a frequency is low.
        low_freq_factor: f64,
        /// Turns above which a frequency is high.
        high_freq_factor: f64,
        /// Tokens of the trained length.
        original_max_positions: usize,
    },
    /// YaRN: as Llama 3.1's by a ramp over the frequencies, and the heads' numbers are scaled.
    Yarn {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Factor on cosine and sine; worked out of the others where it is not given.
        attention_factor: Option<f64>,
        /// Turns at which the ramp begins.
        beta_fast: f64,
        /// Turns at which the ramp ends.
        beta_slow: f64,
        /// Weights of the factor in the scale, above and below the line.
        mscale: Option<(f64, f64)>,
        /// Whether the ramp begins and ends at whole frequencies.
        truncate: bool,
        /// Tokens of the trained length.
        original_max_positions: usize,
    },
}

impl Rope {
    pub(super) fn read(fields: &Fields) -> Result<Self, ConfigError> {
        let outer = fields.optional_positive("rope_theta")?;
        let Some(parameters) = parameters(fields)? else {
            return Ok(Self {
                theta: outer.unwrap_or(DEFAULT_THETA),
                scaling: RopeScaling::Default,
            });
        };
        nested(&parameters)?;
        let inner = parameters.optional_positive("rope_theta")?;
        Ok(Self {
            theta: inner.or(outer).unwrap_or(DEFAULT_THETA),
            scaling: scaling(fields, &parameters)?,
        })
    }
}

fn parameters(fields: &Fields) -> Result<Option<Fields>, ConfigError> {
    match fields.object("rope_scaling")? {
        Some(old) => Ok(Some(old)),
        None => fields.object("rope_parameters"),
    }
}

/// Reads how many numbers of a head are turned. Only hybrids may turn a part of them.
pub(super) fn rotary_dim(fields: &Fields, family: Family, head_dim: usize) -> Result<usize, ConfigError> {
    let inner = parameters(fields)?;
    let owner = match &inner {
        Some(inner) if inner.value(PART).is_some() => inner,
        _ => fields,
    };
    let part = owner.optional_positive(PART)?;
    if !family.is_hybrid() {
        return match part {
            Some(part) if part != 1.0 => Err(owner.wrong(PART, part, "1")),
            _ => Ok(head_dim),
        };
    }
    let part = part.unwrap_or(HYBRID_PART);
    let turned = (head_dim as f64 * part) as usize;
    if part > 1.0 || turned == 0 || !turned.is_multiple_of(2) {
        let expected = format!("at most 1, and an even number of head_dim, {head_dim}");
        return Err(owner.wrong(PART, part, expected));
    }
    Ok(turned)
}

/// Refuses parameters that differ between layers.
fn nested(parameters: &Fields) -> Result<(), ConfigError> {
    for name in parameters.names() {
        if let Some(value) = parameters.value(name).filter(|value| value.is_object()) {
            return Err(parameters.wrong(name, value, "a number or a name: one set for all layers"));
        }
    }
    Ok(())
}

fn scaling(fields: &Fields, parameters: &Fields) -> Result<RopeScaling, ConfigError> {
    let key = match parameters.value("rope_type") {
        None if parameters.value("type").is_some() => "type",
        _ => "rope_type",
    };
    let kind = match parameters.value(key) {
        None => "default".to_owned(),
        Some(_) => parameters.text(key)?,
    };
    match kind.as_str() {
        "default" => Ok(RopeScaling::Default),
        "linear" => Ok(RopeScaling::Linear {
            factor: parameters.positive("factor")?,
        }),
        "dynamic" => Ok(RopeScaling::Dynamic {
            factor: parameters.positive("factor")?,
        }),
        "llama3" => llama3(fields, parameters),
        "yarn" => yarn(fields, parameters),
        _ => Err(parameters.wrong(key, kind, "one of default, linear, dynamic, llama3, yarn")),
    }
}

fn llama3(fields: &Fields, parameters: &Fields) -> Result<RopeScaling, ConfigError> {
    let (low, high) = (
        parameters.positive("low_freq_factor")?,
        parameters.positive("high_freq_factor")?,
    );
    if high <= low {
        return Err(parameters.wrong("high_freq_factor", high, format!("above low_freq_factor, {low}")));
    }
    Ok(RopeScaling::Llama3 {
        factor: parameters.positive("factor")?,
        low_freq_factor: low,
        high_freq_factor: high,
        original_max_positions: original(fields, parameters)?,
    })
}

fn yarn(fields: &Fields, parameters: &Fields) -> Result<RopeScaling, ConfigError> {
    let original_max_positions = original(fields, parameters)?;
    let whole = fields.count("max_position_embeddings")?;
    let factor = parameters.optional_positive("factor")?;
    let mscale = parameters.optional_positive("mscale")?;
    Ok(RopeScaling::Yarn {
        factor: factor.unwrap_or(whole as f64 / original_max_positions as f64),
        attention_factor: parameters.optional_positive("attention_factor")?,
        beta_fast: parameters.optional_positive("beta_fast")?.unwrap_or(32.0),
        beta_slow: parameters.optional_positive("beta_slow")?.unwrap_or(1.0),
        mscale: mscale.zip(parameters.optional_positive("mscale_all_dim")?),
        truncate: parameters.flag("truncate", true)?,
        original_max_positions,
    })
}

/// Reads the trained length: of the whole model, of the parameters, or the only length that there is.
fn original(fields: &Fields, parameters: &Fields) -> Result<usize, ConfigError> {
    const NAME: &str = "original_max_position_embeddings";
    match fields.optional_count(NAME)? {
        Some(count) => Ok(count),
        None => match parameters.optional_count(NAME)? {
            Some(count) => Ok(count),
            None => fields.count("max_position_embeddings"),
        },
    }
}
