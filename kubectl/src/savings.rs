//! `kubectl liquid savings`: tokens that did not reach an LLM, by namespace and proxy, and what they would have cost.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kube::ResourceExt;
use liquid_operator::api::price::{Amount, Cost, TokenPrice};
use liquid_operator::api::status::{TokenCounts, Usage, compute_percent};
use serde::Serialize;

use crate::output::{Table, print};
use crate::session::Session;

/// Options of `savings`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Price of a million prompt tokens, in any currency, in place of the prices of the resources.
    #[arg(long, value_name = "AMOUNT", value_parser = parse_price)]
    pub(crate) price: Option<TokenPrice>,
}

fn parse_price(text: &str) -> Result<TokenPrice, String> {
    let price: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is no amount, such as 2.50"))?;
    TokenPrice::new(price).ok_or_else(|| format!("{text:?} is not above 0 and at most 1000000"))
}

/// What was printed.
#[derive(Debug, Serialize)]
struct Savings {
    proxies: Vec<Saving>,
    total: Saving,
}

/// What a proxy has saved, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Saving {
    namespace: String,
    proxy: String,
    calls: i64,
    documents: i64,
    /// Tokens as they came: of calls, or of documents as long as no sidecar has reported calls.
    tokens_before: i64,
    tokens_after: i64,
    tokens_saved: i64,
    /// Whole percent, rounded down.
    percent: Option<i64>,
    /// What the saved tokens would have cost, once for each currency; none without a price. The currency is empty where the
    /// price was an option.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    costs_saved: Vec<Cost>,
}

/// Prints the savings and their sum.
///
/// # Errors
/// The proxies cannot be listed.
pub(crate) async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let proxies = session.list_proxies().await?;
    let mut lines: Vec<Saving> = proxies
        .iter()
        .map(|proxy| {
            let usage = proxy.status.as_ref().and_then(|status| status.usage.as_ref());
            let saving = Saving::new(proxy.namespace().unwrap_or_default(), proxy.name_any(), usage);
            let cost = match arguments.price {
                Some(price) => Some(Cost {
                    amount: price.amount_of(saving.tokens_saved),
                    currency: String::new(),
                }),
                None => proxy
                    .spec
                    .price
                    .as_ref()
                    .and_then(|price| price.cost_of(saving.tokens_saved)),
            };
            Saving {
                costs_saved: cost.into_iter().collect(),
                ..saving
            }
        })
        .collect();
    lines.sort_by_key(|line| Reverse(line.tokens_saved));
    let savings = Savings {
        total: Saving::sum(&lines),
        proxies: lines,
    };
    print(session.format, &savings, render)?;
    Ok(ExitCode::SUCCESS)
}

impl Saving {
    fn new(namespace: String, proxy: String, usage: Option<&Usage>) -> Self {
        let figures = usage.map(|usage| usage.total).unwrap_or_default();
        let TokenCounts { before, after } = figures.token_counts();
        let tokens_saved = usage.map_or(0, |usage| usage.tokens_saved);
        Self {
            namespace,
            proxy,
            calls: figures.calls,
            documents: figures.documents,
            tokens_before: before,
            tokens_after: after,
            tokens_saved,
            percent: compute_percent(tokens_saved, before),
            costs_saved: Vec::new(),
        }
    }

    fn sum(lines: &[Self]) -> Self {
        let add = |field: fn(&Self) -> i64| lines.iter().map(field).fold(0, i64::saturating_add);
        let (tokens_before, tokens_saved) = (add(|line| line.tokens_before), add(|line| line.tokens_saved));
        Self {
            namespace: "all".into(),
            proxy: String::new(),
            calls: add(|line| line.calls),
            documents: add(|line| line.documents),
            tokens_before,
            tokens_after: add(|line| line.tokens_after),
            tokens_saved,
            percent: compute_percent(tokens_saved, tokens_before),
            costs_saved: sum_costs(lines.iter().flat_map(|line| &line.costs_saved)),
        }
    }
}

/// Adds up amounts, each currency by itself.
fn sum_costs<'a>(costs: impl Iterator<Item = &'a Cost>) -> Vec<Cost> {
    let mut sums = BTreeMap::<&str, Amount>::new();
    for Cost { amount, currency } in costs {
        let sum = sums.entry(currency).or_default();
        *sum = sum.plus(*amount);
    }
    let sums = sums.into_iter();
    sums.map(|(currency, amount)| Cost {
        amount,
        currency: currency.into(),
    })
    .collect()
}

