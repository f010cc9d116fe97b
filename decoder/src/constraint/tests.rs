//! Whatever a model says, here one of random weights, its constrained answer is what it must be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::path::Path;

use burn::tensor::Device;
use serde_json::json;

use super::*;
use crate::generate::{Cancellation, Event, FinishReason, GenerateError, Generation, Request};
use crate::model::Model;
use crate::sample::Sampling;

/// A model that writes letters, digits and JSON's signs.
struct Fixture {
    model: Model,
    tokenizer: Tokenizer,
}

impl Fixture {
    fn new() -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let folder = tempfile::tempdir().unwrap();
        for file in ["tokenizer.json", "llama/config.json"] {
            let name = Path::new(file).file_name().unwrap();
            std::fs::copy(fixtures.join(file), folder.path().join(name)).unwrap();
        }
        Self {
            model: Model::load(&fixtures.join("llama"), &Device::flex()).unwrap(),
            tokenizer: Tokenizer::read(folder.path()).unwrap(),
        }
    }

    fn request(&self, constraint: Constraint, seed: u64) -> Request {
        Request {
            prompt: vec![3 + (seed % 40) as u32, 5],
            max_tokens: 200,
            sampling: Sampling {
                temperature: [0.0, 0.7, 1.0, 3.0][seed as usize % 4],
                top_p: 0.95,
                frequency_penalty: (seed % 3) as f32,
                seed: Some(seed),
                logprobs: Some(1),
                ..Sampling::default()
            },
            constraint: Some(constraint),
            ..Request::default()
        }
    }

    fn answer(&self, request: Request) -> (String, FinishReason) {
        let mut text = String::new();
        let events = Generation::new(&self.model, &self.tokenizer, request, Cancellation::default());
        for event in events.unwrap() {
            match event.unwrap() {
                Event::Token { text: more, .. } => text.push_str(&more),
                Event::Finished {
                    text: more, reason, ..
                } => {
                    text.push_str(&more);
                    return (text, reason);
                }
            }
        }
        panic!("no end");
    }

    fn refusal(&self, constraint: Constraint) -> ConstraintError {
        let request = self.request(constraint, 0);
        let error = Generation::new(&self.model, &self.tokenizer, request, Cancellation::default());
        match error.err() {
            Some(GenerateError::Constraint(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_answer_of_a_schema_is_json_of_that_schema_without_white_space() {
    let schema = json!({
        "type": "object",
        "properties": {
            "fact": {"type": "string", "maxLength": 12},
            "kind": {"enum": ["date", "sum"]},
            "numbers": {"type": "array", "items": {"$ref": "#/$defs/number"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["fact", "kind", "numbers"],
        "additionalProperties": false,
        "$defs": {"number": {"type": "integer", "minimum": 0, "maximum": 999}},
        "x-guidance": {"whitespace_flexible": true},
    });
    let fixture = Fixture::new();
    for seed in 0..60 {
        let request = fixture.request(Constraint::JsonSchema(schema.clone()), seed);
        let (text, reason) = fixture.answer(request);
        assert_eq!(reason, FinishReason::Stop, "{text}");
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(value.as_object().unwrap().len(), 3, "{text}");
        assert!(value["fact"].as_str().unwrap().chars().count() <= 12, "{text}");
        assert!(
            ["date", "sum"].contains(&value["kind"].as_str().unwrap()),
            "{text}"
        );
        let numbers = value["numbers"].as_array().unwrap();
        assert!((1..=3).contains(&numbers.len()), "{text}");
        assert!(
            numbers.iter().all(|number| number.as_u64().unwrap() <= 999),
            "{text}"
        );
        assert!(!text.contains(char::is_whitespace), "{text}");
    }
}

#[test]
fn an_answer_that_must_be_an_object_is_one_or_ends_by_its_length() {
    let fixture = Fixture::new();
    let mut whole = 0;
    for seed in 0..60 {
        let (text, reason) = fixture.answer(fixture.request(Constraint::JsonObject, seed));
        assert!(text.starts_with('{'), "{text}");
        match reason {
            FinishReason::Stop => {
                let value: Value =
                    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert!(value.is_object(), "{text}");
                whole += 1;
            }
            // Each token is a character here.
            FinishReason::Length => assert_eq!(text.len(), 200, "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(whole > 0, "none was whole");
}

#[test]
fn an_answer_of_an_expression_is_matched_by_it() {
    let fixture = Fixture::new();
    for seed in 0..30 {
        let constraint = Constraint::Regex("(yes|no):[0-9]{4}-[0-9]{2}(,[a-c]{3}){1,2}".to_owned());
        let (text, reason) = fixture.answer(fixture.request(constraint, seed));
        assert_eq!(reason, FinishReason::Stop, "{text}");
        let (word, rest) = text.split_once(':').unwrap();
        assert!(["yes", "no"].contains(&word), "{text}");
        let (date, letters) = rest.split_once(',').unwrap();
        assert_eq!(date.len(), 7, "{text}");
        assert!(
            date.split('-')
                .all(|part| part.bytes().all(|byte| byte.is_ascii_digit())),
            "{text}"
        );
        for part in letters.split(',') {
            assert!(
                part.len() == 3 && part.bytes().all(|byte| b"abc".contains(&byte)),
                "{text}"
            );
        }
    }
}

#[test]
fn what_cannot_be_met_or_read_is_refused_by_kind() {
    let fixture = Fixture::new();
    let schema = |value: Value| Constraint::JsonSchema(value);
    for constraint in [
        Constraint::Regex("a(".to_owned()),
        schema(json!({"type": "string", "pattern": "("})),
        schema(json!({"type": "no such type"})),
        schema(json!({"$ref": "https://example.com/schema.json"})),
        schema(json!(true)),
    ] {
        let error = fixture.refusal(constraint.clone());
        assert!(
            matches!(error, ConstraintError::Malformed { .. }),
            "{constraint:?}: {error}"
        );
    }
    // The vocabulary has no such character.
    let error = fixture.refusal(Constraint::Regex("é".to_owned()));
    assert_eq!(error, ConstraintError::Unmeetable);
    let error = fixture.refusal(schema(json!({"type": "integer", "minimum": 5, "maximum": 4})));
    assert!(
        matches!(
            error,
            ConstraintError::Malformed { .. } | ConstraintError::Unmeetable
        ),
        "{error}"
    );
    let error = fixture.refusal(Constraint::Regex("a".repeat(MOST_BYTES + 1)));
    assert!(matches!(error, ConstraintError::TooLarge { .. }), "{error}");
    let mut request = fixture.request(Constraint::JsonObject, 0);
    request.ignore_end = true;
    let error = Generation::new(
        &fixture.model,
        &fixture.tokenizer,
        request,
        Cancellation::default(),
    );
    let error = error.err().unwrap().to_string();
    assert!(error.contains("ignore_end = true"), "{error}");
}
