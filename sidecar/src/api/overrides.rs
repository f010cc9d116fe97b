//! What one caller asks for in its request headers, over the settings.

use std::fmt::Display;
use std::ops::RangeInclusive;

use liquid_contract::defaults::BUDGET_RATIOS;
use liquid_contract::{Mode, PackStyle, Tier};
use liquid_process::Invalid;

use super::header_names::{MAX_TOKENS, MODE, PACK_STYLE, RATIO, TIER};

/// A caller's wishes over the settings; `None` leaves the setting.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Overrides {
    /// `x-liquid-mode: off|auto|force`.
    pub mode: Option<Mode>,
    /// `x-liquid-ratio: 8`: keep at most one word in eight. 1 to 1000.
    pub ratio: Option<f64>,
    /// `x-liquid-max-tokens: 1500`: keep at most so many tokens. 1 to 10,000,000.
    pub max_tokens: Option<u64>,
    /// `x-liquid-tier: lexical|static|encoder|ranker`.
    pub tier: Option<Tier>,
    /// `x-liquid-pack-style: quotes|facts|both`.
    pub pack_style: Option<PackStyle>,
}

/// A request header whose value cannot be used; the call is answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {}: {:?} is not valid; {}", .0.field, .0.value, .0.remedy)]
pub struct OverrideError(Invalid);

impl OverrideError {
    /// Returns the header's name, lower case.
    pub fn header(&self) -> &str {
        &self.0.field
    }

    fn new(header: &str, value: &str, remedy: impl Into<String>) -> Self {
        let value: String = value.chars().take(MAX_QUOTED_CHARS).collect();
        Self(Invalid::new(header, value, remedy))
    }
}

/// A wrong value is quoted up to this length.
const MAX_QUOTED_CHARS: usize = 64;

/// The token limits that may be asked for.
const TOKEN_LIMITS: RangeInclusive<u64> = 1..=10_000_000;

impl Overrides {
    /// Reads the headers through `get`, which maps a lower-case name to the value.
    ///
    /// # Errors
    /// [`OverrideError`] for a value out of range, and for a ratio beside a token limit.
    pub fn parse<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Self, OverrideError> {
        let read = |header| get(header).map(str::trim);
        let overrides = Self {
            mode: read(MODE).map(parse_mode).transpose()?,
            ratio: read(RATIO).map(parse_ratio).transpose()?,
            max_tokens: read(MAX_TOKENS).map(parse_max_tokens).transpose()?,
            tier: read(TIER).map(parse_tier).transpose()?,
            pack_style: read(PACK_STYLE).map(parse_pack_style).transpose()?,
        };
        if overrides.ratio.is_some() && overrides.max_tokens.is_some() {
            let value = read(RATIO).unwrap_or_default();
            let remedy = format!("send {RATIO} or {MAX_TOKENS}, not both");
            return Err(OverrideError::new(RATIO, value, remedy));
        }
        Ok(overrides)
    }
}

fn parse_mode(value: &str) -> Result<Mode, OverrideError> {
    Mode::named(value).ok_or_else(|| OverrideError::new(MODE, value, send_one_of(&Mode::ALL.map(Mode::name))))
}

fn parse_tier(value: &str) -> Result<Tier, OverrideError> {
    let parsed = value.parse().ok().filter(|tier| Tier::EVIDENCE.contains(tier));
    parsed.ok_or_else(|| OverrideError::new(TIER, value, send_one_of(&Tier::EVIDENCE.map(Tier::name))))
}

fn parse_pack_style(value: &str) -> Result<PackStyle, OverrideError> {
    let remedy = || {
        OverrideError::new(
            PACK_STYLE,
            value,
            send_one_of(&PackStyle::ALL.map(PackStyle::name)),
        )
    };
    PackStyle::named(value).ok_or_else(remedy)
}

fn parse_ratio(value: &str) -> Result<f64, OverrideError> {
    let parsed = value.parse().ok().filter(|ratio| BUDGET_RATIOS.contains(ratio));
    parsed.ok_or_else(|| OverrideError::new(RATIO, value, send_between("number", &BUDGET_RATIOS)))
}

fn parse_max_tokens(value: &str) -> Result<u64, OverrideError> {
    let parsed = value.parse().ok().filter(|limit| TOKEN_LIMITS.contains(limit));
    parsed.ok_or_else(|| OverrideError::new(MAX_TOKENS, value, send_between("whole number", &TOKEN_LIMITS)))
}

fn send_between<T: Display>(what: &str, range: &RangeInclusive<T>) -> String {
    format!("send a {what} from {} to {}", range.start(), range.end())
}

/// Writes `send a, b or c`.
fn send_one_of(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => format!("send {only}"),
        [others @ .., last] => format!("send {} or {last}", others.join(", ")),
    }
}
