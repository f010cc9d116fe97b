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
    /// else the best cheaper one, else the cheapest. [`Tier::Decoder`] runs for those alone that name it.
    pub fn among(served: &[Tier], asked: Option<Tier>) -> Self {
        let affordable = |tier: &&Tier| **tier <= asked.unwrap_or(Tier::Ranker);
        let best = served.iter().rev().find(affordable).or(served.first());
        let tier = best.copied().unwrap_or(Tier::Lexical);
        let reason = match asked {
            None => TierReason::BestServed,
            Some(asked) if asked == tier => TierReason::AsAsked,
            Some(_) => TierReason::NotServed,
        };
        Self { tier, reason }
    }

    /// Picks the tier that finds the evidence: this one, or the best one served before facts.
    pub fn of_evidence(self, served: &[Tier]) -> Self {
        if self.tier != Tier::Decoder {
            return self;
        }
        let served: Vec<Tier> = served
            .iter()
            .copied()
            .filter(|tier| *tier != Tier::Decoder)
            .collect();
        Self {
            tier: Self::among(&served, None).tier,
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_that_is_not_served_is_not_as_asked() {
        use Tier::{Decoder, Encoder, Lexical, Ranker, Static};
        let cases = [
            (&Tier::ALL[..], None, (Ranker, TierReason::BestServed)),
            (&Tier::ALL[..], Some(Static), (Static, TierReason::AsAsked)),
            (&Tier::ALL[..], Some(Decoder), (Decoder, TierReason::AsAsked)),
            (
                &Tier::EVIDENCE[..],
                Some(Decoder),
                (Ranker, TierReason::NotServed),
            ),
            (
                &[Lexical, Decoder][..],
                Some(Encoder),
                (Lexical, TierReason::NotServed),
            ),
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
        let facts = TierChoice::as_asked(Decoder);
        assert_eq!(facts.of_evidence(&Tier::ALL), TierChoice::as_asked(Ranker));
        assert_eq!(
            facts.of_evidence(&[Static, Decoder]),
            TierChoice::as_asked(Static)
        );
        assert_eq!(facts.of_evidence(&[Decoder]), TierChoice::as_asked(Lexical));
        assert_eq!(
            TierChoice::as_asked(Static).of_evidence(&[]),
            TierChoice::as_asked(Static)
        );
    }
}
