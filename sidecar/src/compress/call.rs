//! What comes in: one LLM call's body, the surface that it was sent to, and what its headers ask for.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The shape of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// OpenAI `POST /v1/chat/completions`.
    ChatCompletions,
    /// OpenAI `POST /v1/responses`.
    Responses,
    /// Anthropic `POST /v1/messages`.
    Messages,
    /// Our own `POST /v1/hybrid_chat`; leaves as an ordinary chat completion.
    HybridChat,
}

impl Surface {
    /// The name used in metrics, logs and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::HybridChat => "hybrid_chat",
        }
    }
}

impl std::fmt::Display for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One LLM call on its way through.
#[derive(Debug, Clone)]
pub struct Call {
    /// The shape of `body`.
    pub surface: Surface,
    /// The body as it arrived, content encoding already removed.
    pub body: Bytes,
    /// What the caller's `x-liquid-*` headers ask for.
    pub overrides: Overrides,
    /// Names the request towards the worker: at most 128 visible ASCII characters. Absent, it gets a name when a
    /// worker is asked.
    pub request_id: Option<String>,
    /// Whether the excerpts are wanted beside the pack: an extractive answer is made of them. A dry run gets them
    /// in any case.
    pub evidence: bool,
    /// Asked for by `?dry_run=1` or `x-liquid-dry-run`. Nothing here depends on it but the decision's own
    /// `dry_run`, which is also true when a `/v1/hybrid_chat` body asks for it.
    pub dry_run: bool,
}

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

/// A header that cannot be understood. EDGE answers 400 with it.
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

const MODE: &str = "x-liquid-mode";
const RATIO: &str = "x-liquid-ratio";
const MAX_TOKENS: &str = "x-liquid-max-tokens";
const TIER: &str = "x-liquid-tier";

impl Overrides {
    /// The headers that [`Overrides::parse`] reads.
    pub const HEADERS: [&'static str; 4] = [MODE, RATIO, MAX_TOKENS, TIER];

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
