#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::*;

fn is_json(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.skip().is_ok() && reader.finish().is_ok()
}

fn read(surface: Surface, body: &str) -> Request<'_> {
    Request::read(surface, body.as_bytes()).unwrap()
}

fn texts<'a>(request: &Request<'a>) -> Vec<(Role, &'a str)> {
    request
        .parts
        .iter()
        .filter_map(|part| Some((part.role, part.text?.raw())))
        .collect()
}

/// Texts that are nearly JSON: pieces of JSON in any order.
fn nearly_json() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\\",
        "\\u12",
        "\"\\ud800\"",
        "\"\\n\\u00e4\"",
        "0",
        "-",
        "1.5e+3",
        "01",
        "1.",
        ".5",
        "true",
        "nul",
        "null",
        " ",
        "\n",
        "\u{1}",
        "\"\t\"",
        "é",
        "\"é\"",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f32>().prop_map(|f| Value::from(f64::from(f))),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((".{0,5}", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn accepts_what_serde_json_accepts(value in json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        prop_assert!(is_json(&text));
    }

    #[test]
    fn refuses_what_serde_json_refuses(text in nearly_json()) {
        prop_assert_eq!(is_json(&text), serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn decodes_as_serde_json_does(raw in r#"([a-z é😀]|\\["\\/bfnrt]|\\u00[0-7][0-9]|\\u[dD][89abAB]3[0-9]|\\u[dD][c-f]3[0-9]){0,20}"#) {
        let quoted = format!("\"{raw}\"");
        let literal = Reader::new(&quoted).string().unwrap();
        let decoded = literal.decode().ok().map(std::borrow::Cow::into_owned);
        prop_assert_eq!(decoded, serde_json::from_str::<String>(&quoted).ok());
    }

    #[test]
    fn locates_the_bytes_that_say_a_range(text in r#"[a-c\n"\\é😀]{1,40}"#, ascii in any::<bool>(), cut in 0.0..1.0_f64, len in 0.0..1.0_f64) {
        let quoted = if ascii { in_ascii(&text) } else { serde_json::to_string(&text).unwrap() };
        let literal = Reader::new(&quoted).string().unwrap();
        let start = text.floor_char_boundary((cut * text.len() as f64) as usize);
        let end = text.floor_char_boundary(start + (len * (text.len() - start + 1) as f64) as usize);
        let raw = &quoted[literal.locate(start..end)];
        let said: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
        prop_assert_eq!(said, &text[start..end]);
    }

    #[test]
    fn a_patch_changes_one_string_and_no_other_byte(before in json(), after in json(), text in ".{1,40}", pack in ".{0,40}") {
        let body = format!(
            r#"{{ "x":{before}, "messages" : [ {{"role":"user","content":{}}} ],"n":1.0,"y":{after}}}"#,
            serde_json::to_string(&text).unwrap()
        );
        let bytes = Bytes::from(body.clone());
        let request = read(Surface::ChatCompletions, &body);
        let literal = request.parts[0].text.unwrap();
        let patched = Site::new(&request, &bytes, &literal, 0..text.len()).with(&pack);
        let quoted = literal.range();
        prop_assert!(patched.starts_with(&body.as_bytes()[..quoted.start + 1]));
        prop_assert!(patched.ends_with(&body.as_bytes()[quoted.end - 1..]));
        let parsed: Value = serde_json::from_slice(&patched).unwrap();
        prop_assert_eq!(&parsed["messages"][0]["content"], &Value::from(pack));
        prop_assert_eq!(Site::new(&request, &bytes, &literal, 0..text.len()).unchanged(), bytes.clone());
    }

    #[test]
    fn a_site_without_the_body_gives_it_back(text in r#"[a-c/\n\t\u{1}"\\é😀]{1,40}"#, spelling in 0..3) {
        let usual = serde_json::to_string(&text).unwrap();
        let quoted = match spelling {
            0 => usual,
            1 => in_ascii(&text),
            _ => usual.replace('/', "\\/"),
        };
        let body = format!(r#"{{"messages":[{{"role":"user","content":{quoted}}}],"n":1.0}}"#);
        let bytes = Bytes::from(body.clone());
        let request = read(Surface::ChatCompletions, &body);
        let literal = request.parts[0].text.unwrap();
        let site = Site::new(&request, &bytes, &literal, 0..text.len());
        let with = site.with("a \"pack\"");
        let lengths = (site.document_bytes(), site.around_bytes());
        let site = site.without_body(&text.as_str().into());
        prop_assert_eq!(site.unchanged(), bytes.clone());
        prop_assert_eq!(site.with("a \"pack\""), with);
        prop_assert_eq!((site.document_bytes(), site.around_bytes()), lengths);
        let mut again = Vec::new();
        escape_into(&text, &mut again);
        prop_assert_eq!(site.holds_body(), again != quoted.as_bytes()[1..quoted.len() - 1]);
    }

    #[test]
    fn reads_any_bytes_without_panic(body in prop::collection::vec(any::<u8>(), 0..200), text in nearly_json()) {
        for surface in [Surface::ChatCompletions, Surface::Responses, Surface::Messages, Surface::HybridChat] {
            let _ = Request::read(surface, &body);
            let _ = Request::read(surface, text.as_bytes());
            let _ = Request::read(surface, format!(r#"{{"messages":[{text}],"input":[{text}]}}"#).as_bytes());
        }
    }
}

/// As Python's `json.dumps` writes it.
fn in_ascii(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

#[test]
fn nests_128_deep_and_no_deeper() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(is_json(&nested(128)));
    assert!(!is_json(&nested(129)));
    assert!(!is_json(&"[".repeat(5_000_000)));
}

#[test]
fn names_the_byte_that_is_wrong() {
    let error = Request::read(Surface::Messages, br#"{"model":"m",}"#).unwrap_err();
    assert_eq!(error.to_string(), "not valid JSON at byte 13: expected a string");
    let error = Request::read(Surface::Messages, b"{\"model\":\"\xff\"}").unwrap_err();
    assert_eq!(error, RequestError::NotUtf8 { at: 10 });
}

#[test]
fn reads_chat_completions() {
    let request = read(
        Surface::ChatCompletions,
        r#"{"model":"gpt-5","stream":true,"messages":[
            {"role":"developer","content":"rules"},
            {"content":[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"data:..."}},
                        {"text":"two","type":"text","prompt_cache_breakpoint":{"mode":"explicit"}}],"role":"user"},
            {"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"result"}]}"#,
    );
    assert_eq!((request.model.as_deref(), request.stream), (Some("gpt-5"), true));
    let expected = [
        (Role::System, "rules"),
        (Role::User, "one"),
        (Role::User, "two"),
        (Role::Tool, "result"),
    ];
    assert_eq!(texts(&request), expected);
    let marked: Vec<_> = request.parts.iter().map(|part| part.cache_marked).collect();
    assert_eq!(marked, [false, false, false, true, false, false]);
}

#[test]
fn reads_responses() {
    let request = read(
        Surface::Responses,
        r#"{"model":"m","input":"all of it","instructions":"rules"}"#,
    );
    assert_eq!(texts(&request), [(Role::User, "all of it")]);
    let request = read(
        Surface::Responses,
        r#"{"input":[{"role":"user","content":"a"},{"type":"message","role":"user","content":[{"type":"input_text","text":"b"},
            {"type":"input_file","file_id":"f"}]},{"type":"reasoning","encrypted_content":"x"},
            {"type":"function_call_output","call_id":"c","output":"long"}]}"#,
    );
    assert_eq!(texts(&request), [(Role::User, "a"), (Role::User, "b")]);
    assert_eq!(
        request.parts.iter().map(|part| part.role).collect::<Vec<_>>()[3..],
        [Role::Assistant, Role::Tool]
    );
}

#[test]
fn reads_anthropic_messages() {
    let request = read(
        Surface::Messages,
        r#"{"system":[{"type":"text","text":"rules","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"user","content":[{"type":"document","source":{"type":"text","data":"file"}},{"type":"text","text":"q",
            "cache_control":{"type":"ephemeral"}}]},{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}"#,
    );
    assert_eq!(
        texts(&request),
        [
            (Role::User, "file"),
            (Role::User, "q"),
            (Role::Assistant, "a"),
            (Role::User, "b")
        ]
    );
    assert!(request.parts[1].cache_marked && !request.parts[0].cache_marked && !request.cache_marked);
    assert!(
        read(
            Surface::Messages,
            r#"{"cache_control":{"type":"ephemeral"},"messages":[]}"#
        )
        .cache_marked
    );
}

