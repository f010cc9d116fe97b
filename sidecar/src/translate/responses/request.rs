//! A Responses request as a Chat Completions request.

use serde_json::{Map, Value, json};

use super::Translation;
use crate::translate::completion::{read_tools, write_sampling, write_stream};
use crate::translate::fields::Fields;
use crate::translate::{RequestError, TranslatedRequest};

/// OpenAI's highest temperature.
const MAX_TEMPERATURE: f64 = 2.0;

/// Fields that would change the answer if they were left out, with the remedy.
const UNSUPPORTED: [(&str, &str); 4] = [
    (
        "previous_response_id",
        "no answer is kept; send the conversation itself in input",
    ),
    ("conversation", "no conversation is kept; send it itself in input"),
    ("prompt", "no prompt is kept; send its text in instructions"),
    (
        "background",
        "the answer is written while it is waited for; leave it out",
    ),
];

/// Members of a request that an answer repeats.
const REPEATED: [&str; 8] = [
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "temperature",
    "tool_choice",
    "tools",
    "top_p",
];

/// Translates a request. Without `model` the worker answers with its only one.
pub(in crate::translate) fn translate(
    body: &[u8],
    model: Option<&str>,
) -> Result<TranslatedRequest, RequestError> {
    let mut request = Fields::parse(body)?;
    for (field, reason) in UNSUPPORTED {
        if request.value(field).is_some_and(|value| value != false) {
            return Err(RequestError::Unsupported { field, reason });
        }
    }
    let repeated = repeated(&request);
    let mut out = Map::new();
    out.insert("model".into(), model.into());
    out.insert("messages".into(), conversation(&mut request)?.into());
    write_sampling(&mut request, "max_output_tokens", MAX_TEMPERATURE, &mut out)?;
    write_tools(&mut request, &mut out)?;
    if let Some(format) = format(&mut request)? {
        out.insert("response_format".into(), format);
    }
    let stream = write_stream(&mut request, &mut out)?;
    Ok(TranslatedRequest {
        body: Value::Object(out).to_string().into(),
        translation: Translation { stream, repeated }.into(),
    })
}

/// Returns what the answer repeats of the request, with the API's defaults for what is not there.
fn repeated(request: &Fields) -> Map<String, Value> {
    let repeat = |field: &str| {
        let value = match (request.peek(field), field) {
            (Some(said), _) => said.clone(),
            (None, "parallel_tool_calls") => true.into(),
            (None, "tool_choice") => "auto".into(),
            (None, "tools") => json!([]),
            (None, _) => Value::Null,
        };
        (field.to_owned(), value)
    };
    REPEATED.into_iter().map(repeat).collect()
}

/// Takes the form of the answer's text.
fn format(request: &mut Fields) -> Result<Option<Value>, RequestError> {
    let format = request
        .value("text")
        .and_then(|mut text| text.get_mut("format").map(Value::take));
    let Some(mut format) = format.filter(|format| !format.is_null()) else {
        return Ok(None);
    };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(json!({"type": "json_object"}))),
        Some("json_schema") => {
            let schema = json!({
                "name": format["name"], "schema": format["schema"].take(), "strict": format["strict"],
            });
            Ok(Some(json!({"type": "json_schema", "json_schema": schema})))
        }
        _ => Err(RequestError::invalid(
            "text",
            "format: give text, json_object or json_schema",
        )),
    }
}

fn conversation(request: &mut Fields) -> Result<Vec<Value>, RequestError> {
    let mut messages = Vec::new();
    if let Some(instructions) = request.text("instructions")? {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    match request.value("input") {
        Some(Value::String(text)) => messages.push(json!({"role": "user", "content": text})),
        Some(Value::Array(items)) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                read_item(item, &mut messages).map_err(|error| error.at(index))?;
            }
        }
        _ => return Err(RequestError::invalid("input", "give a string or a list of items")),
    }
    Ok(messages)
}

