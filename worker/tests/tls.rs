//! Encryption of the service: who may connect, and files that change while the worker runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::path::Path;
use std::time::Duration;

use liquid_proto::worker::v1::DescribeRequest;
use liquid_proto::worker::v1::worker_client::WorkerClient;
use liquid_worker::config::Config;
use liquid_worker::runtime::Runtime;
use liquid_worker::server::{BoundServer, ServeError, TlsError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::http::{HttpClient, Version};
use support::{TestServer, config};
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

const SIDECAR: &str = "spiffe://liquid-memory/ns/shop/proxy/main/sidecar";
const FOREIGN: &str = "spiffe://liquid-memory/ns/other/proxy/main/sidecar";

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

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Signs a certificate with this DNS name; returns it and its key, PEM.
    fn sign(&self, name: &str) -> (String, String) {
        self.sign_for(name, &[])
    }

    /// Signs a certificate with this DNS name and these URIs; returns it and its key, PEM.
    fn sign_for(&self, name: &str, uris: &[&str]) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let uris = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names.extend(uris);
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }
}

/// A folder as the kubelet keeps it for a Secret: the files are links through `..data`, which is swapped at
/// once.
struct Secret {
    folder: TempDir,
    generation: usize,
}

impl Secret {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["tls.crt", "tls.key", "ca.crt"] {
            std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        Self {
            folder,
            generation: 0,
        }
    }

    fn write(&mut self, (cert, key): &(String, String), authorities: &str) {
        self.generation += 1;
        let data = format!("..generation-{}", self.generation);
        let folder = self.folder.path().join(&data);
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in [
            ("tls.crt", cert.as_str()),
            ("tls.key", key),
            ("ca.crt", authorities),
        ] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let new = self.folder.path().join("..data_tmp");
        std::os::unix::fs::symlink(&data, &new).unwrap();
        std::fs::rename(new, self.folder.path().join("..data")).unwrap();
    }

    fn config(&self) -> Config {
        let mut config = config();
        let path = |name| Some(self.folder.path().join(name));
        (config.tls.cert_file, config.tls.key_file) = (path("tls.crt"), path("tls.key"));
        config.tls.client_ca_file = path("ca.crt");
        config.tls.reload_ms = 10;
        config
    }
}

/// Starts a worker whose certificate and clients are of one authority.
async fn server(authority: &Authority, change: impl FnOnce(&mut Config)) -> (Secret, TestServer) {
    let mut secret = Secret::new();
    secret.write(&authority.sign("localhost"), &authority.pem());
    let mut config = secret.config();
    change(&mut config);
    (secret, TestServer::start(config).await)
}

type Client = WorkerClient<Channel>;

/// Connects and trusts `authority`; `None` where the handshake fails on this side.
async fn connect(
    server: &TestServer,
    authority: &Authority,
    identity: Option<(String, String)>,
) -> Option<Client> {
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    if let Some((cert, key)) = identity {
        tls = tls.identity(Identity::from_pem(cert, key));
    }
    let endpoint = Channel::from_shared(format!("https://{}", server.grpc))
        .unwrap()
        .tls_config(tls)
        .unwrap();
    Some(WorkerClient::new(endpoint.connect().await.ok()?))
}

async fn answers(client: &mut Client) -> bool {
    client.describe(DescribeRequest {}).await.is_ok()
}

/// Returns true if a new connection gets an answer.
async fn describe(server: &TestServer, authority: &Authority, identity: Option<(String, String)>) -> bool {
    match connect(server, authority, identity).await {
        Some(mut client) => answers(&mut client).await,
        None => false,
    }
}

