//! The tiers, and which of them runs for a request. Scoring, choosing, configuration and reports all speak of
//! tiers, so this module is below them and knows none of them.

pub use liquid_contract::Tier;
pub use liquid_proto::worker::v1::TierReason;

/// The tier that a request is to run on, and why that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TierChoice {
    /// The tier to run.
    pub tier: Tier,
    /// Why it was chosen. The engine replaces the reason where it cannot run the tier, or has to do less.
    pub reason: TierReason,
}

impl TierChoice {
    /// Chooses the tier that the request names.
    pub fn as_asked(tier: Tier) -> Self {
        Self {
            tier,
            reason: TierReason::AsAsked,
        }
    }

    /// Picks the tier to run among those that are served, cheapest first: the one asked for if it is served,
    /// else the best cheaper one, else the cheapest.
    pub fn among(served: &[Tier], asked: Option<Tier>) -> Self {
        let affordable = |tier: &&Tier| asked.is_none_or(|asked| **tier <= asked);
        let best = served.iter().rev().find(affordable).or(served.first());
        let tier = best.copied().unwrap_or(Tier::Lexical);
        let reason = match asked {
            None => TierReason::BestServed,
            Some(asked) if asked == tier => TierReason::AsAsked,
            Some(_) => TierReason::NotServed,
        };
        Self { tier, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_is_not_served_is_not_as_asked() {
        use Tier::{Encoder, Lexical, Ranker, Static};
        let cases = [
            (&Tier::ALL[..], None, (Ranker, TierReason::BestServed)),
            (&Tier::ALL[..], Some(Static), (Static, TierReason::AsAsked)),
            (
                &[Lexical, Static, Encoder][..],
                Some(Ranker),
                (Encoder, TierReason::NotServed),
            ),
            (&[Lexical][..], Some(Encoder), (Lexical, TierReason::NotServed)),
            (&[Static][..], Some(Lexical), (Static, TierReason::NotServed)),
        ];
        for (served, asked, expected) in cases {
            let choice = TierChoice::among(served, asked);
            assert_eq!((choice.tier, choice.reason), expected, "{served:?} {asked:?}");
        }
    }
}
