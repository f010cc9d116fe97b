//! Pods that are created for trial (`dryRun=All`) over kept connections: what an admission answers, and how long it takes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::text;
use crate::world::World;

/// `kubectl proxy`: the administrator's way to the API server, as plain HTTP on a loopback port.
pub(crate) struct Trials {
    proxy: Child,
    url: String,
    agent: ureq::Agent,
}

/// What the API server made of a pod.
pub(crate) struct Trial {
    pub(crate) pod: Value,
    pub(crate) took: Duration,
}

impl Trials {
    /// Opens the way to the pods of a namespace.
    pub(crate) fn open(world: &World, namespace: &str) -> Result<Self> {
        let mut proxy = Command::new(world.programs.join("kubectl"))
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
            .http_status_as_error(false)
            .build();
        Ok(Self {
            url: format!("http://{address}/api/v1/namespaces/{namespace}/pods?dryRun=All"),
            proxy,
            agent: agent.into(),
        })
    }

    /// Creates a pod for trial. The error is the API server's answer.
    pub(crate) fn create(&self, pod: &Value) -> Result<Trial> {
        let start = Instant::now();
        let request = self.agent.post(&self.url).content_type("application/json");
        let mut answer = request.send(pod.to_string())?;
        let made = answer.body_mut().read_to_string()?;
        let took = start.elapsed();
        let pod = serde_json::from_str(&made).with_context(|| format!("no JSON: {made}"))?;
        ensure!(
            answer.status() == 201,
            "the API server answered {}: {}",
            answer.status(),
            text(&pod, "/message")
        );
        Ok(Trial { pod, took })
    }
}

impl Drop for Trials {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}
