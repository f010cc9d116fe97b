//! A client of the worker's HTTP routes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use liquid_contract::headers::TIMEOUT_MS;
use serde_json::Value;

/// The version that a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http1,
    Http2,
}

/// A client of one worker.
#[derive(Clone)]
pub struct HttpClient {
    inner: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: hyper::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The chunks of a stream that is complete.
    pub fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), "text/event-stream; charset=utf-8");
        let mut events: Vec<&str> = self.text.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{}", self.text);
        let json = |event: &&str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        events.iter().map(json).collect()
    }

    /// The error's status, param and code.
    pub fn error(&self) -> (u16, String, String) {
        let error = &self.json()["error"];
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        let kind = match self.status {
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        assert_eq!(text("type"), kind);
        (self.status, text("param"), text("code"))
    }
}

impl HttpClient {
    /// Talks to a worker without encryption.
    pub fn plain(address: SocketAddr, version: Version) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .unwrap()
            .https_or_http()
            .enable_all_versions()
            .build();
        Self::new(connector, format!("http://{address}"), version)
    }

    /// Talks to a worker whose certificate is for `localhost`.
    pub fn encrypted(port: u16, config: rustls::ClientConfig, version: Version) -> Self {
        let builder = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let connector = match version {
            Version::Http1 => builder.enable_http1().build(),
            Version::Http2 => builder.enable_http2().build(),
        };
        Self::new(connector, format!("https://localhost:{port}"), version)
    }

    fn new(connector: HttpsConnector<HttpConnector>, base: String, version: Version) -> Self {
        let inner = Client::builder(TokioExecutor::new())
            .http2_only(version == Version::Http2)
            // So that a client that does not read holds an answer up.
            .http2_initial_stream_window_size(1024)
            .build(connector);
        Self { inner, base }
    }

    /// Sends a request; returns the answer's head and the rest to read, or none if the connection fails.
    pub async fn send(&self, method: &str, path: &str, body: &str) -> Option<Response<Incoming>> {
        self.send_as("application/json", method, path, body).await
    }

    async fn send_as(
        &self,
        content_type: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("content-type", content_type)
            .body(Full::from(body.to_owned()))
            .unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), self.inner.request(request)).await;
        answer.expect("no answer").ok()
    }

    async fn whole(&self, method: &str, path: &str, body: &str) -> Answer {
        Self::read(self.send(method, path, body).await).await
    }

    /// Posts a body of another type than JSON.
    pub async fn post_as(&self, content_type: &str, path: &str, body: &str) -> Answer {
        Self::read(self.send_as(content_type, "POST", path, body).await).await
    }

    /// Posts a body with the milliseconds that its answer may take.
    pub async fn post_within(&self, milliseconds: &str, path: &str, body: &Value) -> Answer {
        let request = Request::post(format!("{}{path}", self.base))
            .header("content-type", "application/json")
            .header(TIMEOUT_MS, milliseconds)
            .body(Full::from(body.to_string()))
            .unwrap();
        Self::read(self.inner.request(request).await.ok()).await
    }

    async fn read(answer: Option<Response<Incoming>>) -> Answer {
        let (head, body) = answer.expect("no connection").into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.whole("POST", path, &body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.whole("POST", path, body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.whole("GET", path, "").await
    }
}
