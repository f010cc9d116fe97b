//! Mutual TLS against a real TLS server: who has no certificate of ours is not answered, new files are taken up.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::worker::{Behaviour, TestWorker};
use super::{ask, settings};
use crate::extract::{Client, ExtractError, Settings, Tls};

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key, as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (
            params.signed_by(&key, &self.issuer).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    async fn worker(&self) -> TestWorker {
        let (cert, key) = self.issue("worker");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(cert, key))
            .client_ca_root(Certificate::from_pem(&self.pem));
        TestWorker::start_with([Behaviour::Evidence], Some(tls)).await
    }
}

/// Writes the files of a client whose certificate `signer` has signed, and who trusts `trusted`.
fn files(folder: &Path, trusted: &Authority, signer: &Authority) -> Tls {
    let (cert, key) = signer.issue("sidecar");
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Tls {
        ca_file: write("ca.pem", &trusted.pem),
        cert_file: Some(write("cert.pem", &cert)),
        key_file: Some(write("key.pem", &key)),
        server_name: "worker".to_owned(),
    }
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let (ours, other) = (Authority::new(), Authority::new());
    let worker = ours.worker().await;
    let folder = tempfile::tempdir().unwrap();
    let answer = async |tls: Tls| {
        let settings = Settings {
            tls: Some(tls),
            ..settings(&[&worker])
        };
        Client::start(settings).unwrap().extract(ask("supplier")).await
    };
    assert!(answer(files(folder.path(), &ours, &ours)).await.is_ok());
    for tls in [
        files(folder.path(), &ours, &other),
        files(folder.path(), &other, &ours),
    ] {
        assert!(matches!(answer(tls).await, Err(ExtractError::Unavailable { .. })));
    }
    let anonymous = Tls {
        cert_file: None,
        key_file: None,
        ..files(folder.path(), &ours, &ours)
    };
    assert!(answer(anonymous).await.is_err());
    assert_eq!(worker.arrived(), 1);
}

#[tokio::test]
async fn new_certificates_are_taken_up() {
    let (ours, other) = (Authority::new(), Authority::new());
    let worker = ours.worker().await;
    let folder = tempfile::tempdir().unwrap();
    let tls = files(folder.path(), &ours, &other);
    let settings = Settings {
        tls: Some(tls),
        resolve_interval_ms: 20,
        eject_ms: 10,
        ..settings(&[&worker])
    };
    let client = Client::start(settings).unwrap();
    assert!(client.extract(ask("supplier")).await.is_err());
    files(folder.path(), &ours, &ours);
    let renewed = async {
        while client.extract(ask("supplier")).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), renewed)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_missing_file_shows_at_the_start() {
    let tls = Tls {
        ca_file: "/nowhere/ca.pem".into(),
        cert_file: None,
        key_file: None,
        server_name: "w".into(),
    };
    let error = Client::start(Settings {
        tls: Some(tls),
        ..settings(&[])
    })
    .unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/ca.pem: "), "{error}");
}
