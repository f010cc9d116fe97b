//! A Messages request as a Chat Completions request.

use serde_json::{Map, Value, json};

use super::Translation;
use crate::translate::completion::{read_tools, write_sampling, write_stream};
use crate::translate::fields::Fields;
use crate::translate::{RequestError, TranslatedRequest};

/// Anthropic's highest temperature.
const MAX_TEMPERATURE: f64 = 1.0;

/// Fields that would change the answer if they were left out.
const UNSUPPORTED: [&str; 2] = ["mcp_servers", "container"];

/// Translates a request. Without `model` the worker answers with its only one.
pub(in crate::translate) fn translate(
    body: &[u8],
    model: Option<&str>,
) -> Result<TranslatedRequest, RequestError> {
    let mut request = Fields::parse(body)?;
    for field in UNSUPPORTED {
        if request.value(field).is_some_and(|value| value != json!([])) {
            let reason = "the workers' language model has none; leave it out";
            return Err(RequestError::Unsupported { field, reason });
        }
    }
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    out.insert("messages".into(), conversation(&mut request)?.into());
    write_tuning(&mut request, &mut out)?;
    write_tools(&mut request, &mut out)?;
    if let Some(schema) = schema(&mut request) {
        let format = json!({"name": "answer", "schema": schema, "strict": true});
        let format = json!({"type": "json_schema", "json_schema": format});
        out.insert("response_format".into(), format);
    }
    let stream = write_stream(&mut request, &mut out)?;
    Ok(TranslatedRequest {
        body: Value::Object(out).to_string().into(),
        translation: Translation { stream }.into(),
    })
}

fn write_tuning(request: &mut Fields, out: &mut Map<String, Value>) -> Result<(), RequestError> {
    write_sampling(request, "max_tokens", MAX_TEMPERATURE, out)?;
    if let Some(count) = request.count("top_k")? {
        out.insert("top_k".into(), count.into());
    }
    let stops = request.texts("stop_sequences")?;
    if !stops.is_empty() {
        out.insert("stop".into(), stops.into());
    }
    Ok(())
}

/// Takes the schema of a structured output, by its field of today or that of the beta.
fn schema(request: &mut Fields) -> Option<Value> {
    let config = request.value("output_config");
    let format = config.and_then(|mut config| config.get_mut("format").map(Value::take));
    let mut format = format.or_else(|| request.value("output_format"))?;
    let schema = format.get_mut("schema").map(Value::take);
    schema.filter(|_| format["type"] == "json_schema")
}

fn conversation(request: &mut Fields) -> Result<Vec<Value>, RequestError> {
    let mut messages = Vec::new();
    if let Some(system) = request.value("system") {
        let blocks = blocks(system).ok_or_else(|| RequestError::invalid("system", "give text blocks"))?;
        let texts: Option<Vec<String>> = blocks.iter().map(text_of).collect();
        let texts = texts.ok_or_else(|| RequestError::invalid("system", "give text blocks"))?;
        messages.push(json!({"role": "system", "content": texts.join("\n")}));
    }
    let turns = request.list("messages")?;
    let turns = turns.filter(|turns| !turns.is_empty());
    let turns = turns.ok_or_else(|| RequestError::invalid("messages", "missing"))?;
    let last = turns.last().map(|turn| turn["role"].clone());
    if last.is_some_and(|role| role == "assistant") {
        return Err(RequestError::Unsupported {
            field: "messages",
            reason: "the workers' language model continues no message; end with one of the user",
        });
    }
    for (index, mut turn) in turns.into_iter().enumerate() {
        let content = turn.get_mut("content").map(Value::take).unwrap_or_default();
        let content = blocks(content).ok_or_else(|| invalid("content: give a string or a list of blocks"));
        let read = match turn["role"].as_str() {
            Some("user") => content.and_then(|blocks| user(&blocks, &mut messages)),
            Some("assistant") => content.and_then(|blocks| assistant(&blocks, &mut messages)),
            Some("system") => content.and_then(|blocks| system(&blocks, &mut messages)),
            _ => Err(invalid("role: give user or assistant")),
        };
        read.map_err(|error| error.at(index))?;
    }
    Ok(messages)
}

fn invalid(reason: impl Into<String>) -> RequestError {
    RequestError::invalid("messages", reason)
}

/// Returns the blocks of a content, of which a string is one.
fn blocks(content: Value) -> Option<Vec<Value>> {
    match content {
        Value::String(text) => Some(vec![json!({"type": "text", "text": text})]),
        Value::Array(blocks) => Some(blocks),
        _ => None,
    }
}

