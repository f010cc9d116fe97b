//! A registry in memory, over TLS and with a password, that fails when it is told to.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use liquid_signing::Sum;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// `user:right`.
const LOGIN: &str = "Basic dXNlcjpyaWdodA==";

pub(super) struct Registry {
    pub(super) host: String,
    /// File of its authority.
    pub(super) authority: PathBuf,
    state: Shared,
    _folder: TempDir,
    _runtime: tokio::runtime::Runtime,
}

type Shared = Arc<Mutex<Content>>;
/// A repository, and a digest or tag in it.
type Name = (String, String);

#[derive(Default)]
struct Content {
    /// By repository and digest.
    blobs: HashMap<Name, Bytes>,
    /// By repository and tag.
    manifests: HashMap<Name, Bytes>,
    requests: usize,
    uploads: usize,
    failures: usize,
    most_uploads: Option<usize>,
}

impl Registry {
    pub(super) fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("ca.crt");
        std::fs::write(&authority, certificate.pem()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = format!("localhost:{}", listener.local_addr().unwrap().port());
        let state = Shared::default();
        let router = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(state.clone());
        runtime.spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), router));
        Self {
            host,
            authority,
            state,
            _folder: folder,
            _runtime: runtime,
        }
    }

    pub(super) fn has(&self, repository: &str, digest: &str) -> bool {
        let key = (repository.to_owned(), digest.to_owned());
        let state = self.state.lock().unwrap();
        let blob = state.blobs.get(&key);
        blob.is_some_and(|blob| format!("sha256:{}", Sum::of(blob)) == digest)
    }

    pub(super) fn manifest(&self, repository: &str, tag: &str) -> Option<Bytes> {
        let key = (repository.to_owned(), tag.to_owned());
        self.state.lock().unwrap().manifests.get(&key).cloned()
    }

    /// How many blobs have arrived.
    pub(super) fn uploads(&self) -> usize {
        self.state.lock().unwrap().uploads
    }

    pub(super) fn requests(&self) -> usize {
        self.state.lock().unwrap().requests
    }

    /// Answers the next requests that are logged in with 503.
    pub(super) fn fail_next(&self, requests: usize) {
        self.state.lock().unwrap().failures = requests;
    }

    pub(super) fn failures_left(&self) -> usize {
        self.state.lock().unwrap().failures
    }

    /// Answers everything with 503 after so many blobs have arrived.
    pub(super) fn fail_after_uploads(&self, uploads: usize) {
        self.state.lock().unwrap().most_uploads = Some(uploads);
    }

    pub(super) fn mend(&self) {
        self.state.lock().unwrap().most_uploads = None;
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, router: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, service) = (tls.clone(), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(stream) = tls.accept(stream).await {
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            }
        });
    }
}

async fn answer(
    State(state): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut state = state.lock().unwrap();
    state.requests += 1;
    if headers.get("authorization").is_none_or(|login| login != LOGIN) {
        let challenge = [("www-authenticate", "Basic realm=\"test\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    }
    if state.failures > 0 {
        state.failures -= 1;
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if state.most_uploads.is_some_and(|most| state.uploads >= most) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let path = uri.path().trim_start_matches("/v2/").to_owned();
    if let Some((repository, reference)) = path.split_once("/manifests/") {
        let name = (repository.to_owned(), reference.to_owned());
        return manifest(&mut state, &method, name, body);
    }
    match path.split_once("/blobs/") {
        Some((repository, "uploads/")) => {
            let location = [("location", format!("/v2/{repository}/blobs/uploads/1"))];
            (StatusCode::ACCEPTED, location).into_response()
        }
        Some((repository, _)) if method == Method::PUT => {
            let digest = uri
                .query()
                .unwrap_or_default()
                .replace("digest=sha256%3A", "sha256:");
            if format!("sha256:{}", Sum::of(&body)) != digest {
                return StatusCode::BAD_REQUEST.into_response();
            }
            state.uploads += 1;
            state.blobs.insert((repository.to_owned(), digest), body);
            (StatusCode::CREATED, [("location", "/v2/blob")]).into_response()
        }
        Some((repository, digest)) => {
            match state
                .blobs
                .contains_key(&(repository.to_owned(), digest.to_owned()))
            {
                true => StatusCode::OK.into_response(),
                false => StatusCode::NOT_FOUND.into_response(),
            }
        }
        None => StatusCode::OK.into_response(),
    }
}

fn manifest(state: &mut Content, method: &Method, name: Name, body: Bytes) -> Response {
    if method == Method::PUT {
        state.manifests.insert(name, body);
        return (StatusCode::CREATED, [("location", "/v2/manifest")]).into_response();
    }
    match state.manifests.get(&name) {
        Some(manifest) => {
            let digest = [("docker-content-digest", format!("sha256:{}", Sum::of(manifest)))];
            (StatusCode::OK, digest, manifest.clone()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
