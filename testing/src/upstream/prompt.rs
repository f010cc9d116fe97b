//! What the surfaces read from a request to make a checkable answer: how much user text there was, which tool
//! or schema is asked for, and how the answer splits into tokens.

use serde_json::{Value, json};

use crate::Recorded;
use crate::schema::example;

/// Seconds since the epoch in every answer: 2026-01-01T00:00:00Z.
pub(super) const CREATED: u64 = 1_767_225_600;

/// The text every surface answers with: it proves which bytes arrived.
pub(super) fn echo(request: &Recorded, user_text: &str) -> String {
    let characters = user_text.chars().count();
    format!(
        "I read {characters} characters of user text in a body with sha256 {}.",
        request.sha256()
    )
}

/// Returns the text of a `content`: a string, or the `text` of its parts.
pub(super) fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => String::new(),
    }
}

/// Returns all text with the role `user` in a list of messages or input items.
pub(super) fn user_text(messages: &Value) -> String {
    let all = messages.as_array().into_iter().flatten();
    all.filter(|message| message.get("role").is_some_and(|role| role == "user"))
        .map(|message| text(message.get("content").unwrap_or(&Value::Null)))
        .collect()
}

/// Counts tokens, about four characters to each, as providers say of English.
pub(super) fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(4)
}

/// Splits a text into the pieces in which it is streamed: words with the space after them.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// A tool call that the request provokes.
pub(super) struct ToolCall {
    pub(super) name: String,
    pub(super) arguments: Value,
}

/// Returns a call of the first offered tool, or of the one that `tool_choice` names, with an example of its parameters.
/// Nothing is called once a tool's result is in the conversation, or when `tool_choice` is `none`.
pub(super) fn tool_call(body: &Value, answered: bool) -> Option<ToolCall> {
    let choice = body.get("tool_choice").unwrap_or(&Value::Null);
    let forbidden = choice == "none" || choice.get("type").is_some_and(|kind| kind == "none");
    if answered || forbidden {
        return None;
    }
    let wanted = name_of(choice);
    let tools = body.get("tools")?.as_array()?;
    let tool = tools
        .iter()
        .find(|tool| wanted.is_none() || name_of(tool) == wanted)?;
    let function = tool.get("function").unwrap_or(tool);
    let parameters = function
        .get("parameters")
        .or_else(|| function.get("input_schema"));
    Some(ToolCall {
        name: name_of(tool)?.to_owned(),
        arguments: parameters.map_or_else(|| json!({}), example),
    })
}

fn name_of(tool: &Value) -> Option<&str> {
    tool.get("function").unwrap_or(tool).get("name")?.as_str()
}
