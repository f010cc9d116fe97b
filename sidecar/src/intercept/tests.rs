#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::upstream::Guard;
use crate::upstream::lookup::tests::{Answer, NameServer};

const LIMIT: Duration = Duration::from_secs(10);
const OTHER: &str = "other.example";

/// A certificate for some hosts, and its authority; PEM.
struct Pair {
    cert: String,
    key: String,
    authority: String,
}

fn issue(hosts: &[&str]) -> Pair {
    let authority_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    // Two authorities of one name would be taken for one whose key does not fit.
    let name = format!("authority of {}", hosts.join(", "));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let cert = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
        authority: authority.pem(),
    }
}

/// Connects by a name server of its own, and knows `listener` as an address of this process.
async fn connector(listener: SocketAddr, address: [u8; 4]) -> Connector {
    let server = NameServer::start(Answer::Address(address)).await;
    let guard = Guard::new();
    guard.set_listeners(vec![listener]);
    Connector::with_resolver(guard, server.resolver())
}

/// A listener of interception that takes one connection.
struct Stage {
    address: SocketAddr,
    authority: String,
    accepted: JoinHandle<Result<Arrival, ConnectionEnd>>,
}

impl Stage {
    /// `address` is what every name leads to.
    async fn new(address: [u8; 4], slots: usize) -> Self {
        let pair = issue(&InterceptedHost::ALL.map(InterceptedHost::name));
        let folder = tempfile::tempdir().unwrap();
        let (cert_file, key_file) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert_file, &pair.cert).unwrap();
        std::fs::write(&key_file, &pair.key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap();
        let settings = Settings {
            address: Some(own),
            cert_file: Some(cert_file),
            key_file: Some(key_file),
        };
        let connector = connector(own, address).await;
        let interception = Interception::open(&settings, connector, LIMIT).await;
        let interception = interception.unwrap().unwrap();
        let accepted = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let slots = Semaphore::new(slots);
            interception.accept(stream, LIMIT, &slots).await
        });
        Self {
            address: own,
            authority: pair.authority,
            accepted,
        }
    }

    /// Shakes hands under a name, and trusts these authorities.
    async fn connect(
        &self,
        name: &str,
        authority: &str,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    async fn end(self) -> ConnectionEnd {
        match self.accepted.await.unwrap() {
            Ok(arrival) => panic!("intercepted: {}", arrival.host.name()),
            Err(end) => end,
        }
    }
}

#[tokio::test]
async fn tls_of_an_intercepted_host_ends_here() {
    for host in InterceptedHost::ALL {
        let stage = Stage::new([127, 0, 0, 1], 1).await;
        let authority = stage.authority.clone();
        let mut client = stage.connect(host.name(), &authority).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let mut arrival = stage
            .accepted
            .await
            .unwrap()
            .map_err(ConnectionEnd::name)
            .unwrap();
        assert_eq!(arrival.host, host);
        let mut came = [0; 4];
        arrival.stream.read_exact(&mut came).await.unwrap();
        assert_eq!(&came, b"ping");
    }
}

/// A server of another host on another loopback address, at the port of the listener. It greets whoever connects.
async fn other_server(port: u16) -> String {
    let pair = issue(&[OTHER]);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
        stream.write_all(b"the other host").await.unwrap();
        stream.shutdown().await.unwrap();
    });
    pair.authority
}

#[tokio::test]
async fn a_connection_to_another_host_goes_there_as_it_came() {
    let stage = Stage::new([127, 0, 0, 2], 1).await;
    let authority = other_server(stage.address.port()).await;
    // The other host's own certificate is what the client sees: nothing was decrypted on the way.
    let mut client = stage.connect(OTHER, &authority).await.unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "the other host");
    drop(client);
    assert_eq!(stage.end().await, ConnectionEnd::PassedOn);
}

#[tokio::test]
async fn no_connection_comes_back_here() {
    // Every name leads to this very listener; so does the one that is never looked up.
    for name in [OTHER, "localhost"] {
        let stage = Stage::new([127, 0, 0, 1], 1).await;
        let authority = stage.authority.clone();
        assert!(stage.connect(name, &authority).await.is_err());
        assert_eq!(stage.end().await, ConnectionEnd::Unreachable, "{name}");
    }
}

#[tokio::test]
async fn what_is_passed_on_counts_as_a_call() {
    let stage = Stage::new([127, 0, 0, 2], 0).await;
    let authority = stage.authority.clone();
    assert!(stage.connect(OTHER, &authority).await.is_err());
    assert_eq!(stage.end().await, ConnectionEnd::TooMany);
}

#[tokio::test]
async fn a_client_that_names_no_host_is_refused_in_the_words_of_tls() {
    let stage = Stage::new([127, 0, 0, 1], 1).await;
    let authority = stage.authority.clone();
    // rustls sends no name for an address.
    let error = stage.connect("127.0.0.1", &authority).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(stage.end().await, ConnectionEnd::NoServerName);
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_authority_is_told_apart() {
    let stage = Stage::new([127, 0, 0, 1], 1).await;
    let foreign = issue(&[OTHER]).authority;
    assert!(stage.connect("api.openai.com", &foreign).await.is_err());
    assert_eq!(stage.end().await, ConnectionEnd::Untrusted);
}

#[tokio::test]
async fn what_is_no_tls_is_refused() {
    let stage = Stage::new([127, 0, 0, 1], 1).await;
    let mut client = TcpStream::connect(stage.address).await.unwrap();
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: api.openai.com\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(stage.end().await, ConnectionEnd::Handshake);
}

#[tokio::test]
async fn address_and_files_go_together() {
    let address = "127.0.0.1:443".parse().ok();
    let file = Some(PathBuf::from("/tls.crt"));
    let fields = |settings: Settings| {
        let wrong = settings.validate();
        wrong.map(|invalid| invalid.field.to_string()).collect::<Vec<_>>()
    };
    assert!(fields(Settings::default()).is_empty());
    let without = Settings {
        address,
        ..Settings::default()
    };
    assert_eq!(fields(without.clone()), ["cert_file", "key_file"]);
    let half = Settings {
        cert_file: file.clone(),
        ..without
    };
    assert_eq!(fields(half), ["key_file"]);
    let files = Settings {
        address: None,
        cert_file: file.clone(),
        key_file: file,
    };
    assert_eq!(fields(files), ["cert_file", "key_file"]);
}
