#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use super::{Metrics, start_log};
use crate::api::price::{Cost, TokenPrice};
use crate::config::tests::settings;

#[test]
fn metrics_are_rendered() {
    let metrics = Metrics::new();
    metrics.count_reconciliation(true, Duration::from_millis(20));
    metrics.set_leader(true);
    let text = metrics.render().unwrap();
    for line in [
        "liquid_operator_reconciliations_total{outcome=\"done\"} 1",
        "liquid_operator_leader 1",
        "liquid_operator_reconciliation_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn what_is_no_longer_so_is_no_longer_shown() {
    let metrics = Metrics::new();
    let shows = |line: &str| metrics.render().unwrap().lines().any(|shown| shown == line);
    metrics.set_pods_without_sidecar(&[("shop".to_owned(), 3), ("legal".to_owned(), 1)].into());
    metrics.set_pods_without_sidecar(&[("shop".to_owned(), 2)].into());
    assert!(shows(
        "liquid_operator_pods_without_sidecar{namespace=\"shop\"} 2"
    ));
    assert!(!metrics.render().unwrap().contains("legal"));
    let cost = |currency: &str| Cost {
        amount: TokenPrice::new(2.5).unwrap().amount_of(1_000_000),
        currency: currency.into(),
    };
    metrics.set_cost_saved("shop", "docs", Some(cost("USD")));
    assert!(shows(
        "liquid_operator_cost_saved{namespace=\"shop\",proxy=\"docs\",currency=\"USD\"} 2.5"
    ));
    metrics.set_cost_saved("shop", "docs", Some(cost("EUR")));
    let text = metrics.render().unwrap();
    assert!(text.contains("EUR") && !text.contains("USD"), "{text}");
    metrics.set_cost_saved("shop", "docs", None);
    assert!(!metrics.render().unwrap().contains("docs"));
}

#[test]
fn a_log_level_that_is_no_filter_is_refused_with_the_remedy() {
    let settings = settings(&["--log-level", "a=b=c"]);
    let error = start_log(&settings).unwrap_err().to_string();
    assert!(
        error.starts_with("log.level = a=b=c: ")
            && error.ends_with("write for example info, or warn,liquid_operator=debug"),
        "{error}"
    );
}
