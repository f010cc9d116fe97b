//! TLS of a listener: certificate, key and authorities from files that change while the program runs.
//!
//! Kubernetes renews a mounted Secret by swapping a symbolic link, so the files are polled and their contents
//! compared: that sees every way of changing a file. What has changed becomes a whole new rustls
//! configuration, which takes the place of the old one for the connections that follow; those that are open
//! keep theirs. Files that cannot be used change nothing, but are logged, and counted by whoever serves.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::StartHandshake;
use tokio_rustls::server::TlsStream;

mod failure;
mod identity;
mod settings;

pub use failure::{HandshakeError, HandshakeFailure};
pub use settings::Tls;

/// Time between two looks at files that the start waits for.
const START_POLL: Duration = Duration::from_millis(200);

/// Why the files that a section of TLS names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{field} = {path}: {source}", path = .path.display())]
    Read {
        /// Name of the setting, with its section.
        field: String,
        /// Value of the setting.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file does not have the content that it should have.
    #[error("{field} = {path}: {source}; write {expected} as PEM", path = .path.display())]
    Pem {
        /// Name of the setting, with its section.
        field: String,
        /// Value of the setting.
        path: PathBuf,
        /// Content that the file should have.
        expected: &'static str,
        /// Error of the PEM reader.
        source: pem::Error,
    },
    /// Certificate and key cannot be used together.
    #[error(
        "{section}.key_file = {path}: {source}; write the key of the certificate in {section}.cert_file",
        path = .path.display()
    )]
    Pair {
        /// Name of the section.
        section: &'static str,
        /// The key's file.
        path: PathBuf,
        /// Error of rustls.
        source: rustls::Error,
    },
    /// An authority cannot be used.
    #[error(
        "{section}.client_ca_file = {path}: {what}; write certificates of authorities",
        path = .path.display()
    )]
    Authority {
        /// Name of the section.
        section: &'static str,
        /// The authorities' file.
        path: PathBuf,
        /// The reason, in words.
        what: String,
    },
}

/// A listener's TLS configuration, kept as its files have it.
pub struct TlsKeeper {
    files: TlsFiles,
    settings: Tls,
    current: ArcSwap<TlsState>,
}

/// Paths of the files.
#[derive(Clone)]
struct TlsFiles {
    /// Name of the section that names them.
    section: &'static str,
    cert: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
}

/// Contents of the files.
#[derive(PartialEq, Eq)]
struct TlsContents {
    cert: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

struct TlsState {
    contents: TlsContents,
    server: Arc<ServerConfig>,
}

impl TlsKeeper {
    /// Reads the files; `None` if there are none to read. `section` is the name of the settings in the configuration.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub async fn open(section: &'static str, settings: &Tls) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(key)) = (&settings.cert_file, &settings.key_file) else {
            return Ok(None);
        };
        let files = TlsFiles {
            section,
            cert: cert.clone(),
            key: key.clone(),
            authorities: settings.client_ca_file.clone(),
        };
        let contents = files.read().await?;
        let current = TlsState::new(contents, &files, &settings.client_identities)?;
        Ok(Some(Self {
            files,
            settings: settings.clone(),
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// Reads the files, and waits up to `start_wait_ms` for files that can be used: where a Secret is created
    /// together with the pod, a short wait is quicker than a restart with its growing pauses.
    ///
    /// # Errors
    /// The [`TlsError`] that is left when the time is over.
    pub async fn wait(section: &'static str, settings: &Tls) -> Result<Option<Self>, TlsError> {
        let until = Instant::now() + Duration::from_millis(settings.start_wait_ms);
        let mut said = String::new();
        loop {
            let error = match Self::open(section, settings).await {
                Ok(keeper) => return Ok(keeper),
                Err(error) => error,
            };
            if Instant::now() >= until {
                return Err(error);
            }
            let text = error.to_string();
            if text != said {
                tracing::warn!(%error, start_wait_ms = settings.start_wait_ms, "waiting for the TLS files");
                said = text;
            }
            tokio::time::sleep(START_POLL).await;
        }
    }

    /// Shakes hands with a client by the configuration of this moment.
    ///
    /// # Errors
    /// [`HandshakeError`] when the client is not let in, speaks no TLS, or takes longer than `limit`.
    pub async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.current.load().server));
        shake_hands(limit, acceptor.accept(stream)).await
    }

