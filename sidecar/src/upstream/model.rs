//! Replaces the one JSON value that names the model; every other byte stays.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Returns the body with `model` set to the given name: replaced wherever it stands at the top level, added
/// as the first member where it does not. `None` when the body is not a JSON object.
pub fn with_model(body: &Bytes, model: &str) -> Option<Bytes> {
    let places = model_values(body)?;
    let name = serde_json::to_string(model).ok()?;
    let mut out = Vec::with_capacity(body.len() + name.len() + 16);
    let mut copied = replace(body, &places, &name, &mut out);
    if places.is_empty() {
        let brace = body.iter().position(|byte| *byte == b'{')? + 1;
        let empty = body[brace..].trim_ascii_start().starts_with(b"}");
        out.extend_from_slice(&body[..brace]);
        out.extend_from_slice(format!("\"model\":{name}{}", if empty { "" } else { "," }).as_bytes());
        copied = brace;
    }
    out.extend_from_slice(&body[copied..]);
    Some(out.into())
}

/// Returns the body with `null` in place of each `model` at the top level, which leaves the choice to the server. `None`
/// when the body is not a JSON object.
pub fn without_model(body: &Bytes) -> Option<Bytes> {
    let places = model_values(body)?;
    if places.is_empty() {
        return Some(body.clone());
    }
    let mut out = Vec::with_capacity(body.len());
    let copied = replace(body, &places, "null", &mut out);
    out.extend_from_slice(&body[copied..]);
    Some(out.into())
}

/// Writes the body up to the end of the last place, with `value` at each place; returns where that is.
fn replace(body: &[u8], places: &[Range<usize>], value: &str, out: &mut Vec<u8>) -> usize {
    let mut copied = 0;
    for place in places {
        out.extend_from_slice(&body[copied..place.start]);
        out.extend_from_slice(value.as_bytes());
        copied = place.end;
    }
    copied
}

fn model_values(body: &[u8]) -> Option<Vec<Range<usize>>> {
    let base = body.as_ptr() as usize;
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let places = deserializer.deserialize_map(ModelValues { base }).ok()?;
    deserializer.end().ok()?;
    Some(places)
}

struct ModelValues {
    base: usize,
}

impl<'de> Visitor<'de> for ModelValues {
    type Value = Vec<Range<usize>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut places = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "model" {
                let value: &'de RawValue = map.next_value()?;
                let start = value.get().as_ptr() as usize - self.base;
                places.push(start..start + value.get().len());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    fn set(body: &'static str) -> Option<String> {
        let body = with_model(&Bytes::from_static(body.as_bytes()), "m/\"2\"")?;
        Some(String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn replaces_only_the_model() {
        let body =
            r#" {"a": 1.0, "mod\u0065l" : "old" ,"x":{"model":"kept"},"n":12345678901234567890, "a":2} "#;
        let want =
            r#" {"a": 1.0, "mod\u0065l" : "m/\"2\"" ,"x":{"model":"kept"},"n":12345678901234567890, "a":2} "#;
        assert_eq!(set(body).unwrap(), want);
        assert_eq!(
            set(r#"{"model":1,"model":null}"#).unwrap(),
            r#"{"model":"m/\"2\"","model":"m/\"2\""}"#
        );
    }

    #[test]
    fn leaves_the_model_to_the_server() {
        let unset = |body: &str| without_model(&Bytes::copy_from_slice(body.as_bytes()));
        let body = r#"{"a": 1.0, "mod\u0065l" : "old" ,"x":{"model":"kept"}}"#;
        assert_eq!(unset(body).unwrap(), body.replace("\"old\"", "null"));
        assert_eq!(unset("{ \"a\":1}").unwrap(), "{ \"a\":1}");
        assert_eq!(unset("[]"), None);
    }

    #[test]
    fn adds_a_missing_model() {
        assert_eq!(set("{}").unwrap(), r#"{"model":"m/\"2\""}"#);
        assert_eq!(set("{ \"a\":1}").unwrap(), r#"{"model":"m/\"2\"", "a":1}"#);
    }

    #[test]
    fn leaves_what_is_not_an_object() {
        for body in ["[]", "1", "{", "", "{}x"] {
            assert_eq!(set(body), None, "{body}");
        }
    }
}
