//! Documents that stay whole, because what the worker found cannot stand for them.

use liquid_proto::worker::v1::{ExtractResponse, TierReason};
use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::json;

use super::{QUESTION, chat, document, forwarded, is_same, start};
use crate::api::{Mode, Reason};

/// An answer whose spans are no evidence, and why.
fn answers() -> [(ExtractResponse, Reason); 2] {
    let below_floor = ExtractResponse {
        below_floor: true,
        ..ExtractResponse::default()
    };
    [
        (below_floor, Reason::BelowFloor),
        (other_language(), Reason::OtherLanguage),
    ]
}

fn other_language() -> ExtractResponse {
    ExtractResponse {
        tier_reason_code: TierReason::OtherLanguage.into(),
        ..ExtractResponse::default()
    }
}

#[tokio::test]
async fn a_document_that_no_pack_can_stand_for_passes() {
    for (response, reason) in answers() {
        let response = || WorkerBehaviour::Response(Box::new(response.clone()));
        let worker = MockWorker::start([response(), response()]).await.unwrap();
        for (mode, expected) in [(Mode::Auto, reason), (Mode::Force, Reason::Question)] {
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
            assert_eq!(is_same(&outcome, &sent), expected == reason);
        }
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
