//! The JSON reader, against serde_json.

use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::request::Reader;

fn is_json(text: &str) -> bool {
    let mut reader = Reader::new(text);
    reader.skip().is_ok() && reader.finish().is_ok()
}

/// Texts that are nearly JSON: pieces of JSON in any order.
pub(super) fn nearly_json() -> impl Strategy<Value = String> {
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

pub(super) fn json() -> impl Strategy<Value = Value> {
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

/// As Python's `json.dumps` writes it.
pub(super) fn in_ascii(text: &str) -> String {
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
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
}

#[test]
fn nests_128_deep_and_no_deeper() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(is_json(&nested(128)));
    assert!(!is_json(&nested(129)));
    assert!(!is_json(&"[".repeat(5_000_000)));
}
