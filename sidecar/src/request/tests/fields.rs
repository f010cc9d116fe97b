//! What the answer must have: by a schema, or by the one tool that must be called.

use serde_json::{Value, json};

use super::read;
use crate::api::Surface;

/// The fields that a body demands, as `name: description`.
fn fields(surface: Surface, body: &Value) -> Vec<String> {
    let body = body.to_string();
    let fields = read(surface, &body).fields.into_iter();
    fields
        .map(|field| format!("{}: {}", field.name, field.description))
        .collect()
}

/// The fields of a schema.
fn fields_of(schema: Value) -> Vec<String> {
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    fields(
        Surface::ChatCompletions,
        &json!({"messages": [], "response_format": format}),
    )
}

fn due() -> Value {
    json!({"type": "object", "properties": {"due": {"type": "string", "description": "When it is due"}}})
}

const DUE: &str = "due: When it is due";

#[test]
fn reads_the_schema_of_each_surface() {
    let format = json!({"type": "json_schema", "name": "n", "description": "A bill", "schema": due()});
    let hybrid = json!({"large_document": "d", "final_user_prompt": "p",
        "response_format": {"type": "json_schema", "json_schema": format}});
    for (surface, body) in [
        (
            Surface::ChatCompletions,
            json!({"response_format": {"type": "json_schema", "json_schema": format}, "messages": []}),
        ),
        (
            Surface::Responses,
            json!({"text": {"format": format, "verbosity": "low"}}),
        ),
        (Surface::Messages, json!({"output_format": format})),
        (
            Surface::Messages,
            json!({"output_config": {"effort": "low", "format": format}}),
        ),
        (Surface::HybridChat, hybrid),
    ] {
        assert_eq!(fields(surface, &body), [": A bill", DUE], "{body}");
    }
    for body in [
        json!({"response_format": {"type": "text"}}),
        json!({"response_format": "json", "text": null, "output_config": {}}),
        json!({"text": {"format": {"type": "json_schema", "schema": "none"}}}),
    ] {
        assert_eq!(fields(Surface::ChatCompletions, &body), [""; 0], "{body}");
    }
}

#[test]
fn reads_the_one_tool_that_must_be_called() {
    let chat = |name: &str| json!({"type": "function", "function": {"name": name, "description": "Files a bill", "parameters": due()}});
    let responses = |name: &str| json!({"type": "function", "name": name, "description": "Files a bill", "parameters": due()});
    let messages = |name: &str| json!({"name": name, "description": "Files a bill", "input_schema": due()});
    let function = |name: &str| json!({"name": name, "description": "Files a bill", "parameters": due()});
    let named = json!({"type": "function", "function": {"name": "b"}});
    let flat = json!({"type": "function", "name": "b"});
    let allowed = json!({"mode": "required", "tools": [flat]});
    let mut allowed_flat = allowed.clone();
    allowed_flat["type"] = json!("allowed_tools");
    let other = json!({"type": "web_search"});
    for body in [
        json!({"tools": [other, chat("b")], "tool_choice": named}),
        json!({"tool_choice": named, "tools": [other, chat("b")]}),
        json!({"tool_choice": "required", "tools": [chat("a")]}),
        json!({"tools": [other, chat("b")], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}}),
        json!({"tools": [other, responses("b")], "tool_choice": flat}),
        json!({"tools": [other, responses("b")], "tool_choice": allowed_flat}),
        json!({"tools": [messages("a"), messages("b")], "tool_choice": {"type": "tool", "name": "b"}}),
        json!({"tools": [messages("a")], "tool_choice": {"type": "any"}}),
        json!({"functions": [function("a"), function("b")], "function_call": {"name": "b"}}),
    ] {
        assert_eq!(
            fields(Surface::ChatCompletions, &body),
            [": Files a bill", DUE],
            "{body}"
        );
    }
    for body in [
        json!({"tools": [chat("b")]}),
        json!({"tools": [chat("b")], "tool_choice": "auto"}),
        json!({"tools": [chat("b")], "tool_choice": {"type": "auto"}}),
        json!({"tools": [chat("b")], "tool_choice": "none"}),
        json!({"tools": [chat("a"), chat("b")], "tool_choice": "required"}),
        json!({"tools": [messages("a"), messages("b")], "tool_choice": {"type": "any"}}),
        json!({"tools": [chat("b")], "tool_choice": {"type": "function", "function": {"name": "c"}}}),
        json!({"tools": [chat("b")], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [named]}}}),
        json!({"functions": [function("b")], "function_call": "auto"}),
    ] {
        assert_eq!(fields(Surface::ChatCompletions, &body), [""; 0], "{body}");
    }
    let both = json!({"tools": [chat("b")], "tool_choice": "required",
        "text": {"format": {"schema": {"properties": {"total": {}}}}}});
    assert_eq!(fields(Surface::Responses, &both), ["total: "]);
}

