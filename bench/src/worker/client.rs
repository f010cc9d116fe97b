//! What an OpenAI client sends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Name by which the model is asked for.
pub(super) const MODEL: &str = "local";

/// Longest time of an answer.
const LIMIT: Duration = Duration::from_secs(300);

pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(LIMIT))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Self {
            agent: agent.into(),
            url: format!("http://{address}/v1/chat/completions"),
        }
    }

    fn send(&self, messages: &Value, options: Value) -> Result<ureq::http::Response<ureq::Body>> {
        let mut body = json!({ "model": MODEL, "messages": messages, "temperature": 0 });
        if let (Some(body), Value::Object(options)) = (body.as_object_mut(), options) {
            body.extend(options);
        }
        let request = self.agent.post(&self.url).content_type("application/json");
        let mut answer = request.send(body.to_string())?;
        if !answer.status().is_success() {
            let text = answer.body_mut().read_to_string().unwrap_or_default();
            bail!("{} answered {}: {text}", self.url, answer.status());
        }
        Ok(answer)
    }

    /// Asks for a whole answer.
    pub(super) fn ask(&self, messages: &Value, options: Value) -> Result<Value> {
        let text = self.send(messages, options)?.body_mut().read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
    }

    /// Asks for a streamed answer, and returns its events.
    pub(super) fn stream(&self, messages: &Value, mut options: Value) -> Result<Vec<Value>> {
        options["stream"] = json!(true);
        options["stream_options"] = json!({ "include_usage": true });
        let mut answer = self.send(messages, options)?;
        let mut events = Vec::new();
        for line in BufReader::new(answer.body_mut().as_reader()).lines() {
            match line?.strip_prefix("data: ") {
                None => {}
                Some("[DONE]") => return Ok(events),
                Some(data) => events.push(serde_json::from_str(data)?),
            }
        }
        bail!("the stream has no end")
    }
}
