//! `cargo xtask demo --llm`: the answer comes from a small language model in the worker. Shows what was cut, what was sent
//! where, and that nothing left the machine.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::case::Case;
use super::report;
use super::sockets::Sockets;
use crate::console::{bold, dim, green, human, say, thousands};
use crate::http::{self, Answer};
use crate::model::{self, Weights};
use crate::stack::{Ports, Service};

/// Tokens of the pack, so that a processor has read it after seconds; the model's context has room for five times as many.
const PACK_TOKENS: &str = "1500";
const ANSWER_TOKENS: u32 = 96;

/// Fetches the model if it is not there.
pub(super) fn weights() -> Result<PathBuf> {
    match model::decoder::ensure()? {
        Weights::Ready(folder) => {
            say("SmolLM2-135M-Instruct, sha256 as pinned");
            Ok(folder)
        }
        Weights::Missing(why) => bail!("no language model: {why}"),
    }
}

/// Makes the sidecar one without any upstream: the workers' model answers, and no key is there to be sent.
pub(super) fn answer_inside(sidecar: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().ends_with("_API_KEY") {
            sidecar.env_remove(name);
        }
    }
    sidecar
        .env_remove("SYNTHESIS_MODEL")
        .env("LIQUID_SIDECAR__UPSTREAM__OPENAI", "liquid")
        .env("LIQUID_SIDECAR__UPSTREAM__ANTHROPIC", "liquid")
        .env("LIQUID_SIDECAR__POLICY__BUDGET__MAX_TOKENS", PACK_TOKENS);
}

/// A streamed answer, and what was seen on the way.
struct Streamed {
    answer: Answer,
    text: String,
    first: Option<Duration>,
    pieces: u32,
    finish: Option<String>,
    usage: Option<Value>,
    /// While the model wrote.
    sockets: Sockets,
}

/// Asks, and shows the answer as it is written; then what became of the document.
pub(super) fn ask(ports: Ports, case: &Case, services: &[Service]) -> Result<()> {
    let url = format!("{}/chat/completions", ports.base_url());
    report::question(case);
    say(format!("\n{}", bold("The answer, as it is written")));
    let streamed = stream(&url, case, services)?;
    check(&streamed)?;
    let pack = streamed.answer.header("x-liquid-pack-id");
    let pack = pack.context("the document was not packed; see x-liquid-reason in the sidecar's log")?;
    let manifest = http::get(&format!("http://127.0.0.1:{}/liquid/packs/{pack}", ports.sidecar))?;
    let dry = http::post(&format!("{url}?dry_run=1"), &body(case))?;
    report::evidence(case, &manifest, &dry.body)?;
    report::sizes(&streamed.answer, &manifest);
    destinations(ports, &streamed, services)
}

/// The body that any OpenAI client would send.
fn body(case: &Case) -> Value {
    let mut body = case.request(true);
    body["stream_options"] = json!({"include_usage": true});
    body["temperature"] = json!(0);
    body["max_tokens"] = json!(ANSWER_TOKENS);
    body
}

fn stream(url: &str, case: &Case, services: &[Service]) -> Result<Streamed> {
    let (start, mut first, mut pieces) = (Instant::now(), None, 0);
    let (mut text, mut finish, mut usage) = (String::new(), None, None);
    let mut sockets = None;
    print!("    ");
    let answer = http::events(url, &body(case), |chunk| {
        usage = chunk
            .get("usage")
            .filter(|usage| !usage.is_null())
            .cloned()
            .or(usage.take());
        let choice = chunk.pointer("/choices/0");
        let reason = choice.and_then(|choice| choice.get("finish_reason")?.as_str());
        finish = reason.map(str::to_owned).or(finish.take());
        let piece = choice.and_then(|choice| choice.pointer("/delta/content")?.as_str());
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else {
            return;
        };
        first.get_or_insert_with(|| start.elapsed());
        if sockets.is_none() {
            sockets = Some(Sockets::of(services));
        }
        pieces += 1;
        text.push_str(piece);
        print!("{}", piece.replace('\n', "\n    "));
        let _ = std::io::stdout().flush();
    })?;
    println!();
    Ok(Streamed {
        answer,
        text,
        first,
        pieces,
        finish,
        usage,
        sockets: sockets.context("the answer has no text")??,
    })
}

fn check(streamed: &Streamed) -> Result<()> {
    let decision = streamed.answer.header("x-liquid-decision");
    ensure!(
        decision == Some("compressed"),
        "the document was not packed: {decision:?}"
    );
    ensure!(!streamed.text.trim().is_empty(), "the answer has no text");
    let finish = streamed.finish.as_deref();
    ensure!(
        matches!(finish, Some("stop" | "length")),
        "the answer did not end: {finish:?}"
    );
    ensure!(streamed.usage.is_some(), "the stream has no usage");
    Ok(())
}

/// Shows who was sent what, and proves that nobody else was.
fn destinations(ports: Ports, streamed: &Streamed, services: &[Service]) -> Result<()> {
    let usage = streamed.usage.clone().unwrap_or_default();
    let number = |path: &str| usage.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let (read, wrote) = (number("/prompt_tokens"), number("/completion_tokens"));
    let first = streamed.first.unwrap_or_default();
    let writing = streamed.answer.took.saturating_sub(first).as_secs_f64();
    let before = streamed
        .answer
        .number("x-liquid-tokens-before")
        .unwrap_or_default();
    say(format!("\n{}", bold("Sent where")));
    say(format!(
        "  document  to the worker at 127.0.0.1:{}, about {before:.0} tokens",
        ports.worker
    ));
    say(format!(
        "  pack      to the language model in the same worker: {} tokens read, {} remembered from before",
        thousands(read),
        thousands(number("/prompt_tokens_details/cached_tokens"))
    ));
    say(format!(
        "  answer    {wrote} tokens in {} pieces: the first after {}, then {:.1} tokens/s",
        streamed.pieces,
        human(first),
        wrote.saturating_sub(1) as f64 / writing.max(1e-3)
    ));
    let stats = http::get(&format!("http://127.0.0.1:{}/liquid/stats", ports.sidecar))?;
    let upstreams = stats.get("upstream_connections").and_then(Value::as_u64);
    ensure!(
        upstreams == Some(0),
        "the sidecar has connected to an upstream: {upstreams:?}"
    );
    say(dim(
        "  upstream  none is configured; connections to upstreams since the start: 0",
    ));
    for sockets in [&streamed.sockets, &Sockets::of(services)?] {
        sockets.check()?;
    }
    say(green(&format!(
        "✓ nothing left this machine: the {} sockets that worker and sidecar had while the model wrote are all of 127.0.0.1",
        streamed.sockets.count()
    )));
    Ok(())
}
