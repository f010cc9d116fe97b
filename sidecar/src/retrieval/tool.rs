//! The tool that the model is offered, in the spelling of each API.

use serde_json::{Value, json};

use crate::api::Wire;

/// The tool's name where no tool of the application's has it.
const NAME: &str = "liquid_retrieve";

/// Derives a name that none of the application's tools has.
pub(super) fn name(taken: &[String]) -> String {
    let is_free = |name: &String| !taken.contains(name);
    let numbered = (2..=taken.len() + 2).map(|number| format!("{NAME}_{number}"));
    std::iter::once(NAME.to_owned())
        .chain(numbered)
        .find(is_free)
        .unwrap_or_else(|| NAME.to_owned())
}

/// Writes the tool's definition.
pub(super) fn definition(wire: Wire, name: &str) -> Value {
    let description = "Reads more of a document of which this conversation holds only an excerpt. An excerpt begins \
                       with [excerpt NAME: ...] or stands as [NAME: passage left out]; NAME is the document. Give a \
                       question to find the passages that answer it, or start and end to read a range of bytes; both \
                       together look for the question within the range. Use it when what you need is not in the \
                       excerpts, before you say that the document does not have it; ask one question a call.";
    let schema = json!({
        "type": "object",
        "properties": {
            "document": {"type": "string", "description": "The document's NAME, as its excerpt has it."},
            "question": {"type": "string", "description": "What to look for in the document."},
            "start": {"type": "integer", "minimum": 0, "description": "The first byte to read."},
            "end": {"type": "integer", "minimum": 1, "description": "The byte after the last one to read."},
        },
        "required": ["document"],
        "additionalProperties": false,
    });
    match wire {
        Wire::Chat | Wire::Completions => json!({"type": "function", "function": {
            "name": name, "description": description, "parameters": schema,
        }}),
        Wire::Responses => json!({
            "type": "function", "name": name, "description": description, "parameters": schema, "strict": false,
        }),
        Wire::Messages => json!({"name": name, "description": description, "input_schema": schema}),
    }
}

/// Reads the name of a tool's definition, or of a call.
pub(super) fn name_of(value: &Value) -> Option<&str> {
    let nested = ["function", "custom"]
        .into_iter()
        .find_map(|field| value.get(field));
    nested.unwrap_or(value).get("name")?.as_str()
}
