//! The worker's engines.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An engine of the worker, cheapest first.
///
/// The sidecar asks for one by `policy.tier` and `x-liquid-tier`, the worker serves those that `tiers` lists, and the
/// operator writes both from `spec.extraction.tier`. The names also stand in metrics, logs and reports.
///
/// [`Self::Decoder`] is asked for by whoever wants facts: `pack.style` of the sidecar, `--tier decoder` of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Words only.
    Lexical,
    /// Lexical plus the encoder's input embeddings.
    Static,
    /// Static plus a forward pass of the encoder.
    Encoder,
    /// Static plus a forward pass of the ranker, which reads each window together with what is asked.
    Ranker,
    /// The best of the others that is served, and facts that a language model writes about the best passages.
    Decoder,
}

impl Tier {
    /// Every tier, cheapest first.
    pub const ALL: [Self; 5] = [
        Self::Lexical,
        Self::Static,
        Self::Encoder,
        Self::Ranker,
        Self::Decoder,
    ];

    /// The tiers that find evidence by themselves, cheapest first.
    pub const EVIDENCE: [Self; 4] = [Self::Lexical, Self::Static, Self::Encoder, Self::Ranker];

    /// Returns the tier's name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lexical => "lexical",
            Self::Static => "static",
            Self::Encoder => "encoder",
            Self::Ranker => "ranker",
            Self::Decoder => "decoder",
        }
    }

    /// Returns whether the tier reads the encoder's weights.
    pub const fn needs_model(self) -> bool {
        !matches!(self, Self::Lexical | Self::Decoder)
    }

    /// Returns whether the tier runs a model's forward pass, which takes a thousand times as long as what the other
    /// tiers do.
    pub const fn runs_model(self) -> bool {
        matches!(self, Self::Encoder | Self::Ranker | Self::Decoder)
    }
}

impl Display for Tier {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTier;

impl Display for UnknownTier {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let names = Tier::ALL.map(Tier::name);
        write!(f, "no such tier; write one of {}", names.join(", "))
    }
}

impl std::error::Error for UnknownTier {}

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Self, UnknownTier> {
        Self::ALL
            .into_iter()
            .find(|tier| tier.name() == name)
            .ok_or(UnknownTier)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Tier, UnknownTier};

    #[test]
    fn names_are_read_as_they_are_written_and_order_is_cost() {
        for (index, tier) in Tier::ALL.into_iter().enumerate() {
            assert_eq!(tier as usize, index);
            assert_eq!(tier.name().parse(), Ok(tier));
            assert_eq!(
                serde_json::to_string(&tier).unwrap(),
                format!("{:?}", tier.name())
            );
        }
        assert!(Tier::ALL.is_sorted());
        assert_eq!(Tier::EVIDENCE, Tier::ALL[..4]);
        assert_eq!("best".parse::<Tier>(), Err(UnknownTier));
        assert_eq!(
            UnknownTier.to_string(),
            "no such tier; write one of lexical, static, encoder, ranker, decoder"
        );
    }
}
