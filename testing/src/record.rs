//! What the mock upstream remembers of each request: its head and its exact body bytes.

use axum::http::request::Parts;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Method: `POST`, `GET`, ...
    pub method: String,
    /// Path without the query, for example `/v1/chat/completions`.
    pub path: String,
    /// Query without `?`; empty if there was none.
    pub query: String,
    /// Header names in lower case with their values, repeated headers one by one.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Recorded {
    pub(crate) fn new(head: &Parts, body: Bytes) -> Self {
        let headers = head.headers.iter();
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: headers
                .map(|(name, value)| {
                    (
                        name.to_string(),
                        String::from_utf8_lossy(value.as_bytes()).into_owned(),
                    )
                })
                .collect(),
            body,
        }
    }

    /// Returns the first value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the body as JSON; `Value::Null` if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Returns the lower-case hexadecimal SHA-256 of the body.
    #[must_use]
    pub fn sha256(&self) -> String {
        sha256(&self.body)
    }

    /// Returns what `GET /mock/requests` shows; the body itself is at `/mock/requests/{index}/body`.
    pub(crate) fn to_json(&self, index: usize) -> Value {
        json!({
            "index": index, "method": self.method, "path": self.path, "query": self.query,
            "headers": self.headers, "body_bytes": self.body.len(), "body_sha256": self.sha256(),
            "json": self.json(),
        })
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(&Sha256::digest(bytes))
}
