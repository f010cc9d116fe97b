//! Example values for JSON schemas: what the mock upstream answers when a client asks for structured output
//! or offers it a tool.

use serde_json::{Map, Value, json};

/// Returns a value that the schema accepts, the same one every time. Covers what SDKs generate from typed models
/// (objects, arrays, enums, unions, `$ref` into `$defs`); other keywords are ignored.
pub(crate) fn example(schema: &Value) -> Value {
    value(schema, schema, 0)
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > 16 {
        return Value::Null;
    }
    if let Some(fixed) = schema.get("const").or_else(|| schema.get("enum")?.get(0)) {
        return fixed.clone();
    }
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return found.map_or(Value::Null, |found| value(found, root, depth + 1));
    }
    for union in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema.get(union).and_then(|options| options.get(0)) {
            return value(first, root, depth + 1);
        }
    }
    match kind(schema) {
        "object" => object(schema, root, depth),
        "array" => json!([schema
            .get("items")
            .map_or(json!("text"), |items| value(items, root, depth + 1))]),
        "integer" => json!(7),
        "number" => json!(7.5),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => json!("text"),
    }
}

fn kind(schema: &Value) -> &str {
    let kind = schema.get("type").map(|kind| kind.get(0).unwrap_or(kind));
    match kind.and_then(Value::as_str) {
        Some(kind) => kind,
        None if schema.get("properties").is_some() => "object",
        None => "string",
    }
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fields = properties.into_iter().flatten();
    Value::Object(
        fields
            .map(|(name, field)| (name.clone(), value(field, root, depth + 1)))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_references_and_unions() {
        let schema = json!({
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "unit": {"enum": ["celsius", "fahrenheit"]},
                "days": {"type": "array", "items": {"$ref": "#/$defs/Day"}},
                "note": {"anyOf": [{"type": "null"}, {"type": "string"}]}
            },
            "$defs": {"Day": {"type": "object", "properties": {"high": {"type": ["integer", "null"]}}}}
        });
        let expected = json!({"city": "text", "unit": "celsius", "days": [{"high": 7}], "note": null});
        assert_eq!(example(&schema), expected);
    }

    #[test]
    fn a_schema_that_contains_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(example(&schema).is_object());
    }
}
