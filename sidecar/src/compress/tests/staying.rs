//! Documents that stay whole, or of which more is kept, because what the worker found cannot stand for them.

use liquid_proto::worker::v1::budget::Limit;
use liquid_proto::worker::v1::{ExtractResponse, TierReason};
use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::json;

use super::{QUESTION, chat, document, forwarded, is_same, start};
use crate::api::{Mode, Reason};
use crate::compress::Action;
use crate::policy::Budget;

fn other_language() -> ExtractResponse {
    ExtractResponse {
        tier_reason_code: TierReason::OtherLanguage.into(),
        ..ExtractResponse::default()
    }
}

#[tokio::test]
async fn a_document_that_no_pack_can_stand_for_passes() {
    let below_floor = ExtractResponse {
        below_floor: true,
        ..ExtractResponse::default()
    };
    let worker = MockWorker::start([WorkerBehaviour::Response(Box::new(below_floor))])
        .await
        .unwrap();
    for (mode, expected) in [(Mode::Auto, Reason::BelowFloor), (Mode::Force, Reason::Question)] {
        let compressor = start(&worker, |settings| {
            settings.policy.mode = mode;
            settings.policy.budget.auto = true;
        })
        .await;
        let call =
            chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
        let sent = call.body.clone();
        let outcome = compressor.compress(call).await;
        assert_eq!(outcome.decision().reason, expected);
        assert_eq!(is_same(&outcome, &sent), expected == Reason::BelowFloor);
    }
}

#[tokio::test]
async fn a_question_that_no_model_reads_is_asked_again_for_half_of_the_words() {
    let asked = chat(json!([{"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]));
    for (change, calls) in [
        (None, 2),
        (
            Some(Budget {
                auto: true,
                ..Budget::default()
            }),
            2,
        ),
        (
            Some(Budget {
                ratio: 1.5,
                ..Budget::default()
            }),
            1,
        ),
        (
            Some(Budget {
                max_tokens: Some(500),
                ..Budget::default()
            }),
            1,
        ),
    ] {
        let worker = MockWorker::start([WorkerBehaviour::Response(Box::new(other_language()))])
            .await
            .unwrap();
        let compressor = start(&worker, |settings| {
            settings.policy.budget = change.clone().unwrap_or_default();
        })
        .await;
        let outcome = compressor.compress(asked.clone()).await;
        let (_, decision) = forwarded(&outcome);
        assert_eq!(
            (decision.action, decision.reason),
            (Action::Compressed, Reason::Question)
        );
        assert_eq!(worker.answered(), calls, "{change:?}");
        let budget = worker.last().unwrap().header.budget.unwrap().limit.unwrap();
        assert_eq!(budget == Limit::Ratio(2.0), calls == 2, "{budget:?}");
        let pack = &decision.pack.as_ref().unwrap().packs[0];
        assert_eq!(pack.tier_reason, "other_language");
    }
}

#[tokio::test]
async fn a_later_question_in_another_language_is_given_the_rest() {
    let behaviours = [
        WorkerBehaviour::Evidence,
        WorkerBehaviour::Response(Box::new(other_language())),
    ];
    let worker = MockWorker::start(behaviours).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let later = "Welche Farbe hatte der Kran?";
    let outcome = compressor
        .compress(chat(json!([
            {"role": "user", "content": document()},
            {"role": "user", "content": QUESTION},
            {"role": "assistant", "content": "On 3 May."},
            {"role": "user", "content": later},
        ])))
        .await;
    let (body, decision) = forwarded(&outcome);
    assert_eq!(decision.reason, Reason::FollowUp);
    let last = body["messages"][3]["content"].as_str().unwrap();
    assert!(
        last.starts_with("[the rest of ") && last.ends_with(later),
        "{last}"
    );
    assert!(last.contains("A crane was painted green."), "{last}");
}
