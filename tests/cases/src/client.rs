//! A client that shows an answer's bytes as they are, and when they came.

use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// The longest time that an answer, or a piece of one, may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer with its body collected.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: http::HeaderMap,
    /// Pieces of the body as they came.
    pub pieces: Vec<Piece>,
    /// Whether the body ended as HTTP has it; false when it broke off.
    pub complete: bool,
}

/// A piece of a body.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Time since the request was sent.
    pub at: Duration,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Answer {
    /// Returns the body's text.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes: Vec<u8> = self
            .pieces
            .iter()
            .flat_map(|piece| piece.bytes.iter().copied())
            .collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns the body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text())
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// Returns a header's value, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns the JSON of each event of the stream; `[DONE]` and comments are none.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        data.filter_map(|data| serde_json::from_str(data).ok()).collect()
    }
}

/// Makes a POST of JSON with an OpenAI client's key.
#[must_use]
pub fn post(url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(url)
        .header("content-type", "application/json")
        .header("authorization", "Bearer k")
        .body(body.into())
        .unwrap()
}

/// Sends a request and collects the answer, also a broken one.
pub async fn send(request: Request<Body>) -> Answer {
    let began = Instant::now();
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    let answer = tokio::time::timeout(PATIENCE, client.request(request)).await;
    let (parts, mut body) = answer.expect("no answer").unwrap().into_parts();
    let (mut pieces, mut complete) = (Vec::new(), true);
    while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame())
        .await
        .expect("no end")
    {
        let Ok(frame) = frame else {
            complete = false;
            break;
        };
        if let Ok(bytes) = frame.into_data() {
            pieces.push(Piece {
                at: began.elapsed(),
                bytes,
            });
        }
    }
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        pieces,
        complete,
    }
}
