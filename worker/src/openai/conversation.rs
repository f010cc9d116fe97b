//! Messages and tools of a request, as the model's chat template reads them.
//!
//! A template is written for plain texts and for arguments that are objects; OpenAI's API has lists of parts and
//! arguments that are JSON in a string.

use liquid_decoder::{Conversation, Tokenizer};
use serde_json::{Map, Value};

use super::error::ApiError;
use super::fields::Fields;
use crate::runtime::Decoder;

/// Most messages of a conversation, and most tools.
const MOST_MESSAGES: usize = 65_536;
const MOST_TOOLS: usize = 1024;

/// Reads a conversation whose prompt ends where the answer begins, unless `add_generation_prompt` says otherwise.
pub(super) fn read(fields: &Fields<'_>) -> Result<Conversation, ApiError> {
    let messages = fields.list("messages")?.unwrap_or_default();
    if messages.is_empty() || messages.len() > MOST_MESSAGES {
        let remedy = format!("must be a list of 1 to {MOST_MESSAGES} messages");
        return Err(fields.wrong("messages", &remedy));
    }
    let message = |(index, value)| message(&Fields::at(value, format!("messages[{index}]"))?);
    let messages: Result<Vec<Value>, ApiError> = messages.iter().enumerate().map(message).collect();
    Ok(Conversation {
        messages: messages?,
        tools: tools(fields)?,
        add_generation_prompt: fields.flag_or("add_generation_prompt", true)?,
    })
}

/// Makes the tokens of a conversation.
pub(super) fn encode(conversation: &Conversation, decoder: &Decoder) -> Result<Vec<u32>, ApiError> {
    let template = decoder.template()?;
    if conversation.tools.is_some() && !template.takes_tools() {
        let remedy = "the model's chat template writes no tools; leave them out, or use a model that was trained to call them";
        return Err(ApiError::unsupported("tools", remedy));
    }
    let prompt = template.apply(conversation)?;
    let tokenizer: &Tokenizer = &decoder.tokenizer;
    Ok(tokenizer.encode(&prompt, false)?)
}

fn message(fields: &Fields<'_>) -> Result<Value, ApiError> {
    let role = match fields.required_text("role")? {
        // A name that templates do not know for what they do.
        "developer" => "system",
        role @ ("system" | "user" | "assistant" | "tool") => role,
        _ => {
            return Err(fields.wrong("role", "must be system, developer, user, assistant or tool"));
        }
    };
    let mut message = Map::new();
    message.insert("role".to_owned(), role.into());
    message.insert("content".to_owned(), content(fields, role)?.into());
    for name in ["name", "tool_call_id"] {
        if let Some(text) = fields.text(name)? {
            message.insert(name.to_owned(), text.into());
        }
    }
    if let Some(calls) = fields.list("tool_calls")? {
        let call = |(index, value)| tool_call(value, format!("{}[{index}]", fields.path("tool_calls")));
        let calls: Result<Vec<Value>, ApiError> = calls.iter().enumerate().map(call).collect();
        message.insert("tool_calls".to_owned(), calls?.into());
    }
    Ok(message.into())
}

/// Reads a message's text. Parts become lines, as vLLM has it.
fn content(fields: &Fields<'_>, role: &str) -> Result<String, ApiError> {
    match fields.get("content") {
        None if role == "assistant" => Ok(String::new()),
        None => Err(fields.wrong("content", "is missing; write a string")),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Array(parts)) => {
            let path = fields.path("content");
            let part = |(index, value)| part(&Fields::at(value, format!("{path}[{index}]"))?);
            let parts: Result<Vec<&str>, ApiError> = parts.iter().enumerate().map(part).collect();
            Ok(parts?.join("\n"))
        }
        Some(_) => Err(fields.wrong("content", "must be a string or a list of text parts")),
    }
}

fn part<'a>(fields: &Fields<'a>) -> Result<&'a str, ApiError> {
    match fields.required_text("type")? {
        "text" => fields.required_text("text"),
        "refusal" => fields.required_text("refusal"),
        other => {
            let remedy = format!("{other:?} is not supported: the model reads text alone; send text parts");
            Err(ApiError::unsupported(fields.path("type"), remedy))
        }
    }
}

/// Reads a call of an earlier answer, with its arguments as an object.
fn tool_call(value: &Value, path: String) -> Result<Value, ApiError> {
    let function = Fields::at(value, path)?.object("function")?;
    let wrong = |remedy: &str| ApiError::invalid("messages", format!("a tool call {remedy}"));
    let function = function.ok_or_else(|| wrong("has no function"))?;
    function.required_text("name")?;
    let mut call = value.clone();
    if let Some(Value::String(text)) = function.get("arguments") {
        let text = if text.trim().is_empty() { "{}" } else { text };
        let arguments: Value = serde_json::from_str(text)
            .map_err(|error| function.wrong("arguments", &format!("are not JSON: {error}")))?;
        if let Some(place) = call.pointer_mut("/function/arguments") {
            *place = arguments;
        }
    }
    Ok(call)
}

/// Reads the tools that the model may call; none if it may call none.
fn tools(fields: &Fields<'_>) -> Result<Option<Vec<Value>>, ApiError> {
    let tools = fields.list("tools")?.unwrap_or_default();
    if tools.len() > MOST_TOOLS {
        return Err(fields.wrong("tools", &format!("are more than {MOST_TOOLS}")));
    }
    for (index, tool) in tools.iter().enumerate() {
        let tool = Fields::at(tool, format!("tools[{index}]"))?;
        if tool.required_text("type")? != "function" {
            return Err(ApiError::unsupported(tool.path("type"), "must be function"));
        }
        let function = tool.object("function")?;
        let function = function.ok_or_else(|| tool.wrong("function", "is missing"))?;
        function.required_text("name")?;
    }
    let wanted = tool_choice(fields)? != ToolChoice::None;
    Ok((wanted && !tools.is_empty()).then(|| tools.to_vec()))
}

/// Which tools the answer may call, or must.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ToolChoice<'a> {
    None,
    Auto,
    /// It calls one.
    Required,
    /// It calls the one of this name.
    Named(&'a str),
}

fn tool_choice<'a>(fields: &Fields<'a>) -> Result<ToolChoice<'a>, ApiError> {
    let wrong = || {
        let remedy = "must be none, auto, required, or an object that names a function";
        fields.wrong("tool_choice", remedy)
    };
    match fields.get("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => Err(wrong()),
        },
        Some(choice) => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            name.map(ToolChoice::Named).ok_or_else(wrong)
        }
    }
}

/// Returns the tools of which the answer must call one; empty if it need not.
pub(super) fn demanded(fields: &Fields<'_>, conversation: &Conversation) -> Result<Vec<Value>, ApiError> {
    let tools = conversation.tools.iter().flatten();
    let tools: Vec<Value> = match tool_choice(fields)? {
        ToolChoice::None | ToolChoice::Auto => return Ok(Vec::new()),
        ToolChoice::Required => tools.cloned().collect(),
        ToolChoice::Named(name) => {
            let named = |tool: &&Value| tool.pointer("/function/name").is_some_and(|found| found == name);
            tools.filter(named).cloned().collect()
        }
    };
    match tools.is_empty() {
        true => Err(fields.wrong("tool_choice", "demands a tool that is not among the tools")),
        false => Ok(tools),
    }
}