/// Waits until a metric has this value.
async fn until_metric(server: &TestServer, line: &str) {
    for _ in 0..1000 {
        if server.get("/metrics").await.1.lines().any(|have| have == line) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no {line} in {}", server.get("/metrics").await.1);
}

#[tokio::test]
async fn only_clients_of_the_authority_may_connect() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_secret, server) = server(&authority, |_| {}).await;
    assert!(describe(&server, &authority, Some(authority.sign("sidecar"))).await);
    assert!(!describe(&server, &authority, None).await);
    assert!(!describe(&server, &authority, Some(stranger.sign("sidecar"))).await);
    assert!(!describe(&server, &stranger, Some(authority.sign("sidecar"))).await);
    let plain = WorkerClient::connect(format!("http://{}", server.grpc)).await;
    if let Ok(mut plain) = plain {
        assert!(!answers(&mut plain).await);
    }
    until_metric(
        &server,
        "liquid_worker_refused_connections_total{reason=\"certificate\"} 2",
    )
    .await;
}

#[tokio::test]
async fn only_named_identities_may_connect() {
    let authority = Authority::new();
    let (_secret, server) = server(&authority, |config| {
        config.tls.client_identities = vec!["spiffe://unused".to_owned(), SIDECAR.to_owned()];
    })
    .await;
    let uris = |uris: &[&str]| Some(authority.sign_for("sidecar", uris));
    assert!(describe(&server, &authority, uris(&[SIDECAR])).await);
    assert!(describe(&server, &authority, uris(&[FOREIGN, SIDECAR])).await);
    assert!(!describe(&server, &authority, uris(&[FOREIGN])).await);
    assert!(!describe(&server, &authority, uris(&[])).await);
    let longer = format!("{SIDECAR}/more");
    assert!(!describe(&server, &authority, uris(&[&longer])).await);
    // A name that is no URI counts for nothing, whatever it says.
    assert!(!describe(&server, &authority, Some(authority.sign("spiffe"))).await);
    until_metric(
        &server,
        "liquid_worker_refused_connections_total{reason=\"identity\"} 4",
    )
    .await;
}

