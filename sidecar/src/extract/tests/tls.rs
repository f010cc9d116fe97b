//! Mutual TLS against a real TLS server: who has no certificate of ours is not answered, new files are taken
//! up.

use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use liquid_testing::{MockUpstream, MockWorker, WorkerBehaviour};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::{query, settings};
use crate::extract::{Client, ExtractError, ModelCall, Settings, Tls, check_files};

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

    async fn worker(&self) -> MockWorker {
        self.worker_with(None).await
    }

    async fn worker_with(&self, model: Option<&MockUpstream>) -> MockWorker {
        let (cert, key) = self.issue("worker");
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(cert, key))
            .client_ca_root(Certificate::from_pem(&self.pem));
        MockWorker::start_with_tls([WorkerBehaviour::Evidence], tls, model)
            .await
            .unwrap()
    }
}

/// A mounted Secret of Kubernetes: `ca.pem` is a link to `..data/ca.pem`, and `..data` one to a folder that
/// is never written again.
struct Secret {
    folder: TempDir,
    renewals: Cell<u32>,
}

impl Secret {
    /// Holds what a client needs whose certificate `signer` has signed, and who trusts `trusted`.
    fn new(trusted: &Authority, signer: &Authority) -> Self {
        let secret = Self::empty();
        let (cert, key) = signer.issue("sidecar");
        secret.write(&trusted.pem, &cert, &key);
        secret
    }

    /// Nothing has been written yet.
    fn empty() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            renewals: Cell::new(0),
        }
    }

    /// Puts new files in place of all old ones at once, as the kubelet does.
    fn write(&self, ca: &str, cert: &str, key: &str) {
        self.renewals.set(self.renewals.get() + 1);
        let name = format!("..{}", self.renewals.get());
        let (folder, version) = (self.folder.path(), self.folder.path().join(&name));
        std::fs::create_dir(&version).unwrap();
        for (file, text) in [("ca.pem", ca), ("cert.pem", cert), ("key.pem", key)] {
            std::fs::write(version.join(file), text).unwrap();
            if self.renewals.get() == 1 {
                symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
            }
        }
        symlink(&name, folder.join("..data_tmp")).unwrap();
        std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    }

    fn tls(&self) -> Tls {
        let path = |name: &str| self.folder.path().join(name);
        Tls {
            ca_file: path("ca.pem"),
            cert_file: Some(path("cert.pem")),
            key_file: Some(path("key.pem")),
            server_name: "worker".to_owned(),
        }
    }
}

/// A client that reads its files again often.
fn client(worker: &MockWorker, tls: Tls) -> Client {
    Client::start(Settings {
        tls: Some(tls),
        resolve_interval_ms: 20,
        eject_ms: 10,
        ..settings(&[worker])
    })
}

/// Waits until extractions succeed.
async fn succeeds(client: &Client) {
    let renewed = async {
        while client.extract(query("supplier")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed)
        .await
        .unwrap();
}

#[tokio::test]
async fn both_sides_show_certificates() {
    let (ours, other) = (Authority::new(), Authority::new());
    let worker = ours.worker().await;
    let answer = async |tls: Tls| client(&worker, tls).extract(query("supplier")).await;
    let good = Secret::new(&ours, &ours);
    assert!(answer(good.tls()).await.is_ok());
    for secret in [Secret::new(&ours, &other), Secret::new(&other, &ours)] {
        assert!(matches!(
            answer(secret.tls()).await,
            Err(ExtractError::Unavailable { .. })
        ));
    }
    let anonymous = Tls {
        cert_file: None,
        key_file: None,
        ..good.tls()
    };
    assert!(answer(anonymous).await.is_err());
    assert_eq!(worker.arrived(), 1);
}

#[tokio::test]
async fn a_worker_of_another_name_is_not_trusted() {
    let ours = Authority::new();
    let worker = ours.worker().await;
    let secret = Secret::new(&ours, &ours);
    let other = Tls {
        server_name: "another-worker".to_owned(),
        ..secret.tls()
    };
    let error = client(&worker, other)
        .extract(query("supplier"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(worker.arrived(), 0);
}

#[tokio::test]
async fn new_certificates_are_taken_up() {
    let (ours, other) = (Authority::new(), Authority::new());
    let worker = ours.worker().await;
    let secret = Secret::new(&ours, &other);
    let client = client(&worker, secret.tls());
    assert!(client.extract(query("supplier")).await.is_err());
    let (cert, key) = ours.issue("sidecar");
    secret.write(&ours.pem, &cert, &key);
    succeeds(&client).await;
}

#[tokio::test]
async fn files_that_do_not_go_together_change_nothing() {
    let ours = Authority::new();
    let worker = ours.worker().await;
    let secret = Secret::new(&ours, &ours);
    let client = client(&worker, secret.tls());
    assert!(client.extract(query("supplier one")).await.is_ok());
    let (cert, _) = ours.issue("sidecar");
    let (_, key) = ours.issue("sidecar");
    for (ca, cert, key) in [(ours.pem.as_str(), cert.as_str(), key.as_str()), ("", "", "")] {
        secret.write(ca, cert, key);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(client.workers().iter().all(|worker| worker.healthy) && client.workers().len() == 1);
        assert!(
            client
                .extract(query(&format!("supplier two {}", ca.len())))
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn files_may_come_after_the_sidecar() {
    let ours = Authority::new();
    let worker = ours.worker().await;
    let secret = Secret::empty();
    let client = client(&worker, secret.tls());
    let error = client.extract(query("supplier")).await.unwrap_err();
    assert!(matches!(error, ExtractError::Unavailable { .. }));
    assert!(error.to_string().contains("ca.pem: "), "{error}");
    assert!(
        check_files(&Settings {
            tls: Some(secret.tls()),
            ..settings(&[&worker])
        })
        .is_err()
    );
    let (cert, key) = ours.issue("sidecar");
    secret.write(&ours.pem, &cert, &key);
    succeeds(&client).await;
}

#[tokio::test]
async fn the_language_model_is_asked_under_the_same_certificates() {
    let (ours, other) = (Authority::new(), Authority::new());
    let model = MockUpstream::start().await.unwrap();
    let worker = ours.worker_with(Some(&model)).await;
    let secret = Secret::new(&ours, &other);
    let client = client(&worker, secret.tls());
    let call = ModelCall {
        method: http::Method::GET,
        path: "/v1/models".parse().unwrap(),
        headers: http::HeaderMap::new(),
        body: bytes::Bytes::new(),
        prefix: [0; 32],
        deadline: None,
    };
    assert!(client.forward(&call).await.is_err());
    assert!(model.requests().is_empty());
    let (cert, key) = ours.issue("sidecar");
    secret.write(&ours.pem, &cert, &key);
    succeeds(&client).await;
    let answer = client.forward(&call).await.unwrap();
    assert_eq!(answer.response.status(), 200);
    assert_eq!(model.requests().len(), 1);
}