#[test]
fn notices_provider_state_and_duplicate_keys() {
    let stateful = |surface, body| read(surface, body).stateful;
    assert_eq!(
        stateful(Surface::Responses, r#"{"previous_response_id":"r"}"#),
        Some("previous_response_id")
    );
    assert_eq!(
        stateful(Surface::Responses, r#"{"previous_response_id":null}"#),
        None
    );
    assert_eq!(
        stateful(Surface::Responses, r#"{"conversation":{"id":"c"}}"#),
        Some("conversation")
    );
    assert_eq!(
        stateful(
            Surface::Responses,
            r#"{"input":[{"type":"item_reference","id":"i"}]}"#
        ),
        Some("item_reference")
    );
    assert_eq!(
        stateful(
            Surface::ChatCompletions,
            r#"{"prediction":{"type":"content","content":""}}"#
        ),
        Some("prediction")
    );
    let twice = |body| read(Surface::ChatCompletions, body).duplicate_key;
    assert!(twice(r#"{"messages":[],"messages":[]}"#));
    assert!(twice(r#"{"messages":[{"role":"user","r\u006fle":"system"}]}"#));
    assert!(twice(
        r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]}"#
    ));
    assert!(!twice(
        r#"{"x":1,"x":2,"messages":[{"role":"user","name":"a","name":"b"}]}"#
    ));
}

#[test]
fn stops_collecting_parts_in_time() {
    let body = format!(r#"{{"messages":[{}{{}}]}}"#, "{},".repeat(30_000));
    let request = read(Surface::ChatCompletions, &body);
    assert!(request.too_many_parts && request.parts.len() <= 20_000);
}

#[test]
fn hybrid_chat_leaves_as_a_chat_completion() {
    let body = r#"{"model":"m", "temperature":0.10,"large_document":"A \"doc\" \u00e9","stream":true,"dry_run":true,
        "extraction_task":"find","seed":1e2,"final_user_prompt":"Why?\n"}"#;
    let request = read(Surface::HybridChat, body);
    assert!(request.dry_run && request.stream);
    let hybrid = request.hybrid.clone().unwrap();
    assert_eq!(hybrid.task.unwrap().raw(), "find");
    let site = Site::whole(&request, &Bytes::from(body), &hybrid.document);
    assert_eq!(
        site.unchanged(),
        r#"{"model":"m", "temperature":0.10,"stream":true,"seed":1e2,"messages":[{"role":"user","content":"A \"doc\" \u00e9\n\nWhy?\n"}]}"#
    );
    assert_eq!(
        site.with("\"pack\"\n"),
        r#"{"model":"m", "temperature":0.10,"stream":true,"seed":1e2,"messages":[{"role":"user","content":"\"pack\"\n\n\nWhy?\n"}]}"#
    );
}

#[test]
fn hybrid_chat_says_what_is_wrong() {
    let error = |body: &str| Request::read(Surface::HybridChat, body.as_bytes()).unwrap_err();
    assert_eq!(
        error(r#"{"final_user_prompt":""}"#),
        RequestError::Missing {
            field: "large_document"
        }
    );
    assert_eq!(
        error(r#"{"large_document":1}"#),
        RequestError::NotAString {
            field: "large_document"
        }
    );
    assert_eq!(
        error(r#"{"messages":[]}"#),
        RequestError::Unexpected { field: "messages" }
    );
    assert_eq!(
        error(r#"{"dry_run":true,"dry_run":false}"#),
        RequestError::Twice { field: "dry_run" }
    );
    assert_eq!(error("[]"), RequestError::NotAnObject);
}

#[test]
fn reads_documents_in_blocks_of_their_own() {
    let parts = |block: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        let request = read(Surface::Messages, &body);
        let parts = request.parts.iter();
        parts
            .map(|part| {
                (
                    part.kind,
                    part.text.map(|text| text.raw().to_owned()),
                    part.cache_marked,
                )
            })
            .collect::<Vec<_>>()
    };
    let text = |kind, text: &str| (kind, Some(text.to_owned()), false);
    for (block, expected) in [
        (
            r#"{"type":"document","title":"t","source":{"type":"text","media_type":"text/plain","data":"d"}}"#,
            vec![text(PartKind::Document, "d")],
        ),
        (
            r#"{"source":{"data":"d","type":"text"},"citations":{"enabled":true},"type":"document"}"#,
            vec![text(PartKind::CitedDocument, "d")],
        ),
        (
            r#"{"type":"document","source":{"type":"content","content":[{"type":"text","text":"a"},{"type":"image"},
                {"type":"text","text":"b"}]},"citations":{"enabled":false}}"#,
            vec![text(PartKind::Document, "a"), text(PartKind::Document, "b")],
        ),
        (
            r#"{"type":"search_result","source":"https://a","title":"t","content":[{"type":"text","text":"r"}]}"#,
            vec![text(PartKind::Document, "r")],
        ),
        (
            r#"{"type":"document","source":{"type":"text","data":"d"},"cache_control":{"type":"ephemeral"}}"#,
            vec![(PartKind::Document, Some("d".to_owned()), true)],
        ),
        (
            r#"{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
        (
            r#"{"type":"document","source":{"type":"url","url":"https://a"}}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
        (
            r#"{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"r"}]}"#,
            vec![(PartKind::Other, None, false)],
        ),
        (
            r#"{"type":"document"}"#,
            vec![(PartKind::Attachment, None, false)],
        ),
    ] {
        assert_eq!(parts(block), expected, "{block}");
    }
}
