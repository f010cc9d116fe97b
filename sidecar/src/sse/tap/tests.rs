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
