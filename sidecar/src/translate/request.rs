//! A Chat Completions request as an Anthropic Messages request.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::message::{Conversation, OpenAiMessage, conversation};
use super::tool::{self, Format, OpenAiTool, ResponseFormat, ToolChoice};
use super::{RequestError, TranslatedRequest, Translation};

/// Anthropic requires a limit. This is what its smallest current models allow.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// The fields of a request that have a counterpart or must be refused. All others are left out.
#[derive(Debug, Deserialize)]
struct ChatRequest {
    model: Option<String>,
    messages: Vec<OpenAiMessage>,
    max_completion_tokens: Option<u64>,
    max_tokens: Option<u64>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    stop: Option<Stop>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    tools: Option<Vec<OpenAiTool>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    response_format: Option<ResponseFormat>,
    n: Option<u64>,
    logprobs: Option<bool>,
    functions: Option<Value>,
    user: Option<String>,
    safety_identifier: Option<String>,
}

#[derive(Debug)]
struct Stop(Vec<String>);

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(Self(vec![one])),
            Value::Array(many) => {
                let texts = many.into_iter().map(|stop| stop.as_str().map(str::to_owned));
                texts
                    .collect::<Option<_>>()
                    .map(Self)
                    .ok_or_else(|| serde::de::Error::custom("stop: not a list of strings"))
            }
            _ => Err(serde::de::Error::custom(
                "stop: neither a string nor a list of strings",
            )),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// Translates a request.
pub(super) fn translate(body: &[u8], model: Option<&str>) -> Result<TranslatedRequest, RequestError> {
    let request: ChatRequest =
        serde_json::from_slice(body).map_err(|error| RequestError::Body(error.to_string()))?;
    request.refuse()?;
    let model = model.map(str::to_owned).or_else(|| request.model.clone());
    let model = model.ok_or_else(|| RequestError::Body("missing field `model`".into()))?;
    let tools = request.tools.as_deref().unwrap_or_default();
    let format = Format::new(request.response_format.as_ref(), !tools.is_empty());
    let Conversation { mut system, messages } = conversation(&request.messages)?;
    if let Some(instruction) = format.instruction() {
        system.push(json!({"type": "text", "text": instruction}));
    }
    let mut out = Map::new();
    out.insert("model".into(), model.clone().into());
    let max_tokens = request
        .max_completion_tokens
        .or(request.max_tokens)
        .unwrap_or(DEFAULT_MAX_TOKENS);
    out.insert("max_tokens".into(), max_tokens.into());
    if !system.is_empty() {
        out.insert("system".into(), system.into());
    }
    out.insert("messages".into(), messages.into());
    request.tuning(&mut out);
    request.tools(&format, &mut out)?;
    let stream = request.stream.unwrap_or(false);
    if stream {
        out.insert("stream".into(), true.into());
    }
    let include_usage = request
        .stream_options
        .and_then(|options| options.include_usage)
        .unwrap_or(false);
    let translation = Translation {
        model,
        include_usage,
        answer_tool: format.tool_name(),
    };
    Ok(TranslatedRequest {
        body: Value::Object(out).to_string().into(),
        translation,
    })
}

impl ChatRequest {
    fn refuse(&self) -> Result<(), RequestError> {
        let refuse = |field, reason| Err(RequestError::Unsupported { field, reason });
        if self.n.is_some_and(|n| n > 1) {
            return refuse(
                "n",
                "Anthropic gives one answer a call; leave n out and call again",
            );
        }
        if self.logprobs == Some(true) {
            return refuse("logprobs", "Anthropic has none; leave it out");
        }
        if self.functions.is_some() {
            return refuse("functions", "deprecated and not translated; use tools");
        }
        Ok(())
    }

    fn tuning(&self, out: &mut Map<String, Value>) {
        if let Some(temperature) = self.temperature {
            out.insert("temperature".into(), json!(temperature.min(1.0)));
        }
        if let Some(top_p) = self.top_p {
            out.insert("top_p".into(), json!(top_p));
        }
        // Anthropic refuses stop sequences of white space alone.
        let stops = self
            .stop
            .iter()
            .flat_map(|stop| &stop.0)
            .filter(|stop| !stop.trim().is_empty());
        let stops: Vec<&String> = stops.collect();
        if !stops.is_empty() {
            out.insert("stop_sequences".into(), json!(stops));
        }
        if let Some(user) = self.safety_identifier.as_ref().or(self.user.as_ref()) {
            out.insert("metadata".into(), json!({"user_id": user}));
        }
    }

    fn tools(&self, format: &Format, out: &mut Map<String, Value>) -> Result<(), RequestError> {
        if let Some((tool, choice)) = format.tool() {
            out.insert("tools".into(), json!([tool]));
            out.insert("tool_choice".into(), choice);
            return Ok(());
        }
        let Some(tools) = self.tools.as_deref().filter(|tools| !tools.is_empty()) else {
            return Ok(());
        };
        out.insert("tools".into(), tool::tools(tools)?.into());
        let choice = self.tool_choice.as_ref().map(ToolChoice::read).transpose()?;
        if let Some(choice) = tool::choice(choice, self.parallel_tool_calls) {
            out.insert("tool_choice".into(), choice);
        }
        Ok(())
    }
}
