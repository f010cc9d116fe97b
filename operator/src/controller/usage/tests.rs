#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::{add_reading, parse_figures};
use crate::api::status::{Figures, Usage};

fn at(second: i64) -> Time {
    Time(Timestamp::from_second(second).unwrap())
}

#[test]
fn figures_are_read_from_metrics() {
    let text = "# HELP liquid_worker_documents Documents answered.\n\
        # TYPE liquid_worker_documents counter\n\
        liquid_worker_documents_total{tier=\"encoder\",reason=\"best there is\"} 7\n\
        liquid_worker_documents_total{tier=\"lexical\",reason=\"asked for\"} 3\n\
        liquid_worker_document_tokens_total{tier=\"encoder\",reason=\"a\"} 1000\n\
        liquid_worker_kept_tokens_total{tier=\"encoder\",reason=\"a\"} 180\n\
        liquid_worker_stage_seconds_bucket{le=\"0.1\",stage=\"total\"} 4\n\
        liquid_worker_calls_total 12\n\
        liquid_worker_call_tokens_before_total 5000\n\
        liquid_worker_call_tokens_after_total 1250\n\
        liquid_worker_cache_hits_total 2\n# EOF\n";
    let expected = Figures {
        calls: 12,
        call_tokens_before: 5000,
        call_tokens_after: 1250,
        documents: 10,
        tokens_in: 1000,
        tokens_out: 180,
    };
    assert_eq!(parse_figures(text), expected);
    assert_eq!(
        parse_figures("liquid_worker_documents_total{\nliquid_worker_documents_total x\n"),
        Figures::default()
    );
}

fn one(documents: i64) -> Figures {
    Figures {
        documents,
        tokens_in: documents * 100,
        tokens_out: documents * 18,
        ..Figures::default()
    }
}

fn read(all: &[(&str, i64)]) -> BTreeMap<String, Figures> {
    all.iter()
        .map(|(pod, documents)| ((*pod).to_owned(), one(*documents)))
        .collect()
}

#[test]
fn usage_adds_up_over_restarts_and_silence() {
    let first = add_reading(None, &["a", "b"], &read(&[("a", 5), ("b", 1)]), at(1));
    assert_eq!(
        (first.total.documents, first.tokens_saved, first.saved.as_deref()),
        (6, 492, Some("82%"))
    );
    // b does not answer: what is known of it stays.
    let second = add_reading(Some(&first), &["a", "b"], &read(&[("a", 7)]), at(2));
    assert_eq!(
        (second.total.documents, second.changed_at.clone()),
        (8, Some(at(2)))
    );
    // b's container was restarted, a is gone, c is new.
    let third = add_reading(Some(&second), &["b", "c"], &read(&[("b", 0), ("c", 2)]), at(3));
    assert_eq!(
        (third.total.documents, third.gone, third.workers.len()),
        (10, one(8), 2)
    );
    // Nothing new: nothing changes, so no status is written.
    assert_eq!(
        add_reading(Some(&third), &["b", "c"], &read(&[("b", 0), ("c", 2)]), at(4)),
        third
    );
    assert_eq!(add_reading(None, &[], &read(&[]), at(1)).saved, None);
}

#[test]
fn what_was_saved_is_that_of_calls_once_sidecars_report_them() {
    let figures = |calls: i64, documents: i64| Figures {
        calls,
        call_tokens_before: calls * 1000,
        call_tokens_after: calls * 400,
        ..one(documents)
    };
    let reading = |figures| BTreeMap::from([("a".to_owned(), figures)]);
    // A status that an operator without calls has written, and an old worker.
    let old: Usage = serde_json::from_value(json!({
        "documents": 6, "tokensIn": 600, "tokensOut": 108, "tokensSaved": 492, "saved": "82%",
        "workers": [{ "pod": "a", "documents": 6, "tokensIn": 600, "tokensOut": 108 }],
    }))
    .unwrap();
    let first = add_reading(Some(&old), &["a"], &reading(figures(0, 7)), at(1));
    assert_eq!((first.tokens_saved, first.saved.as_deref()), (574, Some("82%")));
    // Turns whose packs the sidecar knew are calls, and no documents.
    let second = add_reading(Some(&first), &["a"], &reading(figures(5, 7)), at(2));
    assert_eq!(
        (second.tokens_saved, second.saved.as_deref()),
        (3000, Some("60%"))
    );
    assert_eq!(second.changed_at, Some(at(2)));
    // The worker was restarted, and has been asked for as many documents since, but has heard of fewer calls.
    let third = add_reading(Some(&second), &["a"], &reading(figures(2, 7)), at(3));
    assert_eq!((third.total.calls, third.total.documents), (7, 14));
    assert_eq!((third.tokens_saved, third.saved.as_deref()), (4200, Some("60%")));
}
