//! Tools, tool choice and response format in Anthropic's words.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::RequestError;

/// One of `tools`.
#[derive(Debug, Deserialize)]
pub(super) struct OpenAiTool {
    #[serde(rename = "type")]
    kind: String,
    function: Option<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    description: Option<String>,
    parameters: Option<Value>,
}

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

/// Functions as Anthropic's tools.
pub(super) fn tools(tools: &[OpenAiTool]) -> Result<Vec<Value>, RequestError> {
    tools.iter().map(OpenAiTool::translate).collect()
}

impl OpenAiTool {
    fn translate(&self) -> Result<Value, RequestError> {
        let function = self.function.as_ref().filter(|_| self.kind == "function");
        let reason = "only tools of type function are translated";
        let function = function.ok_or(RequestError::Unsupported {
            field: "tools",
            reason,
        })?;
        let mut tool = Map::new();
        tool.insert("name".into(), function.name.clone().into());
        if let Some(description) = &function.description {
            tool.insert("description".into(), description.clone().into());
        }
        let none = || json!({"type": "object", "properties": {}});
        tool.insert(
            "input_schema".into(),
            function.parameters.clone().unwrap_or_else(none),
        );
        Ok(tool.into())
    }
}

/// The choice, where it says more than Anthropic's default.
pub(super) fn choice(choice: Option<ToolChoice>, parallel: Option<bool>) -> Option<Value> {
    let one_at_a_time = parallel == Some(false);
    let mut value = match choice {
        None if !one_at_a_time => return None,
        Some(ToolChoice::None) => return Some(json!({"type": "none"})),
        None | Some(ToolChoice::Auto) => json!({"type": "auto"}),
        Some(ToolChoice::Required) => json!({"type": "any"}),
        Some(ToolChoice::Named(name)) => json!({"type": "tool", "name": name}),
    };
    if one_at_a_time {
        value["disable_parallel_tool_use"] = true.into();
    }
    Some(value)
}

/// `response_format`.
#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    kind: String,
    json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
struct JsonSchema {
    name: Option<String>,
    description: Option<String>,
    schema: Option<Value>,
}

/// The way in which the wanted format is asked for.
#[derive(Debug)]
pub(super) enum Format {
    Text,
    /// The answer is the input of a tool that must be called.
    Tool {
        name: String,
        description: String,
        schema: Value,
    },
    Instruction(String),
}

impl Format {
    pub(super) fn new(format: Option<&ResponseFormat>, has_tools: bool) -> Self {
        let Some(format) = format else { return Self::Text };
        let schema = format
            .json_schema
            .as_ref()
            .and_then(|format| Some((format, format.schema.as_ref()?)));
        match (format.kind.as_str(), schema) {
            ("json_schema", Some((format, schema))) if !has_tools && schema["type"] == "object" => {
                Self::Tool {
                    name: format.name.clone().unwrap_or_else(|| "answer".into()),
                    description: format
                        .description
                        .clone()
                        .unwrap_or_else(|| "Gives the answer.".into()),
                    schema: schema.clone(),
                }
            }
            ("json_schema", Some((_, schema))) => Self::Instruction(format!(
                "Answer with JSON alone, without a code fence, that is valid against this JSON schema: {schema}"
            )),
            ("json_object" | "json_schema", _) => {
                Self::Instruction("Answer with one JSON object alone, without a code fence.".into())
            }
            _ => Self::Text,
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
            Self::Tool {
                name,
                description,
                schema,
            } => Some((
                json!({"name": name, "description": description, "input_schema": schema}),
                json!({"type": "tool", "name": name}),
            )),
            Self::Text | Self::Instruction(_) => None,
        }
    }
}
