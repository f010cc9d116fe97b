//! The provider's published rules for a Messages request, each with the page that it is from. Knows nothing of the
//! translator.

use std::collections::HashSet;

use serde_json::Value;

/// A rule that a request breaks, and where.
pub(crate) type Violation = String;

fn blank(text: &str) -> bool {
    text.chars()
        .all(|each| each.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&each))
}

fn identifier(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text
            .bytes()
            .all(|each| each.is_ascii_alphanumeric() || each == b'_' || each == b'-')
}

/// Lists the rules that a request breaks.
pub(crate) fn published_rules(request: &Value) -> Vec<Violation> {
    let mut broken = Vec::new();
    limits(request, &mut broken);
    sampling(request, &mut broken);
    user(request, &mut broken);
    system(request, &mut broken);
    turns(request, &mut broken);
    calls(request, &mut broken);
    tools(request, &mut broken);
    broken
}

/// "Messages" (API reference): `model` has 1 to 256 characters, `max_tokens` is at least 1, stop sequences hold
/// more than white space.
fn limits(request: &Value, broken: &mut Vec<Violation>) {
    if request["model"].as_str().is_none_or(blank) {
        broken.push("model: empty".into());
    }
    if request["max_tokens"].as_u64().is_none_or(|tokens| tokens == 0) {
        broken.push("max_tokens: not a positive number".into());
    }
    for stop in request["stop_sequences"].as_array().into_iter().flatten() {
        if stop.as_str().is_none_or(blank) {
            broken.push("stop_sequences: white space".into());
        }
    }
}

/// "Messages" (API reference): `temperature` and `top_p` between 0 and 1. "Migration guide": one of them at most
/// from Claude Opus 4.1 and Sonnet 4.5 on.
fn sampling(request: &Value, broken: &mut Vec<Violation>) {
    for name in ["temperature", "top_p"] {
        if let Some(value) = request.get(name)
            && !value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))
        {
            broken.push(format!("{name}: {value}"));
        }
    }
    let old = request["model"]
        .as_str()
        .is_some_and(|model| model.starts_with("claude-3"));
    if !old && request.get("temperature").is_some() && request.get("top_p").is_some() {
        broken.push("temperature and top_p together".into());
    }
}

/// "Messages" (API reference): `metadata.user_id` is opaque: no name, no e-mail address, no telephone number; at
/// most 256 characters.
fn user(request: &Value, broken: &mut Vec<Violation>) {
    let Some(user) = request.pointer("/metadata/user_id") else {
        return;
    };
    let user = user.as_str().unwrap_or_default();
    let digits = user.bytes().filter(u8::is_ascii_digit).count();
    let number = (7..=15).contains(&digits) && user.chars().all(|each| !each.is_alphabetic());
    let personal = user.contains('@') || number || user.contains(char::is_whitespace) || !user.is_ascii();
    if user.is_empty() || user.len() > 256 || personal {
        broken.push(format!("metadata.user_id: {user}"));
    }
}

/// "Messages" (API reference): the system prompt is text blocks, none of them blank.
fn system(request: &Value, broken: &mut Vec<Violation>) {
    match request.get("system") {
        None => {}
        Some(Value::Array(blocks)) if !blocks.is_empty() => {
            for block in blocks {
                if block["type"] != "text" {
                    broken.push(format!("system: a block of type {}", block["type"]));
                }
                text(block, "system", broken);
            }
        }
        Some(other) => broken.push(format!("system: {other}")),
    }
}

fn text(block: &Value, place: &str, broken: &mut Vec<Violation>) {
    if block["type"] == "text" && block["text"].as_str().is_none_or(blank) {
        broken.push(format!("{place}: text that is empty or white space"));
    }
}

/// "Messages" (API reference): turns alternate, the first is the user's, each has content; a last assistant turn does
/// not end with white space. "Vision": types of images; "PDF support": of documents.
fn turns(request: &Value, broken: &mut Vec<Violation>) {
    let turns = request["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if turns.is_empty() {
        broken.push("messages: none".into());
    }
    for (index, turn) in turns.iter().enumerate() {
        let want = if index % 2 == 0 { "user" } else { "assistant" };
        if turn["role"] != want {
            broken.push(format!(
                "messages.{index}: role {} where {want} has its turn",
                turn["role"]
            ));
        }
        let blocks = turn["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        if blocks.is_empty() {
            broken.push(format!("messages.{index}: no content"));
        }
        for block in blocks {
            let place = format!("messages.{index}");
            content(block, want, &place, broken);
            for inner in block["content"].as_array().into_iter().flatten() {
                content(inner, "result", &place, broken);
            }
        }
    }
    let last = turns.last().filter(|last| last["role"] == "assistant");
    let text = last.and_then(|last| last["content"].as_array()?.last()?["text"].as_str());
    if text.is_some_and(|text| text.trim_end() != text) {
        broken.push("messages: the last assistant turn ends with white space".into());
    }
}

