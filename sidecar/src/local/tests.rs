//! The answer's text, and the order of events in each API's stream.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::passage::ExtractiveAnswer;
use super::*;
use crate::api::{Reason, Surface};
use crate::compress::{Action, Excerpt, PackText, Stages};
use crate::pack::SpanKind;

fn decision(action: Action, reason: Reason) -> Decision {
    Decision {
        action,
        reason,
        surface: Surface::ChatCompletions,
        model: None,
        stream: false,
        dry_run: false,
        tokens_before: 100,
        tokens_after: 20,
        pack: None,
        sites: Vec::new(),
        stages: Stages::default(),
        worker_error: None,
    }
}

fn evidence(excerpts: &[(u64, f32, SpanKind, &str)]) -> Evidence {
    let excerpts = excerpts.iter().map(|(start, score, kind, text)| Excerpt {
        start: *start,
        end: start + text.len() as u64,
        score: *score,
        kind: *kind,
        text: (*text).into(),
    });
    Evidence {
        packs: vec![PackText {
            site: 0,
            text: String::new(),
            excerpts: excerpts.collect(),
        }],
        ..Evidence::default()
    }
}

#[test]
fn quotes_the_best_first_with_offsets() {
    let evidence = evidence(&[
        (0, 9.0, SpanKind::Heading, "A heading"),
        (10, 1.0, SpanKind::Sentence, "Second best."),
        (40, 2.5, SpanKind::Row, "| best | row |\n"),
        (90, -3.0, SpanKind::Sentence, "Far off."),
    ]);
    let decision = decision(Action::Compressed, Reason::Question);
    let answer = ExtractiveAnswer::new(&decision, Some(&evidence), false).text();
    assert!(
        answer.starts_with("Extractive answer: no language model was used."),
        "{answer}"
    );
    assert!(
        answer.ends_with("\n1. [40-55] \"| best | row |\"\n\n2. [10-22] \"Second best.\"\n"),
        "{answer}"
    );
    let json: Value =
        serde_json::from_str(&ExtractiveAnswer::new(&decision, Some(&evidence), true).text()).unwrap();
    assert_eq!(
        json["passages"],
        json!([{"start": 40, "end": 55, "text": "| best | row |"}, {"start": 10, "end": 22, "text": "Second best."}])
    );
}

#[test]
fn says_why_there_is_nothing_to_quote() {
    for (reason, words) in [
        (Reason::WorkerUnavailable, "no worker gave an answer"),
        (Reason::NoUserText, "holds no document"),
    ] {
        let answer = ExtractiveAnswer::new(&decision(Action::Passed, reason), None, false).text();
        assert!(
            answer.contains(words) && answer.contains(reason.as_str()),
            "{answer}"
        );
    }
}

fn answer() -> ExtractiveAnswer {
    ExtractiveAnswer {
        pieces: vec!["a".into(), "b\n".into()],
    }
}

fn names(events: &[String]) -> Vec<&str> {
    events.iter().map(|event| event.lines().next().unwrap()).collect()
}

#[test]
fn streams_have_the_events_of_their_api() {
    let usage = Usage {
        input: Some(5),
        output: Some(1),
        cached: Some(0),
    };
    let chat = chat::stream("m", &answer(), 2, Some(usage));
    assert_eq!(chat.len(), 2 + 4 + 2 + 1 + 1);
    assert!(chat[8].contains("\"choices\":[],\"usage\":{\"prompt_tokens\":5"));
    assert!(chat[..8].iter().all(|chunk| chunk.contains("\"usage\":null")));
    assert_eq!(chat[9], "data: [DONE]\n\n");

    let completions = completions::stream("m", &answer(), 2, Some(usage));
    assert_eq!(completions.len(), 4 + 2 + 1 + 1);
    assert!(completions[6].contains("\"choices\":[],\"usage\":{\"prompt_tokens\":5"));
    assert!(completions[..6].iter().all(|chunk| chunk.contains("\"text\":")));
    assert_eq!(completions[7], "data: [DONE]\n\n");

    let messages = messages::stream("m", &answer(), usage);
    let want = [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ];
    assert_eq!(names(&messages), want.map(|name| format!("event: {name}")));

    let responses = responses::stream("m", &answer(), usage);
    let want = [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(
        names(&responses),
        want.map(|name| format!("event: response.{name}"))
    );
    for (number, event) in responses.iter().enumerate() {
        assert!(
            event.contains(&format!("\"sequence_number\":{number}")),
            "{event}"
        );
    }
}
