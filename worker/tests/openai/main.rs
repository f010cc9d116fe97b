//! The decoder over HTTP: every route, streams, errors, many clients, the drain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod errors;
mod life;
mod routes;

use liquid_worker::config::Config;
use serde_json::{Value, json};
use support::http::{Answer, HttpClient, Version};
use support::{TestServer, config, write_tiny_decoder};
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A worker with the tiny decoder.
struct Decoder {
    server: TestServer,
    client: HttpClient,
    _folder: TempDir,
}

async fn decoder_with(change: impl FnOnce(&mut Config)) -> Decoder {
    let folder = tempfile::tempdir().unwrap();
    write_tiny_decoder(folder.path());
    let mut config = config();
    config.decoder.folder = Some(folder.path().to_owned());
    config.decoder.name = Some("tiny".to_owned());
    config.decoder.memory_bytes = 64 << 20;
    change(&mut config);
    let server = TestServer::start(config).await;
    Decoder {
        client: server.http(Version::Http1),
        server,
        _folder: folder,
    }
}

async fn decoder() -> Decoder {
    decoder_with(|_| {}).await
}

/// A chat of a certain answer, with some more fields.
fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{"role": "user", "content": "what is a lease"}], "temperature": 0,
        "max_tokens": 12, "ignore_eos": true,
    });
    merge(&mut body, more);
    body
}

fn text(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "prompt": "a lease is", "temperature": 0, "max_tokens": 12, "ignore_eos": true,
    });
    merge(&mut body, more);
    body
}

fn merge(body: &mut Value, more: Value) {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
}

fn content(answer: &Answer) -> String {
    let answer = answer.json();
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}
