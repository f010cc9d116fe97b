//! Usage and endings of each wire shape.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn tap(wire: Wire, text: &str) -> Tap {
    let mut tap = Tap::new(wire);
    for byte in text.as_bytes().chunks(3) {
        tap.feed(byte);
    }
    tap
}

fn usage(input: u64, output: u64, cached: Option<u64>) -> Usage {
    Usage {
        input: Some(input),
        output: Some(output),
        cached,
    }
}

#[test]
fn chat_stream_with_usage() {
    let tap = tap(
        Wire::Chat,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"é\"},\"finish_reason\":null}],\"usage\":null}\n\n\
         data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
         data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":0}}}\n\n\
         data: [DONE]\n\n",
    );
    assert_eq!(tap.usage(), usage(9, 2, Some(0)));
    assert_eq!(tap.ending(), Ending::Complete);
    assert!(!tap.inside_event());
}

#[test]
fn numbers_of_any_size_are_no_fault() {
    let most = u64::MAX;
    let body = format!(
        r#"{{"usage":{{"input_tokens":{most},"cache_read_input_tokens":{most},"cache_creation_input_tokens":{most}}}}}"#
    );
    assert_eq!(usage_of_body(body.as_bytes()).input, Some(most));
    let total = crate::translate::usage_object(usage(most, most, None));
    assert_eq!(total["total_tokens"].as_u64(), Some(most));
}

#[test]
fn chat_stream_without_a_finish_is_open() {
    let tap = tap(
        Wire::Chat,
        "data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\ndata: {\"ch",
    );
    assert_eq!(tap.ending(), Ending::Open);
    assert!(tap.inside_event());
}

#[test]
fn an_error_event_of_the_upstream_stays_failed() {
    assert_eq!(
        tap(
            Wire::Chat,
            "data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n"
        )
        .ending(),
        Ending::Failed
    );
    assert_eq!(
        tap(Wire::Messages, "event: error\ndata: {\"type\":\"error\"}\n\n").ending(),
        Ending::Failed
    );
}

#[test]
fn responses_stream() {
    let tap = tap(
        Wire::Responses,
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n\
         event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":6,\"input_tokens_details\":{\"cached_tokens\":4}}}}\n\n",
    );
    assert_eq!(tap.usage(), usage(5, 6, Some(4)));
    assert_eq!(tap.ending(), Ending::Complete);
}

#[test]
fn messages_stream_keeps_the_input_of_the_start() {
    let tap = tap(
        Wire::Messages,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":10,\"output_tokens\":1}}}\n\n\
         event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":12}}\n\n\
         event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    assert_eq!(tap.usage(), usage(13, 12, Some(10)));
    assert_eq!(tap.ending(), Ending::Complete);
}