fn content(block: &Value, role: &str, place: &str, broken: &mut Vec<Violation>) {
    text(block, place, broken);
    let kind = block["type"].as_str().unwrap_or_default();
    let allowed: &[&str] = match role {
        "assistant" => &["text", "tool_use"],
        "result" => &["text", "image", "document"],
        _ => &["text", "image", "document", "tool_result"],
    };
    if !allowed.contains(&kind) {
        broken.push(format!("{place}: {kind} in a turn of {role}"));
    }
    if kind != "image" && kind != "document" {
        return;
    }
    let source = &block["source"];
    let media_types: &[&str] = if kind == "image" {
        &["image/jpeg", "image/png", "image/gif", "image/webp"]
    } else {
        &["application/pdf"]
    };
    let data = source["data"].as_str().unwrap_or_default();
    let is_base64 = !data.is_empty()
        && data.len().is_multiple_of(4)
        && data
            .bytes()
            .all(|each| each.is_ascii_alphanumeric() || b"+/=".contains(&each));
    let valid = match source["type"].as_str() {
        Some("url") => source["url"]
            .as_str()
            .is_some_and(|url| url.to_lowercase().starts_with("https://")),
        Some("base64") => {
            is_base64
                && source["media_type"]
                    .as_str()
                    .is_some_and(|kind| media_types.contains(&kind))
        }
        _ => false,
    };
    if !valid {
        broken.push(format!("{place}: source {source}"));
    }
}

/// "How to implement tool use": ids match `^[a-zA-Z0-9_-]+$` and are unique, `input` is an object, each call has one
/// result, in the turn right after it, and results come before everything else there.
fn calls(request: &Value, broken: &mut Vec<Violation>) {
    let turns = request["messages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut ids = HashSet::new();
    let mut open: Vec<&str> = Vec::new();
    for (index, turn) in turns.iter().enumerate() {
        let mut other = false;
        let before = std::mem::take(&mut open);
        let mut waiting = before.clone();
        for block in turn["content"].as_array().into_iter().flatten() {
            match block["type"].as_str() {
                Some("tool_use") => {
                    let id = block["id"].as_str().unwrap_or_default();
                    if !identifier(id, usize::MAX) || !ids.insert(id) {
                        broken.push(format!("messages.{index}: id {id:?} is invalid or used before"));
                    }
                    if !block["name"].as_str().is_some_and(|name| identifier(name, 64)) {
                        broken.push(format!("messages.{index}: name {}", block["name"]));
                    }
                    if !block["input"].is_object() {
                        broken.push(format!("messages.{index}: input {}", block["input"]));
                    }
                    open.push(id);
                }
                Some("tool_result") => {
                    let id = block["tool_use_id"].as_str().unwrap_or_default();
                    match waiting.iter().position(|call| *call == id) {
                        Some(place) => drop(waiting.remove(place)),
                        None => broken.push(format!("messages.{index}: {id:?} answers no call")),
                    }
                    if other {
                        broken.push(format!("messages.{index}: a result after other content"));
                    }
                }
                _ => other = true,
            }
        }
        if !waiting.is_empty() {
            broken.push(format!("messages.{index}: no result for {waiting:?}"));
        }
    }
    if !open.is_empty() {
        broken.push("messages: calls without results at the end".into());
    }
    if !ids.is_empty() && request["tools"].as_array().is_none_or(Vec::is_empty) {
        broken.push("tools: missing, and the conversation has calls".into());
    }
}

/// "Define tools": names match `^[a-zA-Z0-9_-]{1,64}$` and are unique, `input_schema` is an object of type "object";
/// "Self-hosted sandboxes": without a union or a reference at its root, with property names of letters, digits, `_`,
/// `.` and `-`. `tool_choice` names a tool that there is.
fn tools(request: &Value, broken: &mut Vec<Violation>) {
    let tools = request["tools"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = HashSet::new();
    for tool in tools {
        let name = tool["name"].as_str().unwrap_or_default();
        if !identifier(name, 64) || !names.insert(name) {
            broken.push(format!("tools: name {name:?} is invalid or used before"));
        }
        if tool
            .get("description")
            .is_some_and(|text| text.as_str().is_none_or(blank))
        {
            broken.push(format!("tools: description {}", tool["description"]));
        }
        let schema = &tool["input_schema"];
        if schema["type"] != "object" {
            broken.push(format!("tools: schema {schema}"));
        }
        for member in ["oneOf", "anyOf", "allOf", "$ref"] {
            if schema.get(member).is_some() {
                broken.push(format!("tools: {member} at the root"));
            }
        }
        let properties = schema.get("properties");
        if properties.is_some_and(|properties| !properties.is_object())
            || schema
                .get("required")
                .is_some_and(|required| !required.is_array())
        {
            broken.push(format!("tools: schema {schema}"));
        }
        for property in properties
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|all| all.keys())
        {
            if !identifier(&property.replace('.', "_"), 64) {
                broken.push(format!("tools: property {property:?}"));
            }
        }
    }
    let choice = &request["tool_choice"];
    if !choice.is_null() && tools.is_empty() {
        broken.push("tool_choice without tools".into());
    }
    let parallel = choice.get("disable_parallel_tool_use").is_some();
    let known = match choice["type"].as_str() {
        Some("tool") => choice["name"].as_str().is_some_and(|name| names.contains(name)),
        Some("none") => !parallel,
        Some("auto" | "any") => true,
        _ => choice.is_null(),
    };
    if !known {
        broken.push(format!("tool_choice: {choice}"));
    }
}
