//! Conversations: what a later turn is given, and that nothing before it changes.

use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use super::{QUESTION, chat, document, forwarded, start};
use crate::api::Reason;
use crate::compress::Compressor;

#[tokio::test]
async fn a_later_question_adds_what_is_new_and_changes_nothing_before_it() {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let compressor = start(&worker, |_| {}).await;
    let doc = document();
    let first = json!([{"role": "user", "content": doc}, {"role": "user", "content": QUESTION}]);
    let then = |question: &str| {
        let mut messages = first.as_array().unwrap().clone();
        messages.push(json!({"role": "assistant", "content": "On 3 May."}));
        messages.push(json!({"role": "user", "content": question}));
        chat(Value::from(messages))
    };
    let packed = compressor.compress(chat(first.clone())).await;
    let (before, _) = forwarded(&packed);
    let held = compressor.compress(then("Was the turbine paid?")).await;
    let (after, decision) = forwarded(&held);
    assert_eq!(decision.reason, Reason::Replayed, "the pack holds the answer");
    assert_eq!(
        after["messages"].as_array().unwrap()[..2],
        before["messages"].as_array().unwrap()[..2]
    );
    assert_eq!(after["messages"][3]["content"], "Was the turbine paid?");

    let asked = "And what colour was the crane painted?";
    let fresh = start(&worker, |_| {}).await;
    for compressor in [&compressor, &fresh] {
        let further = compressor.compress(then(asked)).await;
        let (after, decision) = forwarded(&further);
        assert_eq!(decision.reason, Reason::FollowUp);
        assert_eq!(
            after["messages"].as_array().unwrap()[..2],
            before["messages"].as_array().unwrap()[..2]
        );
        let last = after["messages"][3]["content"].as_str().unwrap();
        assert!(
            last.starts_with("[further excerpts") && last.ends_with(&format!("\n\n{asked}")),
            "{last}"
        );
        assert!(last.contains("A crane was painted green.") && last.len() < 3_000);
        assert!(decision.tokens_after < decision.tokens_before / 2);
    }

    let everything = compressor
        .compress(then("Now translate the report into German."))
        .await;
    let (after, _) = forwarded(&everything);
    assert_eq!(
        after["messages"].as_array().unwrap()[..2],
        before["messages"].as_array().unwrap()[..2]
    );
    assert!(
        after["messages"][3]["content"].as_str().unwrap().contains(&doc),
        "every word is there"
    );
}

/// Asks about the document, and then all of `later`; returns what the last turn holds, with which reason.
async fn ask_on(compressor: &Compressor, later: &[&str]) -> (String, Reason) {
    let mut messages = vec![
        json!({"role": "user", "content": document()}),
        json!({"role": "user", "content": QUESTION}),
    ];
    for question in later {
        messages.push(json!({"role": "assistant", "content": "On 3 May."}));
        messages.push(json!({"role": "user", "content": question}));
    }
    let outcome = compressor.compress(chat(messages.into())).await;
    let (body, decision) = forwarded(&outcome);
    let last = body["messages"].as_array().unwrap().last().unwrap();
    (last["content"].as_str().unwrap().to_owned(), decision.reason)
}

#[tokio::test]
async fn of_a_passage_that_is_partly_there_the_rest_is_added() {
    let doc = document();
    let line = |number: usize| {
        doc.lines()
            .take(number)
            .map(|line| line.len() as u64 + 1)
            .sum::<u64>()
    };
    let spans = |lines: &[(usize, usize)]| {
        let spans = lines.iter().map(|&(from, to)| (line(from), line(to) - 1));
        WorkerBehaviour::Spans(spans.collect())
    };
    let worker = MockWorker::start([spans(&[(70, 80)]), spans(&[(75, 85), (140, 145)])])
        .await
        .unwrap();
    let compressor = start(&worker, |_| {}).await;
    let (last, reason) = ask_on(&compressor, &["And what colour was the crane painted?"]).await;
    assert_eq!(reason, Reason::FollowUp);
    let passages: Vec<&str> = last
        .split("]\n")
        .skip(2)
        .map(|text| text.split("\n[").next().unwrap())
        .collect();
    let text = |from: usize, to: usize| {
        doc.lines()
            .skip(from)
            .take(to - from)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(passages[..2], [text(80, 85), text(140, 145)]);
}

#[tokio::test]
async fn a_question_about_most_of_what_is_missing_is_given_all_of_it() {
    let end = document().len() as u64;
    let spans = |from, to| WorkerBehaviour::Spans(vec![(from, to)]);
    let worker = MockWorker::start([spans(0, 5_000), spans(7_000, end - 10)])
        .await
        .unwrap();
    let compressor = start(&worker, |_| {}).await;
    let later = ["Thank you!", "And what colour was the crane painted?"];
    let (last, _) = ask_on(&compressor, &later).await;
    assert!(last.starts_with("[the rest of "), "{last}");
    assert!(last.contains(document()[5_000..].trim()), "{last}");
}
