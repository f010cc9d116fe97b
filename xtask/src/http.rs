//! A small blocking HTTP client for the loopback services that the commands start.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::http::HeaderMap;

/// An answer whose body is read to its end.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
    pub(crate) took: Duration,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        self.header(name)?.parse().ok()
    }
}

fn agent(limit: Duration) -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(limit))
        .http_status_as_error(false)
        .proxy(None)
        .build()
        .into()
}

/// The status of a GET, if anything answers.
pub(crate) fn status(url: &str) -> Option<u16> {
    agent(Duration::from_secs(2))
        .get(url)
        .call()
        .ok()
        .map(|answer| answer.status().as_u16())
}

/// GET of a JSON document.
pub(crate) fn get(url: &str) -> Result<Value> {
    let mut answer = agent(Duration::from_secs(10)).get(url).call()?;
    let text = answer.body_mut().read_to_string()?;
    if !answer.status().is_success() {
        bail!("GET {url} answered {}: {text}", answer.status());
    }
    serde_json::from_str(&text).with_context(|| format!("GET {url} did not answer JSON"))
}

/// POST of a JSON document that is answered by one.
pub(crate) fn post(url: &str, body: &Value) -> Result<Answer> {
    let (start, mut answer) = send(url, body)?;
    let text = answer.body_mut().read_to_string()?;
    let took = start.elapsed();
    let body =
        serde_json::from_str(&text).with_context(|| format!("POST {url} did not answer JSON: {text}"))?;
    Ok(Answer {
        headers: answer.headers().clone(),
        body,
        took,
    })
}

/// POST of a JSON document that is answered by server-sent events; hands over the data of each as it comes.
pub(crate) fn events(url: &str, body: &Value, mut event: impl FnMut(&Value)) -> Result<Answer> {
    let (start, mut answer) = send(url, body)?;
    let headers = answer.headers().clone();
    for line in BufReader::new(answer.body_mut().as_reader()).lines() {
        let line = line?;
        match line.strip_prefix("data: ") {
            None => {}
            Some("[DONE]") => break,
            Some(data) => event(&serde_json::from_str(data)?),
        }
    }
    Ok(Answer {
        headers,
        body: Value::Null,
        took: start.elapsed(),
    })
}

fn send(url: &str, body: &Value) -> Result<(Instant, ureq::http::Response<ureq::Body>)> {
    let start = Instant::now();
    let request = agent(Duration::from_secs(600))
        .post(url)
        .content_type("application/json");
    let request = request.header("authorization", &authorization());
    let mut answer = request.send(body.to_string())?;
    if !answer.status().is_success() {
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        bail!("POST {url} answered {}: {text}", answer.status());
    }
    Ok((start, answer))
}

/// The caller's own key where there is one: the sidecar hands it on to the provider.
fn authorization() -> String {
    let key = std::env::var("OPENAI_API_KEY").unwrap_or_else(|_| "unused".to_owned());
    format!("Bearer {key}")
}
