//! `kubectl liquid savings`: tokens that did not reach an LLM, by namespace and proxy, and what they would have cost.

use std::cmp::Reverse;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use kube::ResourceExt;
use liquid_operator::api::status::{TokenCounts, Usage, compute_percent};
use serde::Serialize;

use crate::output::{Table, print};
use crate::session::Session;

/// Options of `savings`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Price of a million prompt tokens, in any currency: adds the money that was saved.
    #[arg(long, value_name = "AMOUNT", value_parser = parse_price)]
    pub(crate) price: Option<f64>,
}

fn parse_price(text: &str) -> Result<f64, String> {
    let price: f64 = text
        .parse()
        .map_err(|_| format!("{text:?} is no amount, such as 2.50"))?;
    match price.is_finite() && price >= 0.0 {
        true => Ok(price),
        false => Err(format!("{text:?} is no amount of zero or more")),
    }
}

/// What was printed.
#[derive(Debug, Serialize)]
struct Savings {
    proxies: Vec<Saving>,
    total: Saving,
}

/// What a proxy has saved, or all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_saved: Option<f64>,
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
            let (namespace, name) = (proxy.namespace().unwrap_or_default(), proxy.name_any());
            Saving::new(namespace, name, usage, arguments.price)
        })
        .collect();
    lines.sort_by_key(|line| Reverse(line.tokens_saved));
    let savings = Savings {
        total: Saving::sum(&lines, arguments.price),
        proxies: lines,
    };
    print(session.format, &savings, render)?;
    Ok(ExitCode::SUCCESS)
}

impl Saving {
    fn new(namespace: String, proxy: String, usage: Option<&Usage>, price: Option<f64>) -> Self {
        let figures = usage.map(|usage| usage.total).unwrap_or_default();
        let TokenCounts { before, after } = figures.token_counts();
        let saving = Self {
            namespace,
            proxy,
            calls: figures.calls,
            documents: figures.documents,
            tokens_before: before,
            tokens_after: after,
            tokens_saved: usage.map_or(0, |usage| usage.tokens_saved),
            percent: None,
            cost_saved: None,
        };
        saving.finish(price)
    }

    fn sum(lines: &[Self], price: Option<f64>) -> Self {
        let add = |field: fn(&Self) -> i64| lines.iter().map(field).fold(0, i64::saturating_add);
        let total = Self {
            namespace: "all".into(),
            proxy: String::new(),
            calls: add(|line| line.calls),
            documents: add(|line| line.documents),
            tokens_before: add(|line| line.tokens_before),
            tokens_after: add(|line| line.tokens_after),
            tokens_saved: add(|line| line.tokens_saved),
            percent: None,
            cost_saved: None,
        };
        total.finish(price)
    }

    fn finish(mut self, price: Option<f64>) -> Self {
        self.percent = compute_percent(self.tokens_saved, self.tokens_before);
        #[allow(clippy::cast_precision_loss, reason = "an estimate of money, to the cent")]
        let millions = self.tokens_saved as f64 / 1e6;
        self.cost_saved = price.map(|price| price * millions);
        self
    }
}

fn render(savings: &Savings) -> String {
    let money = savings.total.cost_saved.is_some();
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
        let cost = line.cost_saved.map(|cost| format!("{cost:.2}"));
        table.cells(cells.into_iter().chain(cost));
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use liquid_operator::api::status::Figures;

    use super::*;

    #[test]
    fn calls_count_once_there_are_any_and_money_follows_the_price() {
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
        let of = |usage: &Usage| Saving::new("shop".into(), "proxy".into(), Some(usage), Some(2.5));
        assert_eq!((of(&usage).tokens_before, of(&usage).percent), (1000, Some(90)));
        usage.total.calls = 2;
        usage.total.call_tokens_before = 4_000_000;
        usage.total.call_tokens_after = 1_000_000;
        usage.tokens_saved = 3_000_000;
        let first = of(&usage);
        assert_eq!((first.percent, first.cost_saved), (Some(75), Some(7.5)));
        let total = Saving::sum(&[first.clone(), first], None);
        assert_eq!((total.tokens_saved, total.cost_saved), (6_000_000, None));
        let none = Saving::new("a".into(), "b".into(), None, None);
        assert_eq!(none.percent, None);
    }

    #[test]
    fn a_price_is_an_amount() {
        assert_eq!(parse_price("2.50"), Ok(2.5));
        for wrong in ["", "-1", "NaN", "2,50"] {
            assert!(parse_price(wrong).is_err(), "{wrong}");
        }
    }
}