#[test]
fn plain_bodies() {
    assert_eq!(
        usage_of_body(br#"{"usage":{"prompt_tokens":7,"completion_tokens":1}}"#),
        usage(7, 1, None)
    );
    assert_eq!(
        usage_of_body(br#"{"message":"text","usage":{"input_tokens":7,"output_tokens":1}}"#),
        usage(7, 1, None)
    );
    assert_eq!(usage_of_body(b"not json"), Usage::default());
}

/// What each wire's stream is when its bytes end after these events; the table of the module's documentation, cell
/// by cell.
#[test]
fn each_wire_says_when_it_is_complete_failed_or_running() {
    use Ending::{Complete, Failed, Open};
    let choice =
        |reason: &str| format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":{reason}}}]}}"#);
    let of =
        |index: u8, reason: &str| format!(r#"{{"choices":[{{"index":{index},"finish_reason":{reason}}}]}}"#);
    let stop = |reason: &str| format!(r#"{{"type":"message_delta","delta":{{"stop_reason":{reason}}}}}"#);
    let named = |kind: &str| format!(r#"{{"type":"{kind}"}}"#);
    let cases: Vec<(Wire, Vec<String>, Ending)> = vec![
        (Wire::Chat, vec![choice("\"stop\"")], Complete),
        (Wire::Chat, vec![choice("\"stop\""), choice("null")], Complete),
        (Wire::Chat, vec![choice("null"), "[DONE]".into()], Complete),
        (
            Wire::Chat,
            vec![of(0, "null"), of(1, "null"), of(0, "\"stop\"")],
            Open,
        ),
        (
            Wire::Chat,
            vec![of(0, "\"stop\""), of(1, "null"), of(1, "\"length\"")],
            Complete,
        ),
        (Wire::Chat, vec![choice("null")], Open),
        (Wire::Chat, vec![choice("\"\"")], Open),
        (
            Wire::Chat,
            vec![r#"{"choices":[],"usage":{"prompt_tokens":1}}"#.into()],
            Open,
        ),
        (Wire::Chat, vec![r#"{"choices":null,"error":{}}"#.into()], Open),
        (Wire::Chat, vec![r#"{"choices":[],"error":""}"#.into()], Open),
        (
            Wire::Chat,
            vec![r#"{"error":"quota"}"#.into(), "[DONE]".into()],
            Failed,
        ),
        (
            Wire::Chat,
            vec![r#"{"object":"error","message":"x"}"#.into()],
            Failed,
        ),
        (
            Wire::Completions,
            vec![
                r#"{"object":"text_completion","choices":[{"index":0,"text":"a","finish_reason":"stop"}]}"#
                    .into(),
            ],
            Complete,
        ),
        (
            Wire::Completions,
            vec![r#"{"choices":[{"index":0,"text":"a","finish_reason":null}]}"#.into()],
            Open,
        ),
        (Wire::Completions, vec!["[DONE]".into()], Complete),
        (
            Wire::Completions,
            vec![r#"{"error":{"message":"x"}}"#.into()],
            Failed,
        ),
        (Wire::Responses, vec![named("response.completed")], Complete),
        (Wire::Responses, vec![named("response.incomplete")], Complete),
        (Wire::Responses, vec![named("response.failed")], Complete),
        (Wire::Responses, vec![named("response.cancelled")], Complete),
        (Wire::Responses, vec!["[DONE]".into()], Complete),
        (Wire::Responses, vec![named("response.output_text.done")], Open),
        (Wire::Responses, vec![choice("\"stop\"")], Open),
        (
            Wire::Responses,
            vec![named("error"), named("response.completed")],
            Failed,
        ),
        (Wire::Messages, vec![named("message_stop")], Complete),
        (Wire::Messages, vec![stop("\"end_turn\"")], Complete),
        (
            Wire::Messages,
            vec![stop("\"end_turn\""), named("ping")],
            Complete,
        ),
        (Wire::Messages, vec!["[DONE]".into()], Complete),
        (Wire::Messages, vec![stop("null")], Open),
        (Wire::Messages, vec![stop("\"\"")], Open),
        (
            Wire::Messages,
            vec![named("content_block_stop"), named("ping")],
            Open,
        ),
        (Wire::Messages, vec![stop("\"end_turn\""), named("error")], Failed),
        (Wire::Messages, vec![], Open),
    ];
    for (wire, events, want) in cases {
        let text: String = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        assert_eq!(tap(wire, &text).ending(), want, "{wire:?} {events:?}");
        // The last event without its blank line, and without its line end, once the bytes end.
        for cut in [1, 2] {
            let Some(text) = text.get(..text.len().saturating_sub(cut)) else {
                continue;
            };
            let mut tap = tap(wire, text);
            tap.finish();
            assert_eq!(tap.ending(), want, "{wire:?} {events:?} without {cut} bytes");
            assert_eq!(tap.inside_event(), !events.is_empty());
        }
    }
}

#[test]
fn usage_that_is_repeated_is_never_overwritten_by_less_than_it_says() {
    let start =
        |usage: &str| format!("data: {{\"type\":\"message_start\",\"message\":{{\"usage\":{usage}}}}}\n\n");
    let delta =
        |usage: &str| format!("data: {{\"type\":\"message_delta\",\"delta\":{{}},\"usage\":{usage}}}\n\n");
    let full = r#"{"input_tokens":15,"cache_read_input_tokens":1000,"output_tokens":1}"#;
    for (first, last) in [
        (full, r#"{"input_tokens":0,"output_tokens":9}"#),
        (full, r#"{"input_tokens":15,"output_tokens":9}"#),
        (full, r#"{"output_tokens":9}"#),
        (
            full,
            r#"{"input_tokens":null,"cache_read_input_tokens":0,"output_tokens":9}"#,
        ),
        (full, r#"{"input_tokens":-1,"output_tokens":9}"#),
        (
            r#"{"input_tokens":0,"output_tokens":0}"#,
            r#"{"input_tokens":15,"cache_read_input_tokens":1000,"output_tokens":9}"#,
        ),
        (
            r#"{"input_tokens":15}"#,
            r#"{"cache_read_input_tokens":1000,"output_tokens":9}"#,
        ),
        (
            "null",
            r#"{"input_tokens":15,"cache_read_input_tokens":1000,"output_tokens":9}"#,
        ),
    ] {
        let tap = tap(Wire::Messages, &format!("{}{}", start(first), delta(last)));
        assert_eq!(tap.usage(), usage(1015, 9, Some(1000)), "{first} {last}");
    }
    let chat = |usage: &str| format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    let text = chat(r#"{"prompt_tokens":7,"completion_tokens":2}"#)
        + &chat(r#"{"prompt_tokens":0,"completion_tokens":0}"#);
    assert_eq!(tap(Wire::Chat, &text).usage(), usage(7, 2, None));
}