/// Returns the text of a block: of text, or of a document that is text.
fn text_of(block: &Value) -> Option<String> {
    let text = |path: &str| block.pointer(path).and_then(Value::as_str);
    match text("/type")? {
        "text" => text("/text").map(str::to_owned),
        "document" if text("/source/type") == Some("text") => {
            let parts = [text("/title"), text("/context"), Some(text("/source/data")?)];
            Some(parts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
        }
        "document" if text("/source/type") == Some("content") => {
            let blocks = blocks(block.pointer("/source/content")?.clone())?;
            let texts: Option<Vec<String>> = blocks.iter().map(text_of).collect();
            Some(texts?.join("\n"))
        }
        _ => None,
    }
}

fn no_text(block: &Value) -> RequestError {
    let kind = block["type"].as_str().unwrap_or("without a type");
    invalid(format!(
        "a block {kind:?}: the workers' language model reads text alone; leave it out"
    ))
}

/// Texts and results of tools, in their order.
fn user(blocks: &[Value], messages: &mut Vec<Value>) -> Result<(), RequestError> {
    let mut texts: Vec<String> = Vec::new();
    let say = |texts: &mut Vec<String>, messages: &mut Vec<Value>| {
        if !texts.is_empty() {
            messages.push(json!({"role": "user", "content": texts.join("\n")}));
            texts.clear();
        }
    };
    for block in blocks {
        if block["type"] == "tool_result" {
            say(&mut texts, messages);
            messages.push(tool_result(block)?);
        } else {
            texts.push(text_of(block).ok_or_else(|| no_text(block))?);
        }
    }
    say(&mut texts, messages);
    Ok(())
}

fn tool_result(block: &Value) -> Result<Value, RequestError> {
    let id = block["tool_use_id"].as_str();
    let id = id.ok_or_else(|| invalid("tool_use_id: missing"))?;
    let content = match &block["content"] {
        Value::Null => Vec::new(),
        content => blocks(content.clone())
            .ok_or_else(|| invalid("content of a tool_result: give a string or a list of blocks"))?,
    };
    let texts = content
        .iter()
        .map(|block| text_of(block).ok_or_else(|| no_text(block)));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok(json!({"role": "tool", "tool_call_id": id, "content": texts.join("\n")}))
}

/// What the model said and called; its thinking is not repeated to it.
fn assistant(blocks: &[Value], messages: &mut Vec<Value>) -> Result<(), RequestError> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match block["type"].as_str() {
            Some("thinking" | "redacted_thinking") => {}
            Some("tool_use") => calls.push(json!({
                "id": block["id"], "type": "function",
                "function": {"name": block["name"], "arguments": block["input"].to_string()},
            })),
            _ => texts.push(text_of(block).ok_or_else(|| no_text(block))?),
        }
    }
    let mut message = json!({"role": "assistant", "content": texts.join("\n")});
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    messages.push(message);
    Ok(())
}

/// Instructions within a conversation.
fn system(blocks: &[Value], messages: &mut Vec<Value>) -> Result<(), RequestError> {
    let texts = blocks
        .iter()
        .map(|block| text_of(block).ok_or_else(|| no_text(block)));
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    messages.push(json!({"role": "system", "content": texts.join("\n")}));
    Ok(())
}

fn write_tools(request: &mut Fields, out: &mut Map<String, Value>) -> Result<(), RequestError> {
    let tools = read_tools(request, function)?;
    if let Some(choice) = request.value("tool_choice") {
        if choice["disable_parallel_tool_use"] == true {
            out.insert("parallel_tool_calls".into(), false.into());
        }
        out.insert("tool_choice".into(), tool_choice(&choice)?);
    }
    if !tools.is_empty() {
        out.insert("tools".into(), tools.into());
    }
    Ok(())
}

fn function(mut tool: Value) -> Result<Value, RequestError> {
    if !matches!(tool["type"].as_str(), None | Some("custom")) {
        let reason = "Anthropic runs this tool itself, and no worker does; leave it out";
        return Err(RequestError::invalid("tools", reason));
    }
    let name = tool["name"].as_str().map(str::to_owned);
    let name = name.ok_or_else(|| RequestError::invalid("tools", "name: missing"))?;
    let mut function = json!({"name": name, "parameters": tool["input_schema"].take()});
    if let Value::String(description) = tool["description"].take() {
        function["description"] = description.into();
    }
    Ok(function)
}

fn tool_choice(choice: &Value) -> Result<Value, RequestError> {
    match (choice["type"].as_str(), choice["name"].as_str()) {
        (Some("auto"), _) => Ok("auto".into()),
        (Some("any"), _) => Ok("required".into()),
        (Some("none"), _) => Ok("none".into()),
        (Some("tool"), Some(name)) => Ok(json!({"type": "function", "function": {"name": name}})),
        _ => Err(RequestError::invalid(
            "tool_choice",
            "give auto, any, none, or a tool with its name",
        )),
    }
}
