//! A Chat Completions request as an Anthropic Messages request.
//!
//! Every request that comes out of here satisfies the provider's published rules; the tests check generated
//! requests against `published_rules`. What cannot be said in the provider's words is an error that names the
//! field.

use serde_json::{Map, Value, json};

use super::alias::{ToolNames, user_id};
use super::fields::Fields;
use super::message::{Conversation, conversation};
use super::model::ModelTraits;
use super::response::Translation;
use super::text::is_blank;
use super::tool::{self, Format, ToolChoice};
use super::{RequestError, TranslatedRequest};

/// Anthropic requires a limit. This is what its smallest current models allow.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// OpenAI's highest temperature; Anthropic's is 1.
const MAX_TEMPERATURE: f64 = 2.0;

/// Translates a request.
pub(super) fn translate(body: &[u8], model: Option<&str>) -> Result<TranslatedRequest, RequestError> {
    let mut request = Fields::parse(body)?;
    refuse(&mut request)?;
    let named = request.text("model")?;
    let model = model
        .map(str::to_owned)
        .or(named)
        .filter(|model| !is_blank(model));
    let model = model.ok_or_else(|| RequestError::invalid("model", "missing"))?;
    let traits = ModelTraits::new(&model);
    let mut names = ToolNames::default();
    let tools = tool::tools(&request.list("tools")?.unwrap_or_default(), &mut names)?;
    let format = request.value("response_format");
    let format = Format::read(format.as_ref(), !tools.is_empty(), &mut names)?;
    let messages = request.list("messages")?;
    let messages = messages.ok_or_else(|| RequestError::invalid("messages", "missing"))?;
    let mut conversation = conversation(&messages, &mut names)?;
    if conversation.ends_with_assistant && !traits.prefill {
        return Err(RequestError::Unsupported {
            field: "messages",
            reason: "this model takes no conversation that ends with an assistant message; end with a user message",
        });
    }
    if let Some(instruction) = format.instruction() {
        conversation
            .system
            .push(json!({"type": "text", "text": instruction}));
    }
    let mut out = Map::new();
    out.insert("model".into(), model.clone().into());
    write_conversation(&mut request, conversation, &mut out)?;
    write_tuning(&mut request, traits, &mut out)?;
    write_tools(&mut request, tools, &format, &mut names, &mut out)?;
    let stream = request.switch("stream")?;
    if stream {
        out.insert("stream".into(), true.into());
    }
    let options = request.value("stream_options").unwrap_or_default();
    let translation = Translation {
        model,
        stream,
        include_usage: options["include_usage"] == true,
        answer_tool: format.tool_name(),
        names: names.originals(),
    };
    Ok(TranslatedRequest {
        body: Value::Object(out).to_string().into(),
        translation: translation.into(),
    })
}

/// Refuses what would change the answer if it were left out.
fn refuse(request: &mut Fields) -> Result<(), RequestError> {
    let refuse = |field, reason| Err(RequestError::Unsupported { field, reason });
    if request.count("n")?.is_some_and(|n| n > 1) {
        return refuse(
            "n",
            "Anthropic gives one answer a call; leave n out and call again",
        );
    }
    if request.switch("logprobs")? {
        return refuse("logprobs", "Anthropic has none; leave it out");
    }
    for field in ["functions", "function_call"] {
        if request.value(field).is_some() {
            return refuse(field, "deprecated and not translated; use tools");
        }
    }
    if request
        .texts("modalities")?
        .iter()
        .any(|modality| modality != "text")
    {
        return refuse("modalities", "Anthropic answers with text alone; leave it out");
    }
    if request.value("web_search_options").is_some() {
        return refuse("web_search_options", "not translated; leave it out");
    }
    Ok(())
}

fn write_conversation(
    request: &mut Fields,
    conversation: Conversation,
    out: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    let limit = request.count("max_completion_tokens")?;
    let limit = limit.or(request.count("max_tokens")?);
    out.insert("max_tokens".into(), limit.unwrap_or(DEFAULT_MAX_TOKENS).into());
    if !conversation.system.is_empty() {
        out.insert("system".into(), conversation.system.into());
    }
    out.insert("messages".into(), conversation.messages.into());
    Ok(())
}

/// Writes what tunes the answer. Of `temperature` and `top_p` the models of today take one: the temperature,
/// unless it is 1, which is what they have without.
fn write_tuning(
    request: &mut Fields,
    traits: ModelTraits,
    out: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    let temperature = request
        .number("temperature", MAX_TEMPERATURE)?
        .map(|value| value.min(1.0));
    let top_p = request.number("top_p", 1.0)?;
    let (temperature, top_p) = match (temperature, top_p) {
        _ if !traits.sampling => (None, None),
        (Some(_), Some(top_p)) if !traits.both_sampling && temperature == Some(1.0) => (None, Some(top_p)),
        (Some(temperature), Some(_)) if !traits.both_sampling => (Some(temperature), None),
        both => both,
    };
    if let Some(temperature) = temperature {
        out.insert("temperature".into(), json!(temperature));
    }
    if let Some(top_p) = top_p {
        out.insert("top_p".into(), json!(top_p));
    }
    // Anthropic refuses stop sequences of white space alone.
    let mut stops = request.texts("stop")?;
    stops.retain(|stop| !is_blank(stop));
    if !stops.is_empty() {
        out.insert("stop_sequences".into(), stops.into());
    }
    let (safety, user) = (request.text("safety_identifier")?, request.text("user")?);
    if let Some(user) = safety.or(user).as_deref().and_then(user_id) {
        out.insert("metadata".into(), json!({"user_id": user}));
    }
    Ok(())
}

fn write_tools(
    request: &mut Fields,
    tools: Vec<Value>,
    format: &Format,
    names: &mut ToolNames,
    out: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    let one_at_a_time = request.value("parallel_tool_calls") == Some(Value::Bool(false));
    let choice = request.value("tool_choice");
    let choice = choice.as_ref().map(ToolChoice::read).transpose()?;
    if let Some(ToolChoice::Named(name)) = &choice {
        let sent = names.translate(name);
        if !tools.iter().any(|tool| tool["name"] == sent) {
            let reason = format!("there is no function {name:?} among tools; add it, or choose another");
            return Err(RequestError::invalid("tool_choice", reason));
        }
    }
    let (tools, choice) = match format.tool() {
        Some((tool, choice)) => (vec![tool], Some(choice)),
        None if !tools.is_empty() => (tools, tool::choice(choice, one_at_a_time, names)),
        None if choice == Some(ToolChoice::Required) => {
            let reason = "there are no tools to choose from; add tools, or leave it out";
            return Err(RequestError::invalid("tool_choice", reason));
        }
        None => (tool::past_tools(names), Some(json!({"type": "none"}))),
    };
    if !tools.is_empty() {
        out.insert("tools".into(), tools.into());
        if let Some(choice) = choice {
            out.insert("tool_choice".into(), choice);
        }
    }
    Ok(())
}
