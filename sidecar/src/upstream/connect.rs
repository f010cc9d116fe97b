//! Opens connections to upstreams: own name lookup, loop guard, several addresses raced, TLS with ALPN.
//!
//! Names are looked up in DNS alone (`lookup`). Proxy variables are not read.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use hickory_resolver::net::NetError;
use http::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::Service;

use super::guard::Guard;
use super::lookup::Names;
use crate::cause::innermost;

type BoxError = Box<dyn Error + Send + Sync>;

/// Pooled client to all upstreams.
pub type HttpClient = Client<TimeLimitedConnector, Body>;

/// Head start of one address over the next (RFC 8305, section 5).
const ADDRESS_DELAY: Duration = Duration::from_millis(250);

/// An error that can be kept in several places.
type SharedError = Arc<dyn Error + Send + Sync>;

/// Why no connection could be opened. Cheap to clone: whoever reports it finds it by reference among the
/// sources of the client's error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The provider has no URL for the call.
    #[error("{provider} has no URL")]
    NoUrl {
        /// The provider's name.
        provider: String,
    },
    /// The URL has no host, or a port that is not a number.
    #[error("the upstream's URL names no host")]
    NoHost,
    /// DNS has no address for the host.
    #[error("no address found for {host}: {source} (names come from DNS alone, the hosts file is not read)")]
    Lookup {
        /// The name that was looked up.
        host: String,
        /// The resolver's error.
        source: NetError,
    },
    /// The address is one that this process listens on.
    #[error(
        "the upstream {host} is {address}, which is this sidecar itself: set the provider's base_url to the real \
         upstream"
    )]
    Loop {
        /// The upstream's name.
        host: String,
        /// The address that was refused.
        address: SocketAddr,
    },
    /// TCP or TLS took too long.
    #[error("connecting to {host} took longer than upstream.connect_timeout_ms")]
    Timeout {
        /// The upstream's name.
        host: String,
    },
    /// No address answered.
    #[error("could not connect to {host}: {source}")]
    Tcp {
        /// The upstream's name.
        host: String,
        /// The last address's error.
        source: Arc<io::Error>,
    },
    /// TCP was connected, and TLS or HTTP could not be set up on it.
    #[error("could not connect to {host}: {}", innermost(source))]
    Handshake {
        /// The upstream's name.
        host: String,
        /// The TLS library's or the transport's error.
        source: SharedError,
    },
}

/// Why the client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The extra authorities could not be read.
    #[error("upstream.ca_file {path}: {source}; {CA_FILE_REMEDY}")]
    CaFile {
        /// The configured path.
        path: PathBuf,
        /// The error of the file system, of the PEM reader or of the TLS library.
        source: BoxError,
    },
    /// The file of extra authorities holds none.
    #[error("upstream.ca_file {path}: holds no certificate; {CA_FILE_REMEDY}")]
    EmptyCaFile {
        /// The configured path.
        path: PathBuf,
    },
    /// The TLS library refused its configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The resolver could not start.
    #[error("name resolution: {0}")]
    Resolver(#[source] NetError),
}

const CA_FILE_REMEDY: &str = "give a PEM file with at least one certificate";

/// Settings of the clients.
#[derive(Debug)]
pub struct ClientOptions<'a> {
    /// The guard that refuses addresses of this process.
    pub guard: Guard,
    /// The time for TCP and TLS together.
    pub timeout: Duration,
    /// A PEM file of extra authorities.
    pub ca_file: Option<&'a Path>,
}

/// Builds the pooled client, which takes HTTP/2 where the upstream offers it, and the one for upgrades, which
/// never does.
///
/// # Errors
/// A CA file that cannot be read, or a TLS or resolver configuration that is refused.
pub fn clients(options: ClientOptions<'_>) -> Result<(HttpClient, HttpClient), ClientError> {
    let connector = Connector::new(options.guard)?;
    let tls = tls(options.ca_file)?;
    let build = |http2: bool| {
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http();
        let https = if http2 {
            builder.enable_all_versions().wrap_connector(connector.clone())
        } else {
            builder.enable_http1().wrap_connector(connector.clone())
        };
        Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(60))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_adaptive_window(true)
            .build(TimeLimitedConnector {
                https,
                limit: options.timeout,
            })
    };
    Ok((build(true), build(false)))
}

fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    if let Some(path) = ca_file {
        let added = add_certificates(&mut roots, path).map_err(|source| ClientError::CaFile {
            path: path.into(),
            source,
        })?;
        if added == 0 {
            return Err(ClientError::EmptyCaFile { path: path.into() });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Adds the certificates of a PEM file, and returns how many they are.
fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<usize, BoxError> {
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
        added += 1;
    }
    Ok(added)
}

/// Connects within a time limit, TLS included.
#[derive(Clone)]
pub struct TimeLimitedConnector {
    https: HttpsConnector<Connector>,
    limit: Duration,
}

impl Service<Uri> for TimeLimitedConnector {
    type Response = <HttpsConnector<Connector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default().to_owned();
        let connected = tokio::time::timeout(self.limit, self.https.call(uri));
        Box::pin(async move {
            match connected.await {
                Ok(Ok(connected)) => Ok(connected),
                Ok(Err(error)) if error.is::<ConnectError>() => Err(error),
                Ok(Err(error)) => {
                    let source = error.into();
                    Err(ConnectError::Handshake { host, source }.into())
                }
                Err(_) => Err(ConnectError::Timeout { host }.into()),
            }
        })
    }
}

/// A connector that opens TCP connections by the rules of this module.
#[derive(Clone)]
pub struct Connector {
    names: Arc<Names>,
    guard: Guard,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Connector {
    /// Makes a connector that asks the name servers of this machine.
    ///
    /// # Errors
    /// A resolver configuration that is refused.
    pub fn new(guard: Guard) -> Result<Self, ClientError> {
        let names = Arc::new(Names::new().map_err(ClientError::Resolver)?);
        Ok(Self { names, guard })
    }

    #[cfg(test)]
    pub(crate) fn with_resolver(guard: Guard, resolver: hickory_resolver::TokioResolver) -> Self {
        let names = Arc::new(Names::with_resolver(resolver));
        Self { names, guard }
    }

    async fn connect(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let host = uri.host().ok_or(ConnectError::NoHost)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        });
        self.open(host, port).await
    }

    /// Connects to a host, unless one of its addresses is this process's own.
    ///
    /// # Errors
    /// The host has no address, one that leads back here, or none that answers.
    pub async fn open(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses: Vec<SocketAddr> = self
            .lookup(host)
            .await?
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        if let Some(address) = addresses.iter().find(|address| self.guard.is_own(**address)) {
            return Err(ConnectError::Loop {
                host: host.into(),
                address: *address,
            });
        }
        let stream = race(addresses).await.map_err(|source| ConnectError::Tcp {
            host: host.into(),
            source: source.into(),
        })?;
        self.guard.count_connection();
        Ok(stream)
    }

    async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![address]);
        }
        // RFC 6761, section 6.3: never asked of a name server.
        if host.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let found = self.names.lookup(host).await;
        found.map_err(|source| ConnectError::Lookup {
            host: host.into(),
            source,
        })
    }
}

/// Connects to the first address that answers; each later one starts after a delay or the failure of one
/// before.
///
/// hyper-util's `HttpConnector` races addresses too, but it takes them from a resolver, which is asked for a
/// name alone. The loop guard needs the port beside each address: another port of this host is a legitimate
/// upstream. So this module looks names up, checks address and port, and races what is left itself.
async fn race(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        match waiting.next() {
            Some(address) => {
                running.spawn(TcpStream::connect(address));
            }
            None if running.is_empty() => return Err(last),
            None => {}
        }
        let finished = if waiting.len() == 0 {
            running.join_next().await
        } else {
            match tokio::time::timeout(ADDRESS_DELAY, running.join_next()).await {
                Ok(finished) => finished,
                Err(_) => continue,
            }
        };
        match finished {
            Some(Ok(Ok(stream))) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => {}
        }
    }
}
