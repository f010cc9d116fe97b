//! How much of a document may be kept. A budget is checked where it is made, so whoever holds one can use it.

use std::hash::{Hash, Hasher};
use std::num::NonZeroU64;

use liquid_contract::defaults::{BUDGET_FLOOR, BUDGET_MAX_RATIO, BUDGET_MIN_RATIO};
use liquid_process::Invalid;

/// A limit for how much of a document is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Budget {
    /// Keeps at most one word in so many.
    Ratio(Ratio),
    /// Keeps at most this many tokens of the model's tokenizer (estimated from bytes where there is none).
    MaxTokens(NonZeroU64),
    /// Keeps at most this many words.
    MaxWords(NonZeroU64),
    /// Keeps the smallest pack that is estimated to hold a share of the evidence.
    Auto(AutoBudget),
}

impl Budget {
    /// Allows one word in `ratio`.
    ///
    /// # Errors
    /// [`Invalid`] unless the ratio is a finite number of at least 1.
    pub fn ratio(ratio: f64) -> Result<Self, Invalid> {
        Ratio::new("budget.ratio", ratio).map(Self::Ratio)
    }

    /// Allows a number of tokens.
    ///
    /// # Errors
    /// [`Invalid`] if it is 0.
    pub fn max_tokens(tokens: u64) -> Result<Self, Invalid> {
        at_least_one("budget.max_tokens", tokens).map(Self::MaxTokens)
    }

    /// Allows a number of words.
    ///
    /// # Errors
    /// [`Invalid`] if it is 0.
    pub fn max_words(words: u64) -> Result<Self, Invalid> {
        at_least_one("budget.max_words", words).map(Self::MaxWords)
    }
}

fn at_least_one(field: &str, value: u64) -> Result<NonZeroU64, Invalid> {
    NonZeroU64::new(value).ok_or_else(|| Invalid::new(field, value, "send at least 1"))
}

/// Words of a document for each word that is kept: finite, at least 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    fn new(field: &str, ratio: f64) -> Result<Self, Invalid> {
        if ratio.is_finite() && ratio >= 1.0 {
            Ok(Self(ratio))
        } else {
            Err(Invalid::new(field, ratio, "send a number of at least 1"))
        }
    }

    /// Returns the ratio as a number.
    pub fn get(self) -> f64 {
        self.0
    }

    /// Returns how many of `words` words may be kept, rounded down.
    pub fn words_of(self, words: usize) -> usize {
        (words as f64 / self.0).floor() as usize
    }
}

// Ratios are finite and positive, so equal ones have equal bits.
impl Eq for Ratio {}

impl Hash for Ratio {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A share of the evidence: above 0, at most 1.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Share(f64);

// Shares are finite and positive, so equal ones have equal bits.
impl Eq for Share {}

impl Hash for Share {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// A budget that follows the question: small where the evidence is plain, larger where it is spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AutoBudget {
    floor: Share,
    min_ratio: Ratio,
    max_ratio: Ratio,
}

impl AutoBudget {
    /// Asks for the share `floor` of the evidence, in at most one word in `min_ratio` and at least one in
    /// `max_ratio`.
    ///
    /// # Errors
    /// [`Invalid`] unless the floor is above 0 and at most 1, `min_ratio` at least 1 and `max_ratio` at least
    /// `min_ratio`, all finite.
    pub fn new(floor: f64, min_ratio: f64, max_ratio: f64) -> Result<Self, Invalid> {
        if !(floor > 0.0 && floor <= 1.0) {
            let remedy = "send a share above 0 and at most 1";
            return Err(Invalid::new("budget.auto.floor", floor, remedy));
        }
        let min_ratio = Ratio::new("budget.auto.min_ratio", min_ratio)?;
        if !(max_ratio.is_finite() && max_ratio >= min_ratio.get()) {
            let remedy = format!("send at least min_ratio ({})", min_ratio.get());
            return Err(Invalid::new("budget.auto.max_ratio", max_ratio, remedy));
        }
        Ok(Self {
            floor: Share(floor),
            min_ratio,
            max_ratio: Ratio(max_ratio),
        })
    }

    /// Returns the share of the evidence to keep.
    pub fn floor(self) -> f64 {
        self.floor.0
    }

    /// Returns the ratio that bounds the pack from above.
    pub fn min_ratio(self) -> Ratio {
        self.min_ratio
    }

    /// Returns the ratio that bounds the pack from below.
    pub fn max_ratio(self) -> Ratio {
        self.max_ratio
    }
}

impl Default for AutoBudget {
    fn default() -> Self {
        Self {
            floor: Share(BUDGET_FLOOR),
            min_ratio: Ratio(BUDGET_MIN_RATIO),
            max_ratio: Ratio(BUDGET_MAX_RATIO),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_that_cannot_be_used_are_refused_by_name() {
        let auto =
            |floor, min_ratio, max_ratio| AutoBudget::new(floor, min_ratio, max_ratio).map(Budget::Auto);
        let cases = [
            (Budget::ratio(0.5), "budget.ratio"),
            (Budget::ratio(f64::NAN), "budget.ratio"),
            (Budget::ratio(f64::INFINITY), "budget.ratio"),
            (Budget::max_tokens(0), "budget.max_tokens"),
            (Budget::max_words(0), "budget.max_words"),
            (auto(0.0, 2.0, 20.0), "budget.auto.floor"),
            (auto(1.1, 2.0, 20.0), "budget.auto.floor"),
            (auto(f64::NAN, 2.0, 20.0), "budget.auto.floor"),
            (auto(0.9, 0.0, 20.0), "budget.auto.min_ratio"),
            (auto(0.9, 5.0, 2.0), "budget.auto.max_ratio"),
        ];
        for (budget, expected) in cases {
            let field = budget.map_err(|invalid| invalid.field);
            assert_eq!(field, Err(expected.to_owned()));
        }
    }

    #[test]
    fn the_default_is_one_that_can_be_made() {
        let made = AutoBudget::new(BUDGET_FLOOR, BUDGET_MIN_RATIO, BUDGET_MAX_RATIO);
        assert_eq!(made, Ok(AutoBudget::default()));
    }
}
