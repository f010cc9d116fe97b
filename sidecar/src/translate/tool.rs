//! Tools, tool choice and response format in Anthropic's words.

use serde_json::{Map, Value, json};

use super::RequestError;
use super::alias::ToolNames;
use super::schema::InputSchema;
use super::text::is_blank;

/// `tool_choice`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

impl ToolChoice {
    pub(super) fn read(value: &Value) -> Result<Self, RequestError> {
        match value.as_str() {
            Some("auto") => return Ok(Self::Auto),
            Some("none") => return Ok(Self::None),
            Some("required") => return Ok(Self::Required),
            _ => {}
        }
        let name = value.pointer("/function/name").and_then(Value::as_str);
        let reason = "neither auto, none, required nor a function by name; other choices are not translated";
        name.map(|name| Self::Named(name.into()))
            .ok_or(RequestError::Unsupported {
                field: "tool_choice",
                reason,
            })
    }
}

/// Functions as Anthropic's tools, each under a name of its own.
pub(super) fn tools(tools: &[Value], names: &mut ToolNames) -> Result<Vec<Value>, RequestError> {
    let mut translated: Vec<Value> = Vec::with_capacity(tools.len());
    for tool in tools {
        let tool = translate(tool, names)?;
        match translated.iter().find(|known| known["name"] == tool["name"]) {
            None => translated.push(tool),
            Some(known) if *known == tool => {}
            Some(_) => {
                let reason = format!("two different functions are called {}; rename one", tool["name"]);
                return Err(RequestError::invalid("tools", reason));
            }
        }
    }
    Ok(translated)
}

fn translate(tool: &Value, names: &mut ToolNames) -> Result<Value, RequestError> {
    let is_function = tool.get("type").is_none_or(|kind| kind == "function");
    let function = tool
        .get("function")
        .filter(|function| is_function && function.is_object());
    let function = function.ok_or(RequestError::Unsupported {
        field: "tools",
        reason: "only tools of type function are translated",
    })?;
    let name = function
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| RequestError::invalid("tools", "a function without a name"))?;
    let description = function.get("description").and_then(Value::as_str);
    let schema = InputSchema::translate(function.get("parameters"))
        .map_err(|reason| RequestError::invalid("tools", format!("the schema of {name:?} {reason}")))?;
    Ok(tool_object(&names.translate(name), description, schema))
}

fn tool_object(name: &str, description: Option<&str>, schema: InputSchema) -> Value {
    let mut tool = Map::new();
    tool.insert("name".into(), name.into());
    let description = description.filter(|text| !is_blank(text)).map(str::to_owned);
    let lines: Vec<String> = description.into_iter().chain(schema.note).collect();
    if !lines.is_empty() {
        tool.insert("description".into(), lines.join("\n\n").into());
    }
    tool.insert("input_schema".into(), schema.schema);
    tool.into()
}

/// Declares the tools of calls in the conversation where the request declares none: Anthropic refuses calls
/// without. They cannot be called again, as at OpenAI.
pub(super) fn past_tools(names: &ToolNames) -> Vec<Value> {
    let tool = |name: &String| json!({"name": name, "description": "A tool of earlier turns.", "input_schema": {"type": "object"}});
    names.sent().iter().map(tool).collect()
}

/// The choice, where it says more than Anthropic's default.
pub(super) fn choice(
    choice: Option<ToolChoice>,
    one_at_a_time: bool,
    names: &mut ToolNames,
) -> Option<Value> {
    let mut value = match choice {
        None if !one_at_a_time => return None,
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        None | Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": names.translate(&name)}),
    };
    if one_at_a_time {
        value["disable_parallel_tool_use"] = true.into();
    }
    Some(value)
}

/// The way in which the wanted format is asked for.
#[derive(Debug)]
pub(super) enum Format {
    Text,
    /// The answer is the input of a tool that must be called.
    Tool {
        name: String,
        tool: Value,
    },
    Instruction(String),
}

impl Format {
    /// Reads `response_format`.
    pub(super) fn read(
        format: Option<&Value>,
        has_tools: bool,
        names: &mut ToolNames,
    ) -> Result<Self, RequestError> {
        let Some(format) = format else {
            return Ok(Self::Text);
        };
        let json_schema = format.get("json_schema").unwrap_or(&Value::Null);
        let schema = json_schema.get("schema").filter(|schema| !schema.is_null());
        match (format.get("type").and_then(Value::as_str), schema) {
            (Some("text"), _) => Ok(Self::Text),
            (Some("json_schema"), Some(schema)) if !has_tools && schema["type"] == "object" => {
                let text = |name: &str| {
                    json_schema
                        .get(name)
                        .and_then(Value::as_str)
                        .filter(|text| !is_blank(text))
                };
                let name = names.translate(text("name").unwrap_or("answer"));
                let description = text("description").unwrap_or("Gives the answer.");
                let schema = InputSchema::translate(Some(schema)).map_err(|reason| {
                    RequestError::invalid("response_format", format!("its schema {reason}"))
                })?;
                let tool = tool_object(&name, Some(description), schema);
                Ok(Self::Tool { name, tool })
            }
            (Some("json_schema"), Some(schema)) => Ok(Self::Instruction(format!(
                "Answer with JSON alone, without a code fence, that is valid against this JSON schema: {schema}"
            ))),
            (Some("json_object" | "json_schema"), _) => Ok(Self::Instruction(
                "Answer with one JSON object alone, without a code fence.".into(),
            )),
            _ => Err(RequestError::Unsupported {
                field: "response_format",
                reason: "only the types text, json_object and json_schema are translated",
            }),
        }
    }

    pub(super) fn instruction(&self) -> Option<&str> {
        match self {
            Self::Instruction(text) => Some(text),
            Self::Text | Self::Tool { .. } => None,
        }
    }

    pub(super) fn tool_name(&self) -> Option<String> {
        match self {
            Self::Tool { name, .. } => Some(name.clone()),
            Self::Text | Self::Instruction(_) => None,
        }
    }

    /// The tool and the choice that forces it.
    pub(super) fn tool(&self) -> Option<(Value, Value)> {
        match self {
            Self::Tool { name, tool } => Some((tool.clone(), json!({"type": "tool", "name": name}))),
            Self::Text | Self::Instruction(_) => None,
        }
    }
}