    /// Goes on with a handshake whose first message was read by its caller; else as [`TlsKeeper::accept`].
    ///
    /// # Errors
    /// As [`TlsKeeper::accept`].
    pub async fn accept_started<S>(
        &self,
        start: StartHandshake<S>,
        limit: Duration,
    ) -> Result<TlsStream<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let server = Arc::clone(&self.current.load().server);
        shake_hands(limit, start.into_stream(server)).await
    }

    /// Reads the files again and again, without end, and uses what has changed. `count` is called for each change that
    /// was taken over (true) or could not be used (false).
    pub async fn keep_current(self: Arc<Self>, count: impl Fn(bool)) {
        let pause = Duration::from_millis(self.settings.reload_ms);
        let mut said = String::new();
        loop {
            tokio::time::sleep(pause).await;
            match self.refresh().await {
                Ok(false) => said.clear(),
                Ok(true) => {
                    said.clear();
                    count(true);
                    tracing::info!("the TLS files have changed; new connections use them");
                }
                Err(error) => {
                    count(false);
                    let text = error.to_string();
                    if text != said {
                        tracing::warn!(%error, "the TLS files cannot be used; the last ones stay in use");
                        said = text;
                    }
                }
            }
        }
    }

    /// Uses the files if they have changed and do not change any more, and returns whether it does.
    async fn refresh(&self) -> Result<bool, TlsError> {
        let contents = self.files.read().await?;
        if contents == self.current.load().contents {
            return Ok(false);
        }
        // In the middle of a swap files are read that do not belong together but may fit: the next look finds
        // the rest.
        if contents != self.files.read().await? {
            return Ok(false);
        }
        let current = TlsState::new(contents, &self.files, &self.settings.client_identities)?;
        self.current.store(Arc::new(current));
        Ok(true)
    }
}

async fn shake_hands<S>(
    limit: Duration,
    handshake: impl Future<Output = io::Result<TlsStream<S>>>,
) -> Result<TlsStream<S>, HandshakeError> {
    match timeout(limit, handshake).await {
        Ok(shaken) => Ok(shaken?),
        Err(_) => Err(HandshakeError::timeout()),
    }
}

impl TlsFiles {
    /// Reads one file after the other: a swap between them yields files that do not belong together.
    async fn read(&self) -> Result<TlsContents, TlsError> {
        let authorities = match &self.authorities {
            Some(path) => Some(self.read_file("client_ca_file", path).await?),
            None => None,
        };
        Ok(TlsContents {
            cert: self.read_file("cert_file", &self.cert).await?,
            key: self.read_file("key_file", &self.key).await?,
            authorities,
        })
    }

    async fn read_file(&self, key: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
        tokio::fs::read(path).await.map_err(|source| TlsError::Read {
            field: self.field(key),
            path: path.to_owned(),
            source,
        })
    }

    /// Names a key with its section.
    fn field(&self, key: &str) -> String {
        format!("{}.{key}", self.section)
    }
}

impl TlsState {
    fn new(contents: TlsContents, files: &TlsFiles, identities: &[String]) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = parse_certificates(files.field("cert_file"), &files.cert, &contents.cert)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|source| TlsError::Pem {
            field: files.field("key_file"),
            path: files.key.clone(),
            expected: "a private key",
            source,
        })?;
        let pair = |source| TlsError::Pair {
            section: files.section,
            path: files.key.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair)?;
        let builder = match (&files.authorities, &contents.authorities) {
            (Some(path), Some(text)) => {
                let authorities = Authorities {
                    section: files.section,
                    path,
                    text,
                };
                builder.with_client_cert_verifier(authorities.build_verifier(identities, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(pair)?;
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // A resumed session would not show its certificate again, and may outlive it.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        Ok(Self {
            contents,
            server: Arc::new(server),
        })
    }
}

/// Reads the certificates of a PEM file; at least one.
fn parse_certificates(
    field: String,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let some = all.and_then(|all| {
        if all.is_empty() {
            Err(pem::Error::NoItemsFound)
        } else {
            Ok(all)
        }
    });
    some.map_err(|source| TlsError::Pem {
        field,
        path: path.to_owned(),
        expected: "one or more certificates",
        source,
    })
}

/// The authorities' file, and where it was named.
struct Authorities<'a> {
    section: &'static str,
    path: &'a Path,
    text: &'a [u8],
}

impl Authorities<'_> {
    fn build_verifier(
        &self,
        identities: &[String],
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let unusable = |what: String| TlsError::Authority {
            section: self.section,
            path: self.path.to_owned(),
            what,
        };
        let mut authorities = RootCertStore::empty();
        let field = format!("{}.client_ca_file", self.section);
        for certificate in parse_certificates(field, self.path, self.text)? {
            authorities
                .add(certificate)
                .map_err(|error| unusable(error.to_string()))?;
        }
        let any = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider)
            .build()
            .map_err(|error: VerifierBuilderError| unusable(error.to_string()))?;
        Ok(if identities.is_empty() {
            any
        } else {
            Arc::new(identity::NamedClients::new(any, identities.to_vec()))
        })
    }
}