fn invalid(reason: impl Into<String>) -> RequestError {
    RequestError::invalid("input", reason)
}

/// Reads an item of the input: a message, a call or its result.
fn read_item(item: &Value, messages: &mut Vec<Value>) -> Result<(), RequestError> {
    match (item["type"].as_str(), item["role"].as_str()) {
        (None | Some("message"), Some(role)) => {
            let role = match role {
                "user" | "assistant" => role,
                "system" | "developer" => "system",
                _ => return Err(invalid("role: give user, assistant, system or developer")),
            };
            messages.push(json!({"role": role, "content": text_of(&item["content"])?}));
        }
        (Some("function_call"), _) => push_call(item, messages),
        (Some("function_call_output"), _) => messages.push(json!({
            "role": "tool", "tool_call_id": item["call_id"], "content": text_of(&item["output"])?,
        })),
        // What the model thought is not repeated to it.
        (Some("reasoning"), _) => {}
        (kind, _) => {
            let kind = kind.unwrap_or("without a type");
            return Err(invalid(format!(
                "an item {kind:?}: the workers' language model knows messages, function calls and their outputs"
            )));
        }
    }
    Ok(())
}

/// Adds a call to what the assistant has just said or called, else as a message of its own.
fn push_call(item: &Value, messages: &mut Vec<Value>) {
    let call = json!({
        "id": item["call_id"], "type": "function",
        "function": {"name": item["name"], "arguments": item["arguments"]},
    });
    let last = messages
        .last_mut()
        .filter(|message| message["role"] == "assistant");
    match last {
        Some(message) => match message["tool_calls"].as_array_mut() {
            Some(calls) => calls.push(call),
            None => message["tool_calls"] = json!([call]),
        },
        None => messages.push(json!({"role": "assistant", "content": "", "tool_calls": [call]})),
    }
}

/// Returns the text of a content, which is a string or a list of parts.
fn text_of(content: &Value) -> Result<String, RequestError> {
    let parts = match content {
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err(invalid("content: give a string or a list of parts")),
    };
    let text = |part: &Value| {
        let key = match part["type"].as_str() {
            Some("input_text" | "output_text" | "text") => "text",
            Some("refusal") => "refusal",
            kind => {
                let kind = kind.unwrap_or("without a type");
                return Err(invalid(format!(
                    "a part {kind:?}: the workers' language model reads text alone; leave it out"
                )));
            }
        };
        Ok(part[key].as_str().unwrap_or_default().to_owned())
    };
    let texts = parts.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.join("\n"))
}

fn write_tools(request: &mut Fields, out: &mut Map<String, Value>) -> Result<(), RequestError> {
    let tools = read_tools(request, function)?;
    if let Some(choice) = request.value("tool_choice") {
        out.insert("tool_choice".into(), tool_choice(choice)?);
    }
    if let Some(parallel) = request.value("parallel_tool_calls") {
        out.insert("parallel_tool_calls".into(), parallel);
    }
    if !tools.is_empty() {
        out.insert("tools".into(), tools.into());
    }
    Ok(())
}

fn function(mut tool: Value) -> Result<Value, RequestError> {
    if tool["type"] != "function" {
        let reason = "no worker runs this tool; give functions";
        return Err(RequestError::invalid("tools", reason));
    }
    let mut function = Map::new();
    for field in ["name", "description", "parameters", "strict"] {
        let value = tool[field].take();
        if !value.is_null() {
            function.insert(field.into(), value);
        }
    }
    Ok(function.into())
}

fn tool_choice(choice: Value) -> Result<Value, RequestError> {
    match (choice["type"].as_str(), &choice) {
        (None, Value::String(_)) => Ok(choice),
        (Some("function"), _) => Ok(json!({"type": "function", "function": {"name": choice["name"]}})),
        _ => Err(RequestError::invalid(
            "tool_choice",
            "give auto, required, none, or a function with its name",
        )),
    }
}
