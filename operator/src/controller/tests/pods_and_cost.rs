//! What the status says of application pods without a sidecar, and of money.

use serde_json::json;

use super::super::conditions::build_conditions;
use super::super::missed_pods::MissedCount;
use super::{at, counts, observed, proxy, status_of};
use crate::api::Status;
use crate::api::status::Usage;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

fn missed(names: &[&str], count: usize) -> MissedCount {
    MissedCount {
        count,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn find<'a>(conditions: &'a [Condition], name: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == name)
}

#[test]
fn pods_without_a_sidecar_are_counted_and_the_first_named() {
    let (proxy, well) = (proxy(json!({})), counts(1, 1, 1));
    let mut seen = observed(&proxy, Some(&well));
    let (none, some) = (missed(&[], 0), missed(&["a", "b", "c"], 7));
    seen.missed = Some(&none);
    let conditions = build_conditions(&seen, &[], at(10));
    assert_eq!(find(&conditions, "PodsInjected").unwrap().status, "True");
    assert_eq!(find(&conditions, "Degraded").unwrap().status, "False");
    seen.missed = Some(&some);
    let conditions = build_conditions(&seen, &[], at(20));
    let injected = find(&conditions, "PodsInjected").unwrap();
    assert_eq!(
        (&*injected.status, &*injected.reason),
        ("False", "PodsNotInjected")
    );
    assert_eq!(
        injected.message,
        "7 opted-in pods have no sidecar, and documents leave whole: a, b, c and 4 more"
    );
    assert_eq!(find(&conditions, "Degraded").unwrap().reason, "PodsNotInjected");
    assert_eq!(find(&conditions, "Ready").unwrap().status, "True");
}

#[test]
fn a_new_leader_says_what_the_last_one_found_until_it_has_looked() {
    let (proxy, well) = (proxy(json!({})), counts(1, 1, 1));
    let one = missed(&["a"], 1);
    let mut seen = observed(&proxy, Some(&well));
    assert_eq!(find(&build_conditions(&seen, &[], at(10)), "PodsInjected"), None);
    seen.missed = Some(&one);
    let before = build_conditions(&seen, &[], at(10));
    seen.missed = None;
    let after = build_conditions(&seen, &before, at(20));
    assert_eq!(find(&after, "PodsInjected"), find(&before, "PodsInjected"));
}

#[test]
fn savings_are_said_in_money_where_there_is_a_price() {
    let with = |spec| {
        let mut proxy = proxy(spec);
        proxy.status = Some(Status {
            usage: Some(Usage {
                tokens_saved: 4_000_000,
                cost_saved: Some("1.00 EUR".into()),
                ..Usage::default()
            }),
            ..Status::default()
        });
        status_of(&proxy, &counts(1, 1, 1)).usage.unwrap().cost_saved
    };
    let price = json!({ "price": { "perMillionInputTokens": 2.5, "currency": "USD" } });
    assert_eq!(with(price).as_deref(), Some("10.00 USD"));
    assert_eq!(with(json!({})), None, "a price that was taken away");
}
