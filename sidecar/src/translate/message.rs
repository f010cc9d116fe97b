//! Messages in Anthropic's words: system text apart, tool results inside the user's turns, turns that
//! alternate.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::RequestError;

/// One of `messages`.
#[derive(Debug, Deserialize)]
pub(super) struct OpenAiMessage {
    role: String,
    content: Option<Value>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    id: String,
    function: Option<FunctionCall>,
}

#[derive(Debug, Deserialize)]
struct FunctionCall {
    name: String,
    #[serde(default)]
    arguments: String,
}

/// The conversation as Anthropic takes it.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    /// Blocks of the system prompt.
    pub(super) system: Vec<Value>,
    /// Turns; neighbours of one role are merged.
    pub(super) messages: Vec<Value>,
}

/// Sorts the messages into system blocks and turns.
pub(super) fn conversation(messages: &[OpenAiMessage]) -> Result<Conversation, RequestError> {
    let mut conversation = Conversation::default();
    for message in messages {
        match message.role.as_str() {
            "system" | "developer" => conversation.system.extend(message.blocks()?),
            "user" => conversation.add("user", message.blocks()?),
            "assistant" => conversation.add("assistant", message.assistant()?),
            "tool" => conversation.add("user", vec![message.tool_result()?]),
            _ => {
                let reason = "only the roles system, developer, user, assistant and tool are translated";
                return Err(RequestError::Unsupported {
                    field: "messages",
                    reason,
                });
            }
        }
    }
    Ok(conversation)
}

impl Conversation {
    fn add(&mut self, role: &str, mut blocks: Vec<Value>) {
        if let Some(last) = self.messages.last_mut().filter(|last| last["role"] == role)
            && let Some(content) = last["content"].as_array_mut()
        {
            content.append(&mut blocks);
        } else if !blocks.is_empty() {
            self.messages.push(json!({"role": role, "content": blocks}));
        }
    }
}

impl OpenAiMessage {
    fn blocks(&self) -> Result<Vec<Value>, RequestError> {
        match &self.content {
            None | Some(Value::Null) => Ok(Vec::new()),
            // Anthropic refuses empty text blocks.
            Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![json!({"type": "text", "text": text})]),
            Some(Value::Array(parts)) => {
                let blocks: Result<Vec<Option<Value>>, RequestError> = parts.iter().map(block).collect();
                Ok(blocks?.into_iter().flatten().collect())
            }
            Some(_) => Err(RequestError::Body(
                "messages: content is neither text nor a list of parts".into(),
            )),
        }
    }

    fn assistant(&self) -> Result<Vec<Value>, RequestError> {
        let mut blocks = self.blocks()?;
        for call in self.tool_calls.iter().flatten() {
            let reason = "only calls of functions are translated";
            let unsupported = RequestError::Unsupported {
                field: "messages.tool_calls",
                reason,
            };
            let function = call.function.as_ref().ok_or(unsupported)?;
            let input = match function.arguments.trim() {
                "" => json!({}),
                arguments => serde_json::from_str(arguments)
                    .map_err(|_| RequestError::Body("messages: tool_calls: arguments is not JSON".into()))?,
            };
            blocks.push(json!({"type": "tool_use", "id": call.id, "name": function.name, "input": input}));
        }
        Ok(blocks)
    }

    fn tool_result(&self) -> Result<Value, RequestError> {
        let missing = || RequestError::Body("messages: a tool message without tool_call_id".into());
        let id = self.tool_call_id.as_ref().ok_or_else(missing)?;
        Ok(json!({"type": "tool_result", "tool_use_id": id, "content": self.blocks()?}))
    }
}

/// A content part as a block; `None` for empty text.
fn block(part: &Value) -> Result<Option<Value>, RequestError> {
    let field = |name: &str| part.get(name).and_then(Value::as_str);
    let mut block = match field("type") {
        Some("text" | "refusal") => match field("text").or(field("refusal")) {
            None | Some("") => return Ok(None),
            Some(text) => json!({"type": "text", "text": text}),
        },
        Some("image_url") => {
            let url = part.pointer("/image_url/url").and_then(Value::as_str);
            let url = url.ok_or_else(|| RequestError::Body("messages: image_url without url".into()))?;
            json!({"type": "image", "source": source(url)?})
        }
        Some("file") => {
            let data = part.pointer("/file/file_data").and_then(Value::as_str);
            let reason = "a file is translated only with its content in file_data, as a data URL";
            let data = data.ok_or(RequestError::Unsupported {
                field: "messages.content.file",
                reason,
            })?;
            json!({"type": "document", "source": source(data)?})
        }
        _ => {
            let reason = "only parts of type text, image_url and file are translated";
            return Err(RequestError::Unsupported {
                field: "messages.content",
                reason,
            });
        }
    };
    if let (Some(marker), Some(block)) = (part.get("cache_control"), block.as_object_mut()) {
        block.insert("cache_control".into(), marker.clone());
    }
    Ok(Some(block))
}

/// A URL, or the content of a data URL (RFC 2397).
fn source(url: &str) -> Result<Value, RequestError> {
    let Some(data) = url.strip_prefix("data:") else {
        return Ok(json!({"type": "url", "url": url}));
    };
    let (media_type, data) = data
        .split_once(";base64,")
        .ok_or_else(|| RequestError::Body("messages: a data URL that is not base64".into()))?;
    let source: Map<String, Value> = [("type", "base64"), ("media_type", media_type), ("data", data)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    Ok(source.into())
}
