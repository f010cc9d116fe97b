//! What an answer must be: `response_format`, and calls that `tool_choice` demands.

use liquid_decoder::Constraint;
use serde_json::{Value, json};

use super::error::ApiError;
use super::fields::Fields;

/// Reads `response_format`; none if the answer may be any text.
pub(super) fn of_format(fields: &Fields<'_>) -> Result<Option<Constraint>, ApiError> {
    let Some(format) = fields.object("response_format")? else {
        return Ok(None);
    };
    match format.required_text("type")? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::JsonObject)),
        "json_schema" => {
            let named = format.object("json_schema")?;
            let named = named.ok_or_else(|| format.wrong("json_schema", "is missing"))?;
            let schema = named.get("schema");
            let schema = schema.ok_or_else(|| named.wrong("schema", "is missing; write a JSON schema"))?;
            Ok(Some(Constraint::JsonSchema(schema.clone())))
        }
        other => {
            let remedy = format!("{other:?} is not supported; write text, json_object or json_schema");
            Err(ApiError::unsupported(format.path("type"), remedy))
        }
    }
}

/// Makes the constraint of an answer that must call one of these tools: JSON of its name and its arguments, which is read
/// back as a call.
pub(super) fn of_calls(tools: &[Value]) -> Constraint {
    let call = |tool: &Value| {
        let any = json!({"type": "object"});
        json!({
            "type": "object",
            "properties": {
                "name": {"const": tool.pointer("/function/name")},
                "arguments": tool.pointer("/function/parameters").filter(|schema| schema.is_object()).unwrap_or(&any),
            },
            "required": ["name", "arguments"],
            "additionalProperties": false,
        })
    };
    let calls: Vec<Value> = tools.iter().map(call).collect();
    Constraint::JsonSchema(json!({"anyOf": calls}))
}
