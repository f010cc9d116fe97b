//! The reasons for a tier as programs and as people see them: a stable name, and a sentence.

use crate::worker::v1::TierReason;

impl TierReason {
    /// Returns the name under which metrics, logs and reports show the reason, in snake case. Names never
    /// change.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::AsAsked => "as_asked",
            Self::BestServed => "best_served",
            Self::NotServed => "not_served",
            Self::NoModel => "no_model",
            Self::NoQuestion => "no_question",
            Self::NoFreeSlot => "no_free_slot",
            Self::NoTime => "no_time",
            Self::EncoderBusy => "encoder_busy",
            Self::FewerWindows => "fewer_windows",
            Self::OutOfMemory => "out_of_memory",
            Self::EncoderFailed => "encoder_failed",
            Self::NotTrainedFor => "not_trained_for",
            Self::NoTimeForFacts => "no_time_for_facts",
            Self::FewerPassages => "fewer_passages",
            Self::DecoderFailed => "decoder_failed",
            Self::OtherLanguage => "other_language",
        }
    }

    /// Explains the reason to people, in a clause of English. The wording may change; compare the value or
    /// its name.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Unspecified => "the worker gave no reason",
            Self::AsAsked => "as asked",
            Self::BestServed => "the best one served",
            Self::NotServed => "the tier asked for is not served",
            Self::NoModel => "no model is loaded",
            Self::NoQuestion => "no question: what represents the document best",
            Self::NoFreeSlot => "no slot of the encoder was free in time",
            Self::NoTime => "the deadline leaves no time for the encoder",
            Self::EncoderBusy => "the encoder was not free in time",
            Self::FewerWindows => "the deadline left the encoder time for fewer windows",
            Self::OutOfMemory => "the encoder's device is out of memory",
            Self::EncoderFailed => "the encoder failed",
            Self::NotTrainedFor => "the tier's model was not trained for such a question or document",
            Self::NoTimeForFacts => "the deadline leaves no time for the decoder",
            Self::FewerPassages => "the deadline left the decoder time for fewer passages",
            Self::DecoderFailed => "the decoder failed",
            Self::OtherLanguage => "no model served reads the question's language and the document's",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The contract numbers its reasons without a gap, so the first number that is none ends the list.
    fn all() -> impl Iterator<Item = TierReason> {
        (0..).map_while(|number| TierReason::try_from(number).ok())
    }

    #[test]
    fn names_are_those_of_the_contract_in_lower_case() {
        for reason in all() {
            let in_contract = reason
                .as_str_name()
                .strip_prefix("TIER_REASON_")
                .map(str::to_lowercase);
            assert_eq!(in_contract.as_deref(), Some(reason.name()));
        }
        assert_eq!(
            all().last(),
            Some(TierReason::OtherLanguage),
            "a number is left out"
        );
    }

    #[test]
    fn no_two_reasons_are_explained_alike() {
        let explanations: HashSet<_> = all().map(TierReason::explanation).collect();
        assert_eq!(explanations.len(), all().count());
    }
}
