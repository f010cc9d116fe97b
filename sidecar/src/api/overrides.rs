//! What one caller asks for in its request headers, over the settings.

use serde::{Deserialize, Serialize};

use super::header_names::{MAX_TOKENS, MODE, RATIO, TIER};

/// How willing the sidecar is to compress.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Never.
    Off,
    /// Where it is safe and pays.
    #[default]
    Auto,
    /// Wherever it is safe, also where it does not pay: short documents, repeated documents, no question.
    Force,
}

/// The engine that the worker is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Words only.
    Lexical,
    /// Lexical and the encoder's input embeddings.
    Static,
    /// Static and a forward pass of the encoder.
    Encoder,
}

/// What one caller asks for, over the settings. `None` leaves the setting.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// `x-liquid-mode: off|auto|force`.
    pub mode: Option<Mode>,
    /// `x-liquid-ratio: 8`: keep at most one word in eight. 1 to 1000.
    pub ratio: Option<f64>,
    /// `x-liquid-max-tokens: 1500`: keep at most so many tokens. 1 to 10,000,000.
    pub max_tokens: Option<u64>,
    /// `x-liquid-tier: lexical|static|encoder`.
    pub tier: Option<Tier>,
}

/// A request header whose value cannot be used; the call is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {header}: {value:?} is not valid; {remedy}")]
pub struct OverrideError {
    /// The header, lower case.
    pub header: &'static str,
    /// What it said, cut at 64 characters.
    pub value: String,
    /// What to send instead.
    pub remedy: &'static str,
}

impl Overrides {
    /// Reads the headers through `get` (lower-case name to value).
    ///
    /// # Errors
    /// [`OverrideError`] for a value out of range, and for a ratio beside a token limit.
    pub fn parse<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, OverrideError> {
        let read = |header| get(header).map(str::trim);
        let overrides = Self {
            mode: read(MODE).map(mode).transpose()?,
            ratio: read(RATIO).map(ratio).transpose()?,
            max_tokens: read(MAX_TOKENS).map(max_tokens).transpose()?,
            tier: read(TIER).map(tier).transpose()?,
        };
        if overrides.ratio.is_some() && overrides.max_tokens.is_some() {
            let value = read(RATIO).unwrap_or_default();
            return Err(refuse(
                RATIO,
                value,
                "send x-liquid-ratio or x-liquid-max-tokens, not both",
            ));
        }
        Ok(overrides)
    }
}

fn mode(value: &str) -> Result<Mode, OverrideError> {
    match value {
        "off" => Ok(Mode::Off),
        "auto" => Ok(Mode::Auto),
        "force" => Ok(Mode::Force),
        _ => Err(refuse(MODE, value, "send off, auto or force")),
    }
}

fn tier(value: &str) -> Result<Tier, OverrideError> {
    match value {
        "lexical" => Ok(Tier::Lexical),
        "static" => Ok(Tier::Static),
        "encoder" => Ok(Tier::Encoder),
        _ => Err(refuse(TIER, value, "send lexical, static or encoder")),
    }
}

fn ratio(value: &str) -> Result<f64, OverrideError> {
    let parsed = value.parse().ok().filter(|r: &f64| (1.0..=1000.0).contains(r));
    parsed.ok_or_else(|| refuse(RATIO, value, "send a number from 1 to 1000"))
}

fn max_tokens(value: &str) -> Result<u64, OverrideError> {
    let parsed = value.parse().ok().filter(|n: &u64| (1..=10_000_000).contains(n));
    parsed.ok_or_else(|| refuse(MAX_TOKENS, value, "send a whole number from 1 to 10000000"))
}

fn refuse(header: &'static str, value: &str, remedy: &'static str) -> OverrideError {
    OverrideError {
        header,
        value: value.chars().take(64).collect(),
        remedy,
    }
}
