//! The API server over kept connections, as its administrator: for many requests, and for times that leave kubectl's start out.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::text;

/// Connections that stay open between requests.
const CONNECTIONS: usize = 32;

/// `kubectl proxy`: the way to the API server, as plain HTTP on a loopback port.
pub(crate) struct Api {
    proxy: Child,
    url: String,
    agent: ureq::Agent,
}

/// What the API server answered.
pub(crate) struct Answer {
    pub(crate) object: Value,
    pub(crate) took: Duration,
}

impl Api {
    /// Opens the way, by the kubectl of a cluster's programs and the kubeconfig of the environment.
    pub(crate) fn open(programs: &Path) -> Result<Self> {
        let mut proxy = Command::new(programs.join("kubectl"))
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start kubectl proxy")?;
        let mut line = String::new();
        let output = proxy.stdout.take().context("kubectl proxy says nothing")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().unwrap_or_default();
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(30)))
            .max_idle_connections(CONNECTIONS)
            .max_idle_connections_per_host(CONNECTIONS)
            .http_status_as_error(false)
            .build();
        Ok(Self {
            url: format!("http://{address}"),
            proxy,
            agent: agent.into(),
        })
    }

    /// Reads an object or a list.
    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let start = Instant::now();
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        Ok(read(answer, start)?.object)
    }

    /// Creates an object. The error is the API server's answer.
    pub(crate) fn create(&self, path: &str, object: &Value) -> Result<Answer> {
        let start = Instant::now();
        let request = self.agent.post(format!("{}{path}", self.url));
        let answer = request.content_type("application/json").send(object.to_string());
        read(answer, start)
    }

    /// Changes an object by a merge patch.
    pub(crate) fn merge(&self, path: &str, change: &Value) -> Result<Answer> {
        let start = Instant::now();
        let request = self.agent.patch(format!("{}{path}", self.url));
        let answer = request
            .content_type("application/merge-patch+json")
            .send(change.to_string());
        read(answer, start)
    }
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>, start: Instant) -> Result<Answer> {
    let mut answer = answer?;
    let body = answer.body_mut().with_config().limit(u64::MAX).read_to_string()?;
    let took = start.elapsed();
    let object = serde_json::from_str(&body).with_context(|| format!("no JSON: {body}"))?;
    ensure!(
        answer.status().is_success(),
        "the API server answered {}: {}",
        answer.status(),
        text(&object, "/message")
    );
    Ok(Answer { object, took })
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