fn render(savings: &Savings) -> String {
    let money = !savings.total.costs_saved.is_empty();
    let heads = [
        "NAMESPACE",
        "PROXY",
        "CALLS",
        "DOCUMENTS",
        "TOKENS",
        "SENT",
        "SAVED",
        "SHARE",
    ];
    let mut table = match money {
        true => Table::new(&[&heads[..], &["COST"]].concat()),
        false => Table::new(&heads),
    };
    for line in savings.proxies.iter().chain([&savings.total]) {
        let cells = [
            line.namespace.clone(),
            line.proxy.clone(),
            line.calls.to_string(),
            line.documents.to_string(),
            line.tokens_before.to_string(),
            line.tokens_after.to_string(),
            line.tokens_saved.to_string(),
            line.percent
                .map(|percent| format!("{percent}%"))
                .unwrap_or_default(),
        ];
        let costs: Vec<String> = line
            .costs_saved
            .iter()
            .map(|cost| cost.to_string().trim_end().to_owned())
            .collect();
        table.cells(cells.into_iter().chain(money.then(|| costs.join(", "))));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use liquid_operator::api::status::Figures;

    use super::*;

    fn cost(tokens: i64, currency: &str) -> Cost {
        Cost {
            amount: parse_price("2.50").unwrap().amount_of(tokens),
            currency: currency.into(),
        }
    }

    #[test]
    fn calls_count_once_there_are_any() {
        let mut usage = Usage {
            total: Figures {
                tokens_in: 1000,
                tokens_out: 100,
                documents: 1,
                ..Figures::default()
            },
            tokens_saved: 900,
            ..Usage::default()
        };
        let of = |usage: &Usage| Saving::new("shop".into(), "proxy".into(), Some(usage));
        assert_eq!((of(&usage).tokens_before, of(&usage).percent), (1000, Some(90)));
        usage.total.calls = 2;
        usage.total.call_tokens_before = 4_000_000;
        usage.total.call_tokens_after = 1_000_000;
        usage.tokens_saved = 3_000_000;
        let first = of(&usage);
        assert_eq!(first.percent, Some(75));
        let total = Saving::sum(&[first.clone(), first]);
        assert_eq!((total.tokens_saved, total.percent), (6_000_000, Some(75)));
        assert_eq!(total.costs_saved, []);
        let none = Saving::new("a".into(), "b".into(), None);
        assert_eq!(none.percent, None);
    }

    #[test]
    fn each_currency_is_added_up_by_itself() {
        let line = |costs_saved| Saving {
            costs_saved,
            ..Saving::new("shop".into(), "proxy".into(), None)
        };
        let lines = vec![
            line(vec![cost(3_000_000, "USD")]),
            line(vec![]),
            line(vec![cost(1_000_000, "EUR")]),
            line(vec![cost(1_000_000, "USD")]),
        ];
        let savings = Savings {
            total: Saving::sum(&lines),
            proxies: lines,
        };
        assert_eq!(
            savings.total.costs_saved,
            [cost(1_000_000, "EUR"), cost(4_000_000, "USD")]
        );
        let text = render(&savings);
        let last = text.lines().last().unwrap();
        assert!(last.ends_with("2.50 EUR, 10.00 USD"), "{text}");
        assert!(text.contains("COST"));
        let json = serde_json::to_value(&savings).unwrap();
        let first = json.pointer("/proxies/0/costsSaved/0").unwrap();
        assert_eq!(*first, serde_json::json!({"amount": "7.50", "currency": "USD"}));
    }

    #[test]
    fn nothing_is_said_in_money_without_a_price() {
        let lines = vec![Saving::new("shop".into(), "proxy".into(), None)];
        let savings = Savings {
            total: Saving::sum(&lines),
            proxies: lines,
        };
        assert!(!render(&savings).contains("COST"));
        assert!(!serde_json::to_string(&savings).unwrap().contains("cost"));
    }

    #[test]
    fn a_price_is_an_amount() {
        assert_eq!(parse_price("2.50").ok(), TokenPrice::new(2.5));
        for wrong in ["", "-1", "0", "NaN", "2,50", "1e9"] {
            assert!(parse_price(wrong).is_err(), "{wrong}");
        }
    }
}
