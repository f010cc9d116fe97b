//! Texts of a body, and where it says them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::read;
use super::spelling::{Speller, edit_texts, speller, text};
use crate::api::Surface;
use crate::request::{JsonText, LoneSurrogate, Reader, Text};

/// The text of a JSON string.
fn text_of(quoted: &str) -> Arc<Text<'_>> {
    Arc::new(Text::read(Reader::new(quoted).string().unwrap()).unwrap())
}

/// Keys and texts.
fn said<'t>(strings: &'t [JsonText<'_>]) -> Vec<(&'t str, &'t str)> {
    let strings = strings.iter();
    strings
        .map(|string| (&*string.key, string.text.as_str()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn finds_the_texts_that_another_parser_finds(text in text(), choices in speller()) {
        let quoted = Speller::new(choices).quote(&text);
        let read = text_of(&quoted);
        prop_assert_eq!(read.as_str(), &*text);
        let mut expected = Vec::new();
        edit_texts(&text, 1, &mut |text| {
            expected.push(text.to_owned());
            text.to_owned()
        });
        match read.strings() {
            Some(found) if !found.is_empty() => {
                let found: Vec<_> = found.iter().map(|found| found.text.as_str()).collect();
                prop_assert_eq!(found, expected);
            }
            _ => prop_assert_eq!(vec![text], expected),
        }
    }

    #[test]
    fn a_spot_says_its_range(text in text(), choices in speller(), cuts in prop::collection::vec(0.0..1.0_f64, 2)) {
        let quoted = Speller::new(choices).quote(&text);
        let read = text_of(&quoted);
        let strings = read.strings().unwrap_or_default();
        for text in strings.iter().map(|string| &string.text).chain([&read]) {
            let said = text.as_str();
            let mut ends: Vec<_> =
                cuts.iter().map(|cut| said.floor_char_boundary((cut * (said.len() + 1) as f64) as usize)).collect();
            ends.sort_unstable();
            let spot = text.locate(ends[0]..ends[1]);
            let mut raw = quoted[spot.range].to_owned();
            for _ in 0..spot.depth {
                raw = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            }
            prop_assert_eq!(&raw, &said[ends[0]..ends[1]]);
        }
    }
}

#[test]
fn strings_have_the_key_of_their_innermost_object() {
    let inner = r#"{"text": "deep", "list": ["one", ["two"]]}"#;
    let json =
        serde_json::json!(["loose", {"a": "x", "body": inner, "n": 1, "rows": "[\"cell\"]", "e": "[1]"}]);
    let body = serde_json::json!({"messages": [{"role": "tool", "content": json.to_string()}]}).to_string();
    let request = read(Surface::ChatCompletions, &body);
    let text = Arc::new(Text::read(request.parts[0].text.unwrap()).unwrap());
    let strings = text.strings().unwrap();
    assert_eq!(
        said(&strings),
        [
            ("", "loose"),
            ("a", "x"),
            ("text", "deep"),
            ("list", "one"),
            ("list", "two"),
            ("rows", "cell"),
            ("e", "[1]"),
        ]
    );
}

#[test]
fn only_objects_and_arrays_hold_strings() {
    for none in [
        r#""word""#,
        r#""\"word\"""#,
        r#""12""#,
        r#""[\"a\"] and more""#,
        r#""[\"a\"""#,
        r#""""#,
    ] {
        assert!(text_of(none).strings().is_none(), "{none}");
    }
    assert_eq!(text_of(r#""{\"a\":[1]}""#).strings().unwrap().len(), 0);
}

#[test]
fn json_lines_hold_strings_where_they_are_long() {
    let lines = |letters: usize| {
        let line = format!("{{\"a\":\"{}\"}}\n", "b".repeat(letters)).repeat(3);
        let quoted = serde_json::to_string(&line).unwrap();
        text_of(&quoted).strings().map(|strings| strings.len())
    };
    assert_eq!((lines(1000), lines(500)), (Some(3), None));
}

#[test]
fn lone_surrogates_are_no_text() {
    let lone = r#""[\"a\\ud800\", \"b\"]""#;
    assert_eq!(said(&text_of(lone).strings().unwrap()), [("", "b")]);
    let whole = Reader::new(r#""[\"a\ud800\"]""#).string().unwrap();
    assert_eq!(Text::read(whole).unwrap_err(), LoneSurrogate);
}

#[test]
fn keys_that_occur_twice_are_both_read() {
    let text = text_of(r#""{\"a\":\"one\",\"a\":\"two\"}""#);
    assert_eq!(said(&text.strings().unwrap()), [("a", "one"), ("a", "two")]);
}

#[test]
fn four_strings_in_each_other_are_read_and_no_more() {
    let mut text = "end".to_owned();
    for _ in 0..6 {
        text = serde_json::json!([text]).to_string();
    }
    let quoted = serde_json::to_string(&text).unwrap();
    let read = text_of(&quoted);
    let strings = read.strings().unwrap();
    let [deepest] = strings.as_slice() else {
        panic!("{strings:?}")
    };
    assert_eq!(deepest.text.locate(0..1).depth, 4);
    assert_eq!(
        deepest.text.as_str(),
        serde_json::json!([serde_json::json!([serde_json::json!(["end"]).to_string()]).to_string()])
            .to_string()
    );
    let deep = format!("\"{}{}\"", "[".repeat(5000), "]".repeat(5000));
    assert!(text_of(&deep).strings().is_none());
}

#[test]
fn a_table_holds_no_documents() {
    let cells = |n: usize| serde_json::to_string(&serde_json::json!(vec!["x"; n]).to_string()).unwrap();
    assert_eq!(text_of(&cells(20_000)).strings().unwrap().len(), 20_000);
    assert!(text_of(&cells(20_001)).strings().is_none());
}

#[test]
fn many_places_of_a_long_text_are_found_in_linear_time() {
    let row = serde_json::json!({"title": "Row\n\"one\"", "text": "word é ".repeat(20)});
    let json = serde_json::Value::from(vec![row; 9_000]).to_string();
    let quoted = serde_json::to_string(&serde_json::json!({"result": json}).to_string()).unwrap();
    let start = Instant::now();
    let text = text_of(&quoted);
    let strings = text.strings().unwrap();
    let spots: Vec<_> = strings.iter().map(|string| string.text.locate(3..5)).collect();
    assert_eq!((strings.len(), spots.len()), (18_000, 18_000));
    assert_eq!(&quoted[spots[1].range.clone()], "d ");
    // Each from the front of its text would be 18,000 times 2 MiB: half an hour in this build.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn a_range_shares_the_memory_of_the_body_or_the_text() {
    let body = bytes::Bytes::from_static(
        br#"{"messages":[{"role":"user","content":"plain words"},{"content":"tab\tbed"}]}"#,
    );
    let request = crate::request::Request::read(Surface::ChatCompletions, &body).unwrap();
    let [plain, escaped] = [0, 1].map(|at| Text::read(request.parts[at].text.unwrap()).unwrap());
    let shared = plain.share(&body, 6..11);
    assert_eq!(shared, "words");
    assert!(body.as_ptr_range().contains(&shared.as_ptr()));
    let shared = escaped.share(&body, 4..7);
    assert_eq!(shared, "bed");
    assert!(
        escaped
            .as_str()
            .as_bytes()
            .as_ptr_range()
            .contains(&shared.as_ptr())
    );
    assert_eq!(plain.share(&body, 6..99), "");
}
