//! Encryption of the service, with client certificates.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use liquid_proto::worker::v1::DescribeRequest;
use liquid_proto::worker::v1::worker_client::WorkerClient;
use liquid_worker::server::{Bound, ServeError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{TestServer, config};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

/// An authority, and the certificates that it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    /// Certificate and key, PEM.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

async fn server(authority: &Authority) -> (TempDir, TestServer) {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = authority.sign("localhost");
    let mut config = config();
    for (file, name, text) in [
        (&mut config.tls.cert_file, "tls.crt", cert),
        (&mut config.tls.key_file, "tls.key", key),
        (&mut config.tls.client_ca_file, "ca.crt", authority.issuer.pem()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        *file = Some(path);
    }
    (folder, TestServer::start(config).await)
}

async fn describe(server: &TestServer, authority: &Authority, identity: Option<(String, String)>) -> bool {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.issuer.pem()))
        .domain_name("localhost");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://{}", server.grpc))
        .unwrap()
        .tls_config(tls)
        .unwrap();
    let Ok(channel) = endpoint.connect().await else {
        return false;
    };
    WorkerClient::new(channel)
        .describe(DescribeRequest {})
        .await
        .is_ok()
}

#[tokio::test]
async fn only_clients_of_the_authority_may_connect() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_folder, server) = server(&authority).await;
    assert!(describe(&server, &authority, Some(authority.sign("sidecar"))).await);
    assert!(!describe(&server, &authority, None).await);
    assert!(!describe(&server, &authority, Some(stranger.sign("sidecar"))).await);
    assert!(!describe(&server, &stranger, Some(authority.sign("sidecar"))).await);
    assert!(
        WorkerClient::connect(format!("http://{}", server.grpc))
            .await
            .is_err()
            || {
                let mut plain = server.client().await;
                plain.describe(DescribeRequest {}).await.is_err()
            }
    );
}

#[tokio::test]
async fn a_missing_certificate_file_is_named() {
    let mut config = config();
    config.tls.cert_file = Some("absent.crt".into());
    config.tls.key_file = Some("absent.key".into());
    let bound = Bound::bind(config).await.unwrap();
    let error = bound.serve(std::future::pending()).await.unwrap_err();
    assert!(
        matches!(
            error,
            ServeError::TlsFile {
                field: "tls.cert_file",
                ..
            }
        ),
        "{error}"
    );
}
