//! Every form, in any pieces; what is none of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;

use super::*;

fn parser() -> CallParser {
    CallParser::new(vec!["weather".to_owned()])
}

/// Reads a text in pieces that end at these bytes, and joins neighbouring texts.
fn read(text: &str, borders: &[usize]) -> Vec<Piece> {
    let mut parser = parser();
    let mut pieces = Vec::new();
    let mut start = 0;
    for border in borders.iter().copied().chain([text.len()]) {
        if text.is_char_boundary(border) && border >= start {
            pieces.extend(parser.push(&text[start..border]));
            start = border;
        }
    }
    pieces.extend(parser.finish());
    let mut joined: Vec<Piece> = Vec::new();
    for piece in pieces {
        match (joined.last_mut(), piece) {
            (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(&text),
            (_, piece) => joined.push(piece),
        }
    }
    joined
}

fn weather(arguments: &str) -> Piece {
    Piece::Call(Call {
        name: "weather".to_owned(),
        arguments: arguments.to_owned(),
    })
}

fn text(text: &str) -> Piece {
    Piece::Text(text.to_owned())
}

#[test]
fn the_forms_of_the_families_are_calls() {
    let oslo = || weather(r#"{"city":"Oslo"}"#);
    let bergen = || weather(r#"{"city":"Bergen"}"#);
    let hermes = r#"I look.
<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>
<tool_call>{"name": "weather", "arguments": {"city": "Bergen"}}</tool_call>"#;
    for (answer, expected) in [
        (hermes, vec![text("I look.\n"), oslo(), text("\n"), bergen()]),
        (
            r#"<tool_call>[{"name": "weather", "arguments": {"city": "Oslo"}}, {"name": "weather", "arguments": {"city": "Bergen"}}]</tool_call>"#,
            vec![oslo(), bergen()],
        ),
        // The mark of the end is a token that some models end the answer before.
        (
            r#"<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}"#,
            vec![oslo()],
        ),
        (
            r#"[TOOL_CALLS] [{"name": "weather", "arguments": {"city": "Oslo"}, "id": "abcdefghi"}]"#,
            vec![oslo()],
        ),
        (
            r#"[TOOL_CALLS]weather[ARGS]{"city": "Oslo"}[TOOL_CALLS]weather[CALL_ID]abcdefghi[ARGS]{"city": "Bergen"}"#,
            vec![oslo(), bergen()],
        ),
        (
            r#"{"name": "weather", "parameters": {"city": "Oslo"}}; {"name": "weather", "parameters": {"city": "Bergen"}}"#,
            vec![oslo(), bergen()],
        ),
        (
            r#"<tool_call>{"name": "weather"}</tool_call>"#,
            vec![weather("{}")],
        ),
    ] {
        assert_eq!(read(answer, &[]), expected, "{answer}");
    }
}

#[test]
fn what_is_no_call_stays_text_word_for_word() {
    for answer in [
        "Use <tool_call> like this: </tool_call> or a < b",
        "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": }</tool_call> so",
        "<tool_call>{\"city\": \"Oslo\"}</tool_call>",
        "[TOOL_CALLS] none",
        "{\"city\": \"Oslo\"}",
        "{\"name\": \"other\", \"parameters\": {}}",
        "  {not JSON",
        "<tool_call>[]</tool_call>",
        "",
    ] {
        let expected = if answer.is_empty() {
            vec![]
        } else {
            vec![text(answer)]
        };
        assert_eq!(read(answer, &[]), expected, "{answer}");
    }
}

#[test]
fn text_is_held_no_longer_than_it_may_be_a_mark() {
    let mut parser = parser();
    assert_eq!(parser.push("a <tool"), [text("a ")]);
    assert_eq!(parser.push("box> b"), [text("<toolbox> b")]);
    assert_eq!(parser.push(" ["), [text(" ")]);
    assert_eq!(parser.finish(), [text("[")]);
}

proptest! {
    #[test]
    fn pieces_change_nothing(
        parts in proptest::collection::vec(prop_oneof![
            Just("<tool_call>".to_owned()), Just("</tool_call>".to_owned()), Just("[TOOL_CALLS]".to_owned()),
            Just("[ARGS]".to_owned()), Just(r#"{"name":"weather","arguments":{"é":1}}"#.to_owned()),
            Just(";".to_owned()), Just("<tool".to_owned()), ".{0,4}",
        ], 0..8),
        borders in proptest::collection::vec(0..200_usize, 0..12),
    ) {
        let whole = parts.concat();
        let mut borders = borders;
        borders.sort_unstable();
        borders.retain(|border| *border <= whole.len());
        prop_assert_eq!(read(&whole, &borders), read(&whole, &[]));
    }
}
