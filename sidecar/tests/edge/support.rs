//! A sidecar in this process on a free port, and a client that shows bytes as they are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use liquid_process::tls::TlsKeeper;
use liquid_sidecar::access::Access;
use liquid_sidecar::compress::Compressor;
use liquid_sidecar::config::{Config, load_with};
use liquid_sidecar::http::server::Entrance;
use liquid_sidecar::http::{App, LiveState, server};
use liquid_sidecar::pages::RecentCalls;
use liquid_sidecar::report::Metrics;
use liquid_sidecar::upstream::{Guard, Routes, Upstreams};
use liquid_testing::MockUpstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A sidecar and the upstream behind it.
pub(crate) struct Stack {
    pub(crate) upstream: MockUpstream,
    pub(crate) sidecar: Sidecar,
}

/// A running sidecar; it stops when this is dropped.
pub(crate) struct Sidecar {
    pub(crate) address: SocketAddr,
    pub(crate) app: Arc<App>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: Option<tokio::task::JoinHandle<bool>>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Sidecar and mock upstream, with settings in TOML on top of the tests' own.
pub(crate) async fn stack(toml: &str) -> Stack {
    let upstream = MockUpstream::start().await.unwrap();
    let sidecar = sidecar(toml, &upstream.base_url()).await;
    Stack { upstream, sidecar }
}

/// A sidecar whose OpenAI and Anthropic providers are at `base_url`. Nothing listens on the worker's address.
pub(crate) async fn sidecar(toml: &str, base_url: &str) -> Sidecar {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let toml = toml
        .replace("SIDECAR", &address.to_string())
        .replace("UPSTREAM", base_url);
    let config = config(&toml, base_url);
    let guard = Guard::new();
    guard.set_listeners(vec![address]);
    let live = LiveState {
        compressor: Compressor::start(config.compress()).unwrap(),
        routes: Routes::resolve(&config.upstream).unwrap(),
    };
    let upstreams = Upstreams::new(&config.upstream, guard).unwrap();
    let recent = config.pages.enabled.then(|| RecentCalls::start(&config.pages));
    let access = Access::open(&config.access).unwrap();
    let tls = TlsKeeper::open("listen.tls", &config.listen.tls).await.unwrap();
    let app = App::new(live, upstreams, config.limits, Arc::new(Metrics::new()))
        .with_recent(recent)
        .with_access(access);
    let app = Arc::new(app);
    let stop = CancellationToken::new();
    let shard = server::Shard {
        runtime: tokio::runtime::Handle::current(),
        app: Arc::clone(&app),
    };
    let entrance = Entrance {
        listener,
        encryption: tls.map(Arc::new).into(),
    };
    let served = tokio::spawn(server::serve(entrance, vec![shard], stop.clone()));
    Sidecar {
        address,
        app,
        stop,
        served: Some(served),
    }
}

fn config(toml: &str, base_url: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, toml).unwrap();
    let mut variables = vec![
        (
            "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL".to_owned(),
            base_url.to_owned(),
        ),
        (
            "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL".to_owned(),
            base_url.to_owned(),
        ),
    ];
    if !toml.contains("workers =") {
        variables.push((
            "LIQUID_SIDECAR__EXTRACT__WORKERS".to_owned(),
            "127.0.0.1:9".to_owned(),
        ));
    }
    if !toml.contains("deadline_ms") && !toml.contains("workers =") {
        // How long the first call waits for a worker that never comes.
        variables.push((
            "LIQUID_SIDECAR__EXTRACT__DEADLINE_MS".to_owned(),
            "300".to_owned(),
        ));
    }
    load_with(Some(&path), variables).unwrap()
}

impl Stack {
    pub(crate) fn url(&self, path: &str) -> String {
        self.sidecar.url(path)
    }
}

impl Sidecar {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The counter's value in the metrics' text, 0 if it is not there.
    pub(crate) fn metric(&self, line: &str) -> f64 {
        let text = self
            .app
            .metrics
            .scrape(&[], self.app.upstreams.guard().connections())
            .unwrap();
        let found = text.lines().find_map(|each| each.strip_prefix(line));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }
}

/// An answer with its body collected.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
    /// False when the body broke off.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Sends a request.
pub(crate) async fn open(request: Request<Body>) -> Response<Incoming> {
    let client: Client<HttpConnector, Body> = Client::builder(TokioExecutor::new()).build_http();
    tokio::time::timeout(Duration::from_secs(20), client.request(request))
        .await
        .unwrap()
        .unwrap()
}

/// Sends a request and collects the answer, also a broken one.
pub(crate) async fn send(request: Request<Body>) -> Answer {
    let (parts, mut body) = open(request).await.into_parts();
    let mut collected = Vec::new();
    let mut complete = true;
    while let Some(frame) = tokio::time::timeout(Duration::from_secs(20), body.frame())
        .await
        .unwrap()
    {
        match frame {
            Ok(frame) => collected.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: collected.into(),
        complete,
    }
}

/// A JSON POST.
pub(crate) fn post(url: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(url)
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-test");
    request.body(body.into()).unwrap()
}

/// Posts a JSON body and collects the answer.
pub(crate) async fn ask(url: &str, body: impl Into<Body>) -> Answer {
    send(post(url, body)).await
}

/// A chat call with a model's name.
pub(crate) fn chat(model: &str, stream: bool) -> String {
    format!(
        r#"{{"model":"{model}","stream":{stream},"messages":[{{"role":"user","content":"How tall is it?"}}]}}"#
    )
}

/// Writes raw bytes and reads until the other side closes.
pub(crate) async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end too.
    let _ = read.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that answers every connection with fixed bytes, and then closes it.
pub(crate) async fn raw_upstream(answer: impl Into<Vec<u8>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = answer.into();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 65536];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    address
}

/// Waits until `condition` holds, for 10 seconds at most.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never happened: {what}");
}
