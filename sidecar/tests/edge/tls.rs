//! Upstreams behind TLS, by HTTP/2 where they offer it, and clients that speak HTTP/2 without TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Sidecar, ask, chat, post, sidecar, stack};

const CHAT: &str = "/v1/chat/completions";

/// A TLS server for `localhost` that answers with the protocol and host it was asked by; its certificate as
/// PEM.
async fn tls_upstream(protocols: &[&str]) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![cert.der().clone()];
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let answer = axum::Router::new().fallback(async |request: Request<Body>| {
            let host = request.headers().get("host").cloned();
            let host = host.and_then(|host| Some(host.to_str().ok()?.to_owned()));
            let authority = request.uri().authority().map(ToString::to_string);
            format!(
                "{:?} {}",
                request.version(),
                authority.or(host).unwrap_or_default()
            )
        });
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server
                    .serve_connection(TokioIo::new(stream), TowerToHyperService::new(answer))
                    .await;
            });
        }
    });
    (address, cert.pem())
}

async fn behind(address: SocketAddr, ca: Option<&str>) -> Sidecar {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), ca.unwrap_or_default()).unwrap();
    let trust = ca.map_or(String::new(), |_| {
        format!("ca_file = \"{}\"", file.path().display())
    });
    sidecar(
        &format!("[upstream]\nretries = 0\n{trust}"),
        &format!("https://localhost:{}/v1", address.port()),
    )
    .await
}

#[tokio::test]
async fn alpn_chooses_the_protocol() {
    for (protocols, version) in [
        (&["h2", "http/1.1"][..], "HTTP/2.0"),
        (&["http/1.1"], "HTTP/1.1"),
        (&[], "HTTP/1.1"),
    ] {
        let (address, ca) = tls_upstream(protocols).await;
        let sidecar = behind(address, Some(&ca)).await;
        for path in [CHAT, "/v1/embeddings"] {
            let answer = ask(&sidecar.url(path), chat("m", false)).await;
            assert_eq!(
                (answer.status, answer.text()),
                (200, format!("{version} localhost:{}", address.port()))
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_authority_is_refused() {
    let (address, _) = tls_upstream(&["h2"]).await;
    let answer = ask(&behind(address, None).await.url(CHAT), chat("m", false)).await;
    assert_eq!(
        (answer.status, answer.json()["error"]["code"].as_str()),
        (502, Some("upstream_unreachable"))
    );
    assert!(answer.text().contains("certificate"), "{}", answer.text());
}

#[tokio::test]
async fn clients_may_speak_http2() {
    let stack = stack("").await;
    let client: Client<_, Body> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let response = client
        .request(post(&stack.url(CHAT), chat("m", false)))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), response.version()),
        (200, http::Version::HTTP_2)
    );
    let received = stack.upstream.last().unwrap();
    assert_eq!(
        received.header("host"),
        Some(stack.upstream.address().to_string().as_str())
    );
    assert_eq!(received.body, chat("m", false));
}