/// Settings of an HTTP client with this identity, which trusts `authority`.
fn http_settings(authority: &Authority, identity: Option<(String, String)>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let builder =
        rustls::ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    match identity {
        Some((cert, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    }
}

#[tokio::test]
async fn http_has_the_port_the_encryption_and_the_clients_of_grpc() {
    let authority = Authority::new();
    let (_secret, server) = server(&authority, |config| {
        config.tls.client_identities = vec![SIDECAR.to_owned()];
    })
    .await;
    let sidecar = authority.sign_for("sidecar", &[SIDECAR]);
    let foreign = authority.sign_for("sidecar", &[FOREIGN]);
    for version in [Version::Http1, Version::Http2] {
        let send = async |identity: Option<(String, String)>| {
            let settings = http_settings(&authority, identity);
            let client = HttpClient::encrypted(server.grpc.port(), settings, version);
            let answer = client.send("GET", "/v1/models", "").await?;
            Some((answer.status().as_u16(), answer.version()))
        };
        let spoken = match version {
            Version::Http1 => hyper::Version::HTTP_11,
            Version::Http2 => hyper::Version::HTTP_2,
        };
        // No model is served here, which is said to those who may ask.
        assert_eq!(send(Some(sidecar.clone())).await, Some((404, spoken)));
        assert_eq!(send(Some(foreign.clone())).await, None);
        assert_eq!(send(None).await, None);
    }
    let refused = "liquid_worker_refused_connections_total{reason=\"identity\"} 2";
    until_metric(&server, refused).await;
    assert!(describe(&server, &authority, Some(sidecar)).await);
}

#[tokio::test]
async fn certificates_rotate_under_traffic() {
    let (old, new) = (Authority::new(), Authority::new());
    let (mut secret, server) = server(&old, |_| {}).await;
    let mut open = connect(&server, &old, Some(old.sign("sidecar"))).await.unwrap();
    assert!(answers(&mut open).await);

    // The new authority signs the worker's certificate; clients of both may come while the bundle holds both.
    let both = format!("{}{}", old.pem(), new.pem());
    let traffic = tokio::spawn({
        let mut open = open.clone();
        async move {
            for _ in 0..200 {
                assert!(answers(&mut open).await);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    secret.write(&new.sign("localhost"), &both);
    until_metric(&server, "liquid_worker_tls_reloads_total{result=\"ok\"} 1").await;
    assert!(describe(&server, &new, Some(old.sign("sidecar"))).await);
    assert!(describe(&server, &new, Some(new.sign("sidecar"))).await);
    assert!(!describe(&server, &old, Some(old.sign("sidecar"))).await);

    secret.write(&new.sign("localhost"), &new.pem());
    until_metric(&server, "liquid_worker_tls_reloads_total{result=\"ok\"} 2").await;
    assert!(describe(&server, &new, Some(new.sign("sidecar"))).await);
    assert!(!describe(&server, &new, Some(old.sign("sidecar"))).await);

    // The connection of the old days has seen nothing of it.
    traffic.await.unwrap();
    assert!(answers(&mut open).await);
}

#[tokio::test]
async fn files_that_cannot_be_used_change_nothing() {
    let authority = Authority::new();
    let (mut secret, server) = server(&authority, |_| {}).await;
    let (cert, _) = authority.sign("localhost");
    let (_, stray_key) = authority.sign("localhost");
    secret.write(&(cert, stray_key), &authority.pem());
    let failed = "liquid_worker_tls_reloads_total{result=\"failed\"}";
    for _ in 0..1000 {
        if server.get("/metrics").await.1.contains(failed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(server.get("/metrics").await.1.contains(failed));
    assert!(describe(&server, &authority, Some(authority.sign("sidecar"))).await);
    secret.write(&authority.sign("localhost"), &authority.pem());
    until_metric(&server, "liquid_worker_tls_reloads_total{result=\"ok\"} 1").await;
}

#[tokio::test]
async fn the_start_waits_for_files_that_are_still_to_come() {
    let authority = Authority::new();
    let mut secret = Secret::new();
    let config = secret.config();
    let runtime = Runtime::start(&config).unwrap();
    let server = TestServer::spawn(config, async { Ok(runtime) }).await;
    server.until_ready(503).await;
    assert_eq!(server.get("/livez").await.0, 200);
    secret.write(&authority.sign("localhost"), &authority.pem());
    server.until_ready(200).await;
    assert!(describe(&server, &authority, Some(authority.sign("sidecar"))).await);
}

#[tokio::test]
async fn a_file_that_never_comes_is_named() {
    let mut config = config();
    config.tls.cert_file = Some("absent.crt".into());
    config.tls.key_file = Some("absent.key".into());
    config.tls.start_wait_ms = 0;
    let bound = BoundServer::bind(config).await.unwrap();
    let error = bound.serve(std::future::pending()).await.unwrap_err();
    let ServeError::Tls(TlsError::Read { field, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(field, "tls.cert_file");
    assert!(error.to_string().contains("absent.crt"), "{error}");
}

#[tokio::test]
async fn files_that_do_not_fit_are_named_with_a_remedy() {
    let authority = Authority::new();
    let (cert, key) = authority.sign("localhost");
    let other_key = authority.sign("localhost").1;
    for (pair, authorities, expected) in [
        (
            (cert.clone(), other_key),
            authority.pem(),
            "write the key of the certificate",
        ),
        (
            (String::new(), key.clone()),
            authority.pem(),
            "write one or more certificates",
        ),
        (
            (cert.clone(), cert.clone()),
            authority.pem(),
            "write a private key",
        ),
        ((cert, key), "no PEM".to_owned(), "tls.client_ca_file"),
    ] {
        let mut secret = Secret::new();
        secret.write(&pair, &authorities);
        let mut config = secret.config();
        config.tls.start_wait_ms = 0;
        let bound = BoundServer::bind(config).await.unwrap();
        let error = bound.serve(std::future::pending()).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
