//! One body of many megabytes through a sidecar that is otherwise idle: what it costs in memory, on the way through
//! and when a live worker compresses it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::peer::{self, Peer};
use super::{Programs, mib, upstream};

/// Memory and time that one large body cost.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    /// `passed` or `compressed`: what the sidecar said it did.
    pub(super) decision: String,
    /// Length of the body.
    pub(super) bytes: u64,
    /// Resident memory before, in MiB.
    pub(super) before_mib: f64,
    /// Most resident memory meanwhile, in MiB.
    pub(super) peak_mib: f64,
    /// Memory that was added, over the length of the body.
    pub(super) times: f64,
    /// Time for the answer, in seconds.
    pub(super) seconds: f64,
}

/// Sends a body of about `bytes` with each mode, to a fresh sidecar each.
pub(super) fn run(programs: &Programs, folder: &Path, bytes: usize) -> Result<Vec<Body>> {
    let (_worker, worker) = peer::worker(&programs.worker, folder)?;
    let upstream = upstream::start()?;
    let body = body(bytes)?;
    let mut rows = Vec::new();
    for (mode, expected) in [("off", "passed"), ("auto", "compressed")] {
        let sidecar = Peer::sidecar(&programs.sidecar, folder, upstream, worker)?;
        let before = sidecar.process.resident()?;
        sidecar.process.forget_peak()?;
        let start = Instant::now();
        let decision = send(&sidecar, mode, &body)?;
        let seconds = start.elapsed().as_secs_f64();
        ensure!(
            decision == expected,
            "the sidecar says {decision:?}, not {expected:?}"
        );
        let peak = sidecar.process.peak()?;
        rows.push(Body {
            decision,
            bytes: body.len() as u64,
            before_mib: mib(before),
            peak_mib: mib(peak),
            times: peak.saturating_sub(before) as f64 / body.len() as f64,
            seconds,
        });
    }
    Ok(rows)
}

fn send(sidecar: &Peer, mode: &str, body: &str) -> Result<String> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(300)))
        .proxy(None)
        .build();
    let mut answer = ureq::Agent::from(agent)
        .post(format!("http://{}/v1/chat/completions", sidecar.address))
        .content_type("application/json")
        .header("x-liquid-mode", mode)
        .send(body)
        .context("a large body")?;
    let read = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
    let (decision, reason) = (read("x-liquid-decision"), read("x-liquid-reason"));
    answer.body_mut().read_to_string()?;
    let decision = decision.context("the answer has no x-liquid-decision")?;
    if decision == "passed" && mode != "off" {
        return Ok(format!("passed ({})", reason.unwrap_or_default()));
    }
    Ok(decision)
}

/// A chat completion whose document makes it about `bytes` long. Lines and quotes are escaped in it, so that the
/// document cannot be read in place.
fn body(bytes: usize) -> Result<String> {
    let mut document = String::with_capacity(bytes);
    let mut number = 0_u64;
    while document.len() < bytes {
        number += 1;
        let (place, goods) = (number * 7_919 % 1_009, number * 104_729 % 9_973);
        document.push_str(&format!(
            "Delivery {number} of \"goods no. {goods}\" reached warehouse {place} and was accepted by the buyer.\n"
        ));
    }
    let question = "Which goods reached warehouse 17?";
    let body = serde_json::json!({"model": "gpt-4o", "messages": [
        {"role": "user", "content": document}, {"role": "user", "content": question}]});
    Ok(serde_json::to_string(&body)?)
}
