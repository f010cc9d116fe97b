//! `spec.price`, and what saved tokens come to. It is computed here alone: for the status, the metric and the plugin.

use std::fmt;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::Decimal;

/// Highest price of a million tokens.
const HIGHEST: f64 = 1_000_000.0;
/// An amount is counted in millionths of its currency's unit.
const MICROS: f64 = 1_000_000.0;
/// Millionths in a hundredth.
const MICROS_PER_CENT: i64 = 10_000;

/// What the LLM that answers costs. With it the status, the metric `liquid_operator_cost_saved` and `kubectl liquid savings`
/// say what was saved in money too: all tokens at the price as it is now.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.perMillionInputTokens > 0.0 && self.perMillionInputTokens <= 1000000.0")
        .message("spec.price.perMillionInputTokens is above 0 and at most 1000000: write what a million prompt tokens cost, \
            such as 2.5, or leave spec.price out"),
    validation = Rule::new("self.currency.matches('^[A-Z]{3}$')")
        .message("spec.price.currency is a code of three capital letters, such as USD or EUR")
)]
pub struct Price {
    /// Price of a million prompt tokens: above 0, at most 1000000.
    pub per_million_input_tokens: Decimal,
    /// Currency of the price: a code of three capital letters, such as `USD`.
    #[schemars(length(max = 16))]
    pub currency: String,
}

impl Price {
    /// Computes what tokens cost. None of a price that the rules of the definition exclude.
    pub fn cost_of(&self, tokens: i64) -> Option<Cost> {
        let price = TokenPrice::new(self.per_million_input_tokens.value())?;
        Some(Cost {
            amount: price.amount_of(tokens),
            currency: self.currency.clone(),
        })
    }
}

/// A price of tokens, in millionths of the currency's unit for a million of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPrice(i64);

impl TokenPrice {
    /// Takes the price of a million tokens, in the currency's unit; none unless it is above 0 and at most 1000000.
    pub fn new(per_million: f64) -> Option<Self> {
        let valid = per_million > 0.0 && per_million <= HIGHEST;
        #[allow(clippy::cast_possible_truncation, reason = "at most 10^12")]
        valid.then(|| Self((per_million * MICROS).round() as i64))
    }

    /// Computes what tokens cost; nothing for fewer than none.
    pub fn amount_of(self, tokens: i64) -> Amount {
        let micros = i128::from(tokens.max(0)) * i128::from(self.0) / 1_000_000;
        Amount(i64::try_from(micros).unwrap_or(i64::MAX))
    }
}

/// An amount of money, in millionths of its currency's unit. It is shown in hundredths, rounded down: nothing is promised that
/// was not saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i64);

impl Amount {
    /// Returns the amount in the currency's unit, for metrics.
    pub fn value(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "exact below 9 * 10^9 units")]
        let micros = self.0 as f64;
        micros / MICROS
    }

    /// Adds another amount of the same currency.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cents = self.0 / MICROS_PER_CENT;
        write!(f, "{}.{:02}", cents / 100, cents % 100)
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An amount and its currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The amount.
    pub amount: Amount,
    /// Code of the currency.
    pub currency: String,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { amount, currency } = self;
        write!(f, "{amount} {currency}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn cost(price: f64, tokens: i64) -> String {
        let price = Price {
            per_million_input_tokens: price.into(),
            currency: "EUR".into(),
        };
        price.cost_of(tokens).unwrap().to_string()
    }

    #[test]
    fn tokens_cost_what_a_million_does_in_proportion_and_rounded_down() {
        assert_eq!(cost(2.5, 1_000_000), "2.50 EUR");
        assert_eq!(cost(0.15, 100_000_000), "15.00 EUR");
        assert_eq!(cost(2.5, 3_999), "0.00 EUR");
        assert_eq!(cost(2.5, 4_000), "0.01 EUR");
        assert_eq!(cost(3.0, 123_456_789_012), "370370.36 EUR");
        assert_eq!(cost(2.5, -7), "0.00 EUR");
    }

    #[test]
    fn the_largest_figures_do_not_overflow() {
        let most = TokenPrice::new(HIGHEST).unwrap().amount_of(i64::MAX);
        assert_eq!(most.to_string(), "9223372036854.77");
        assert_eq!(most.plus(most), most);
    }

    #[test]
    fn a_price_is_above_zero_and_finite() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, HIGHEST * 1.1] {
            assert_eq!(TokenPrice::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn programs_read_an_amount_as_people_do() {
        let price = TokenPrice::new(2.5).unwrap();
        let amount = price.amount_of(5_000_000);
        assert_eq!(serde_json::to_value(amount).unwrap(), "12.50");
        assert!((amount.value() - 12.5).abs() < 1e-9);
    }
}
