//! A sidecar that many pods share, as a gateway: who may call, over TLS or without, and how it ends without a lost call.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http::request::Builder;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::support::{Stack, chat, send, sidecar, stack};
use liquid_testing::MockUpstream;

const CHAT: &str = "/v1/chat/completions";
const TOKEN: &str = "token-of-the-shop-0001";

/// A stack that lets in the client `shop`, and its folder of clients.
async fn guarded(toml: &str) -> (Stack, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop"), TOKEN).unwrap();
    let access = format!("[access]\nclients_folder = {:?}\n{toml}", folder.path());
    (stack(&access).await, folder)
}

fn call(stack: &Stack, path: &str, with: impl FnOnce(Builder) -> Builder) -> Request<Body> {
    let request = Request::post(stack.url(path)).header("content-type", "application/json");
    with(request).body(Body::from(chat("m", false))).unwrap()
}

#[tokio::test]
async fn a_client_is_let_in_and_its_token_goes_no_further() {
    let (stack, _folder) = guarded("").await;
    let bearer = format!("Bearer {TOKEN}");
    let answer = send(call(&stack, CHAT, |call| call.header("authorization", &bearer))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = stack.upstream.last().unwrap();
    assert_eq!(sent.header("authorization"), None);

    let with_key = |call: Builder| {
        call.header("x-liquid-token", TOKEN)
            .header("authorization", "Bearer sk-own")
    };
    let answer = send(call(&stack, CHAT, with_key)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = stack.upstream.last().unwrap();
    assert_eq!(sent.header("authorization"), Some("Bearer sk-own"));
    assert_eq!(sent.header("x-liquid-token"), None);
    assert_eq!(
        stack
            .sidecar
            .metric("liquid_sidecar_client_calls_total{client=\"shop\"}"),
        2.0
    );
}

#[tokio::test]
async fn the_providers_key_serves_clients_only() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-of-the-gateway").unwrap();
    let provider = format!("[upstream.providers.openai]\napi_key_file = {key:?}\n");
    let (stack, _clients) = guarded(&provider).await;
    let path = "/v1/embeddings";
    for path in [CHAT, path, "/v1/models"] {
        let answer = send(call(&stack, path, |call| {
            call.header("authorization", "Bearer guess")
        }))
        .await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert!(stack.upstream.requests().is_empty());
    let bearer = format!("Bearer {TOKEN}");
    for path in [CHAT, path] {
        send(call(&stack, path, |call| call.header("authorization", &bearer))).await;
        let sent = stack.upstream.last().unwrap();
        assert_eq!(
            sent.header("authorization"),
            Some("Bearer sk-of-the-gateway"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn who_is_no_client_is_told_so_in_the_words_of_its_api() {
    let (stack, _folder) = guarded("[pages]\nenabled = true").await;
    let answer = send(call(&stack, CHAT, |call| call)).await;
    assert_eq!(
        (answer.status, answer.header("www-authenticate")),
        (401, "Bearer")
    );
    assert_eq!(answer.header("x-should-retry"), "false");
    assert_eq!(answer.json()["error"]["code"], "unknown_client");
    let answer = send(call(&stack, "/v1/messages", |call| {
        call.header("x-api-key", "sk-ant")
    }))
    .await;
    assert_eq!(
        answer.json()["error"]["type"],
        "authentication_error",
        "{}",
        answer.text()
    );
    for path in [
        "/liquid/stats",
        "/liquid/packs/1",
        "/liquid/",
        "/liquid",
        "/anything",
    ] {
        let answer = send(Request::get(stack.url(path)).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    assert!(stack.upstream.requests().is_empty());
    let refused = |reason: &str| {
        let line = format!("liquid_sidecar_refused_clients_total{{reason={reason:?}}}");
        stack.sidecar.metric(&line)
    };
    assert_eq!((refused("token_missing"), refused("token_unknown")), (6.0, 1.0));
}

/// An authority, and what it signs.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Certificate and key, PEM.
    fn sign(&self, name: SanType) -> (String, String) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// What a server at `address` answers to `GET /v1/models` over TLS; the error where it lets nobody in.
async fn get_encrypted(
    authority: &Authority,
    client: Option<(String, String)>,
    address: std::net::SocketAddr,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match client {
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("gateway.test").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let request = "GET /v1/models HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn only_clients_with_the_right_certificate_are_let_in() {
    let (authority, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = authority.sign(SanType::DnsName("gateway.test".try_into().unwrap()));
    let toml = format!(
        "[listen.tls]\ncert_file = {:?}\nkey_file = {:?}\nclient_ca_file = {:?}\nclient_identities = [\"spiffe://t/shop\"]",
        write("tls.crt", &certificate),
        write("tls.key", &key),
        write("ca.crt", &authority.0.pem()),
    );
    let upstream = MockUpstream::start().await.unwrap();
    let sidecar = sidecar(&toml, &upstream.base_url()).await;
    let identity = |name: &str| SanType::URI(name.try_into().unwrap());
    let answer = get_encrypted(
        &authority,
        Some(authority.sign(identity("spiffe://t/shop"))),
        sidecar.address,
    )
    .await;
    assert!(answer.unwrap().starts_with("HTTP/1.1 200 "));
    for client in [
        None,
        Some(authority.sign(identity("spiffe://t/other"))),
        Some(other.sign(identity("spiffe://t/shop"))),
    ] {
        let answer = get_encrypted(&authority, client, sidecar.address).await;
        assert!(answer.is_err(), "{answer:?}");
    }
    assert_eq!(upstream.requests().len(), 1);
    let refused = |reason: &str| {
        let line = format!("liquid_sidecar_refused_clients_total{{reason={reason:?}}}");
        sidecar.metric(&line)
    };
    assert_eq!((refused("identity"), refused("certificate")), (1.0, 2.0));
}

#[tokio::test]
async fn after_the_notice_no_connection_is_left_that_a_call_could_be_lost_on() {
    let mut stack = stack("[limits]\nnotice_ms = 1500").await;
    let request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut kept = TcpStream::connect(stack.sidecar.address).await.unwrap();
    kept.write_all(request).await.unwrap();
    let mut some = [0; 4096];
    let first = kept.read(&mut some).await.unwrap();
    assert!(!String::from_utf8_lossy(&some[..first]).contains("connection: close"));

    stack.sidecar.stop.cancel();
    // A connection that is kept, and a new one: both are served, and closed behind the answer.
    let mut fresh = TcpStream::connect(stack.sidecar.address).await.unwrap();
    for stream in [&mut kept, &mut fresh] {
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await;
        read.expect("the connection was kept").unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"),
            "{answer}"
        );
    }
    let served = stack.sidecar.served.take().unwrap();
    assert!(served.await.unwrap());
    assert!(TcpStream::connect(stack.sidecar.address).await.is_err());
}
