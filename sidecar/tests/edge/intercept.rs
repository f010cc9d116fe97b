//! Calls of applications that have a provider's https URL in their code, over connections whose TLS ends here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use liquid_sidecar::http::server::{self, Encryption, Entrance, Shard};
use liquid_sidecar::intercept::{Interception, Settings};
use liquid_sidecar::upstream::Connector;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::support::{Answer, Stack, chat, eventually, post, stack};

const OPENAI: &str = "api.openai.com";
const ANTHROPIC: &str = "api.anthropic.com";

/// A sidecar that intercepts, and its upstream.
struct Stage {
    stack: Stack,
    address: SocketAddr,
    authority: CertificateDer<'static>,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

impl Stage {
    async fn new() -> Self {
        let stack = stack("").await;
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([OPENAI.to_owned(), ANTHROPIC.to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert_file, cert.pem()).unwrap();
        std::fs::write(&key_file, signing_key.serialize_pem()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Settings {
            address: Some(address),
            cert_file: Some(cert_file),
            key_file: Some(key_file),
        };
        let app = Arc::clone(&stack.sidecar.app);
        let connector = Connector::new(app.upstreams.guard().clone()).unwrap();
        let interception = Interception::open(&settings, connector, Duration::from_secs(5)).await;
        let encryption = Encryption::Intercepted(Arc::new(interception.unwrap().unwrap()));
        let shard = Shard {
            runtime: tokio::runtime::Handle::current(),
            app,
        };
        let entrance = Entrance { listener, encryption };
        tokio::spawn(server::serve(entrance, vec![shard], stack.sidecar.stop.clone()));
        Self {
            stack,
            address,
            authority: cert.der().clone(),
        }
    }

    async fn connect(&self, host: &str, protocol: Protocol) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = match protocol {
            Protocol::Http1 => vec![b"http/1.1".to_vec()],
            Protocol::Http2 => vec![b"h2".to_vec()],
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        connected.unwrap()
    }

    /// Calls a URL over a connection to `host`.
    async fn call(&self, host: &str, protocol: Protocol, mut request: Request<Body>) -> Answer {
        let stream = TokioIo::new(self.connect(host, protocol).await);
        let response = match protocol {
            Protocol::Http1 => {
                let authority = request.uri().authority().unwrap().to_string();
                request.headers_mut().insert("host", authority.parse().unwrap());
                *request.uri_mut() = request.uri().path().parse().unwrap();
                let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
            Protocol::Http2 => {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(request).await.unwrap()
            }
        };
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes(),
            complete: true,
        }
    }
}

#[tokio::test]
async fn calls_to_a_providers_url_are_calls_on_its_surfaces() {
    let stage = Stage::new().await;
    let body = chat("m", false);
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for (host, path) in [(OPENAI, "/v1/chat/completions"), (ANTHROPIC, "/v1/messages")] {
            let request = post(&format!("https://{host}{path}"), body.clone());
            let answer = stage.call(host, protocol, request).await;
            assert_eq!(answer.status, 200, "{protocol:?} {host}: {}", answer.text());
            assert_eq!(
                answer.header("x-liquid-decision"),
                "passed",
                "{protocol:?} {host}"
            );
            let received = stage.stack.upstream.last().unwrap();
            assert_eq!(
                (received.path.as_str(), received.body),
                (path, body.clone().into())
            );
            // The key is the application's; the host is the upstream's own.
            assert_eq!(
                stage.stack.upstream.last().unwrap().header("authorization"),
                Some("Bearer sk-test")
            );
        }
    }
    let served = "liquid_sidecar_intercepted_connections_total{end=\"served\"}";
    eventually("four connections", || stage.stack.sidecar.metric(served) >= 4.0).await;
}

/// Each provider is called with its own key: the path of another API's surface is one more path of the host.
#[tokio::test]
async fn a_hosts_calls_are_those_of_its_own_api() {
    let stage = Stage::new().await;
    for (host, path) in [(ANTHROPIC, "/v1/chat/completions"), (OPENAI, "/v1/messages")] {
        let request = post(&format!("https://{host}{path}"), chat("m", false));
        let answer = stage.call(host, Protocol::Http1, request).await;
        assert_eq!(answer.header("x-liquid-decision"), "", "{host}{path}");
        assert_eq!(stage.stack.upstream.last().unwrap().path, path);
    }
    let other = "liquid_sidecar_requests_total{surface=\"other\",decision=\"passed\",reason=\"no_surface\",status=\"200\"}";
    eventually("two calls on no surface", || {
        stage.stack.sidecar.metric(other) >= 2.0
    })
    .await;
}

#[tokio::test]
async fn every_path_of_a_host_is_the_providers() {
    let stage = Stage::new().await;
    for path in ["/v1/models", "/dashboard/usage", "/liquid/stats", "/liquid"] {
        let request = Request::get(format!("https://{OPENAI}{path}"));
        let request = request.body(Body::empty()).unwrap();
        stage.call(OPENAI, Protocol::Http1, request).await;
        assert_eq!(stage.stack.upstream.last().unwrap().path, path);
    }
}

/// HTTP/2 lets a client use a connection for every host that its certificate names.
#[tokio::test]
async fn a_call_for_another_host_than_the_connections_goes_to_that_one_or_is_misdirected() {
    let stage = Stage::new().await;
    let request = post(&format!("https://{ANTHROPIC}/v1/messages"), chat("m", false));
    let answer = stage.call(OPENAI, Protocol::Http2, request).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-decision")),
        (200, "passed")
    );
    let calls = stage.stack.upstream.requests().len();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let request = post("https://files.openai.com/v1/chat/completions", chat("m", false));
        let answer = stage.call(OPENAI, protocol, request).await;
        assert_eq!(
            (answer.status, answer.json()["error"]["code"].as_str()),
            (421, Some("misdirected_request"))
        );
    }
    assert_eq!(stage.stack.upstream.requests().len(), calls);
}

#[tokio::test]
async fn a_connection_without_a_call_is_counted_as_such() {
    let stage = Stage::new().await;
    drop(stage.connect(OPENAI, Protocol::Http1).await);
    let unused = "liquid_sidecar_intercepted_connections_total{end=\"unused\"}";
    eventually("the end of the connection", || {
        (stage.stack.sidecar.metric(unused) - 1.0).abs() < f64::EPSILON
    })
    .await;
}