#[test]
fn walks_objects_lists_references_and_alternatives() {
    let schema = json!({
        "description": "A lease",
        "title": "Lease",
        "properties": {
            "title": {"title": "Title", "type": "string"},
            "parties": {"type": "array", "description": "All who sign", "items": {"$ref": "#/$defs/Party"}},
            "rent": {"anyOf": [{"$ref": "#/definitions/Money"}, {"type": "null"}], "description": "Rent a month"},
            "use": {"type": "string", "enum": ["living", "trade"], "description": "What it is let for"},
            "floor": {"enum": [1, 2]},
            "kind": {"const": "lease"},
            "terms": {"allOf": [{"$ref": "#/$defs/Terms"}], "default": {}},
            "notes": {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}], "title": "Notes"},
            "extra": {"additionalProperties": {"properties": {"value": {"description": "Any more"}}}},
        },
        "$defs": {
            "Party": {"description": "Somebody who signs", "properties": {"name": {"description": "Full name"}, "of": {"$ref": "#/$defs/Party"}}},
            "Terms": {"properties": {"notice": {"description": "Days of notice"}}},
        },
        "definitions": {"Money": {"properties": {"amount": {"title": "Amount"}}}},
    });
    assert_eq!(
        fields_of(schema),
        [
            ": A lease",
            "title: Title",
            "parties: All who sign; Somebody who signs",
            "parties.name: Full name",
            "parties.of: ",
            "rent: Rent a month",
            "rent.amount: Amount",
            "use: What it is let for (living, trade)",
            "floor: 1, 2",
            "terms.notice: Days of notice",
            "notes: Notes",
            "extra.value: Any more",
        ]
    );
}

#[test]
fn many_or_long_values_are_not_listed() {
    let values: Vec<_> = (0..9).map(|at| format!("v{at}")).collect();
    let long = vec!["x".repeat(100), "y".repeat(100)];
    let schema = json!({"properties": {"a": {"enum": values, "description": "A"}, "b": {"enum": long}}});
    assert_eq!(fields_of(schema), ["a: A", "b: "]);
}

#[test]
fn a_schema_is_read_within_bounds() {
    let many: serde_json::Map<_, _> = (0..100).map(|at| (format!("f{at}"), json!({}))).collect();
    assert_eq!(fields_of(json!({"properties": many})).len(), 64);
    let mut deep = json!({"description": "leaf"});
    for _ in 0..8 {
        deep = json!({"properties": {"a": deep}});
    }
    assert_eq!(fields_of(deep.clone()), ["a.a.a.a.a.a.a.a: leaf"]);
    assert_eq!(fields_of(json!({"properties": {"a": deep}})), [""; 0]);
    // References that double at every step.
    let mut defs = serde_json::Map::new();
    for at in 0..30 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs.insert(format!("d{at}"), json!({"allOf": [next, next]}));
    }
    assert_eq!(fields_of(json!({"$ref": "#/$defs/d0", "$defs": defs})), [""; 0]);
    // Large objects and lists, over and over.
    let wide: serde_json::Map<_, _> = (0..5_000).map(|at| (format!("f{at}"), json!({}))).collect();
    let again: Vec<_> = (0..5_000).map(|_| json!({"$ref": "#/$defs/w"})).collect();
    let schema = json!({"allOf": again, "$defs": {"w": {"properties": {"a": {"properties": wide}}}}});
    assert_eq!(fields_of(schema).len(), 64);
    let none = vec![json!({}); 20_000];
    let again: Vec<_> = (0..5_000).map(|_| json!({"$ref": "#/$defs/n"})).collect();
    assert_eq!(
        fields_of(json!({"allOf": again, "$defs": {"n": {"anyOf": none}}})),
        [""; 0]
    );
    // Loops.
    for schema in [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$ref": "#/nowhere"}),
    ] {
        assert_eq!(fields_of(schema), [""; 0]);
    }
    let long = json!({"properties": {"a": {"description": "é".repeat(130 << 10)}}});
    assert_eq!(fields_of(long), [""; 0]);
    let clipped = json!({"properties": {"a": {"description": "é".repeat(5 << 10)}}});
    assert_eq!(fields_of(clipped)[0].len(), "a: ".len() + (4 << 10));
}
