#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use serde_json::{Value, json};

use super::body::guess_surface;
use super::paint::{Painter, grouped, shorten, visible};
use super::*;
use crate::pack::{Stretch, StretchKind};

fn guess(body: &Value) -> Option<Surface> {
    guess_surface(Path::new("body.json"), body.to_string().as_bytes()).ok()
}

#[test]
fn keys_tell_the_surface() {
    let said = json!([{"role": "user", "content": "Hello"}]);
    let with = |key: &str, value: Value| json!({"messages": said, key: value});
    let blocks = |kind: &str| json!({"messages": [{"role": "user", "content": [{"type": kind}]}]});
    for (body, surface) in [
        (with("model", json!("m")), Surface::ChatCompletions),
        (with("system", json!("Be brief.")), Surface::Messages),
        (
            with("tools", json!([{"name": "t", "input_schema": {}}])),
            Surface::Messages,
        ),
        (
            with("tools", json!([{"type": "function", "function": {}}])),
            Surface::ChatCompletions,
        ),
        (
            json!({"messages": said, "model": "claude-5", "max_tokens": 9}),
            Surface::Messages,
        ),
        (with("model", json!("claude-5")), Surface::ChatCompletions),
        (blocks("tool_result"), Surface::Messages),
        (blocks("image_url"), Surface::ChatCompletions),
        (
            json!({"messages": [{"role": "system", "content": "x"}], "top_k": 1}),
            Surface::ChatCompletions,
        ),
        (json!({"input": "Hello"}), Surface::Responses),
        (json!({"prompt": "Hello"}), Surface::Completions),
        (
            json!({"large_document": "d", "final_user_prompt": "q"}),
            Surface::HybridChat,
        ),
    ] {
        assert_eq!(guess(&body), Some(surface), "{body}");
    }
}

#[test]
fn a_body_that_says_nothing_is_an_error_of_the_input() {
    let file = Path::new("body.json");
    let unknown = guess_surface(file, b"{\"model\": \"m\"}").unwrap_err();
    assert!(unknown.to_string().contains("--surface"), "{unknown}");
    let broken = guess_surface(file, b"{\"messages\":\n [}").unwrap_err();
    assert!(broken.to_string().contains("(line 2, column 3)"), "{broken}");
    let list = guess_surface(file, b"[]").unwrap_err();
    for error in [unknown, broken, list] {
        assert_eq!(error.exit_code(), exit::INPUT);
    }
}

#[test]
fn a_long_text_is_told_by_its_ends() {
    let long: Vec<String> = (0..5_000).map(|number| format!("word{number}")).collect();
    let short = shorten(&long.join(" ")).unwrap();
    assert_eq!(
        short,
        format!(
            "{} [... 4,984 words ...] {}",
            long[..8].join(" "),
            long[4_992..].join(" ")
        )
    );
    assert_eq!(shorten(&long[..20].join(" ")), None);
    let chinese = shorten(&"涡轮机在五月三日到达".repeat(100)).unwrap();
    assert!(chinese.contains("[... 920 characters ...]"), "{chinese}");
}

#[test]
fn a_document_cannot_steer_the_terminal() {
    assert_eq!(
        visible("a\x1b[2J\tb\u{9b}c\x7f"),
        "a\u{241b}[2J\tb\u{fffd}c\u{2421}"
    );
    assert_eq!(
        [grouped(0), grouped(999), grouped(1_000), grouped(1_234_567)],
        ["0", "999", "1,000", "1,234,567"]
    );
}

fn painted(colour: bool) -> String {
    let document = "One.\nTwo.\nThree. Four.\n";
    let kinds = [
        (StretchKind::Dropped, 0..5),
        (StretchKind::Kept, 5..16),
        (StretchKind::Further, 16..22),
        (StretchKind::Dropped, 22..23),
    ];
    let stretches: Vec<Stretch> = kinds
        .into_iter()
        .map(|(kind, range)| Stretch { kind, range })
        .collect();
    let mut out = Vec::new();
    let painter = Painter { colour, all: false };
    painter.document(document, &stretches, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn marks_stand_where_no_colours_can() {
    assert_eq!(painted(false), "- One.\n+ Two.\n+ Three.\n> Four.\n");
    assert_eq!(
        painted(true),
        "\x1b[2mOne.\x1b[0m\n\x1b[32mTwo.\x1b[0m\n\x1b[32mThree.\x1b[0m\x1b[36m Four.\x1b[0m\n\n"
    );
}
