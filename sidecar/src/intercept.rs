//! TLS of the providers' hosts, taken by their names: where the hosts file of a pod has these names lead here, an
//! application with `https://api.openai.com` in its code arrives at this listener.
//!
//! The first message of a connection names a host. TLS to an intercepted host ends here, with a certificate of an
//! authority that the pod's containers trust. Every other connection goes to the host that it names, byte for byte and
//! unread. Hosts are looked up in DNS alone, and an address of this process is refused: no connection comes back here.

mod end;
mod hello;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use liquid_contract::InterceptedHost;
use liquid_process::Invalid;
use liquid_process::tls::{HandshakeFailure, Tls, TlsError, TlsKeeper};
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::server::{StartHandshake, TlsStream};

pub use end::ConnectionEnd;

use crate::carry::carry;
use crate::upstream::Connector;
use hello::Hello;

/// The section of the configuration that names the files.
const SECTION: &str = "intercept";

/// The record by which TLS refuses a connection that names no host it knows: a fatal alert, `unrecognized_name` (RFC 6066,
/// section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Section `[intercept]`. Needs a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `address:port` at which TLS to `api.openai.com` and `api.anthropic.com` ends, such as `127.0.0.1:443`. Connections to
    /// other hosts go on to them, at the same port. Default: none.
    pub address: Option<SocketAddr>,
    /// Certificate chain for those hosts, PEM. The file may change while the sidecar runs. Required with `address`.
    pub cert_file: Option<PathBuf>,
    /// Private key of the certificate, PEM. Required with `address`.
    pub key_file: Option<PathBuf>,
}

impl Settings {
    /// Lists what cannot be used, by the keys of this section.
    pub fn validate(&self) -> impl Iterator<Item = Invalid> + use<> {
        let files = [("cert_file", &self.cert_file), ("key_file", &self.key_file)];
        let missing = files.map(|(field, file)| {
            let wrong = file.is_some() != self.address.is_some();
            let remedy = "set address, cert_file and key_file, or none of them";
            wrong.then(|| Invalid::new(field, format!("{file:?}"), remedy))
        });
        missing.into_iter().flatten()
    }

    fn tls(&self) -> Tls {
        Tls {
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            ..Tls::default()
        }
    }

    /// Reads the files once.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub async fn check_files(&self) -> Result<(), TlsError> {
        TlsKeeper::open(SECTION, &self.tls()).await.map(|_| ())
    }
}

/// What every intercepted connection needs.
pub struct Interception {
    /// The certificate.
    pub tls: Arc<TlsKeeper>,
    connector: Connector,
    connect_timeout: Duration,
}

/// An intercepted connection, decrypted.
pub struct Arrival {
    /// The connection.
    pub stream: TlsStream<TcpStream>,
    /// The host that the client has named.
    pub host: InterceptedHost,
}

impl Interception {
    /// Reads the files, and waits for them as [`TlsKeeper::wait`] does; `None` if the settings name none.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub async fn open(
        settings: &Settings,
        connector: Connector,
        connect_timeout: Duration,
    ) -> Result<Option<Self>, TlsError> {
        let keeper = TlsKeeper::wait(SECTION, &settings.tls()).await?;
        Ok(keeper.map(|keeper| Self {
            tls: Arc::new(keeper),
            connector,
            connect_timeout,
        }))
    }

    /// Reads which host a connection is for, within `limit`. One for an intercepted host is returned, decrypted; one for
    /// another host is carried there until it ends, on one of the `slots`.
    ///
    /// # Errors
    /// What became of a connection that brings no calls; it is logged.
    pub async fn accept(
        &self,
        stream: TcpStream,
        limit: Duration,
        slots: &Semaphore,
    ) -> Result<Arrival, ConnectionEnd> {
        let read = timeout(limit, Hello::read(stream)).await;
        let mut hello = match read {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a connection to an intercepted host began without TLS");
                return Err(ConnectionEnd::Handshake);
            }
            Err(_) => return Err(ConnectionEnd::Timeout),
        };
        let Some(name) = hello.server_name() else {
            tracing::warn!(
                "refused a connection: its client names no host (no SNI), so that none can be found for it"
            );
            // The client may be gone already.
            let _ = hello.stream.write_all(&UNRECOGNIZED_NAME).await;
            return Err(ConnectionEnd::NoServerName);
        };
        match InterceptedHost::named(&name) {
            Some(host) => self.end_tls(hello, host, limit).await,
            None => match slots.try_acquire() {
                Ok(_slot) => Err(self.pass_on(hello, &name).await),
                Err(_) => Err(ConnectionEnd::TooMany),
            },
        }
    }

    async fn end_tls(
        &self,
        hello: Hello,
        host: InterceptedHost,
        limit: Duration,
    ) -> Result<Arrival, ConnectionEnd> {
        let start = StartHandshake::from_parts(hello.accepted, hello.stream);
        let error = match self.tls.accept_started(start, limit).await {
            Ok(stream) => return Ok(Arrival { stream, host }),
            Err(error) => error,
        };
        let host = host.name();
        match error.failure {
            HandshakeFailure::Untrusted => {
                tracing::warn!(
                    host,
                    %error,
                    "a client does not trust the certificate: it pins certificates or has authorities of its own; give it \
                     those of the mounted bundle, or leave its pod out of interception"
                );
                Err(ConnectionEnd::Untrusted)
            }
            HandshakeFailure::Timeout => Err(ConnectionEnd::Timeout),
            _ => {
                tracing::warn!(host, %error, "a TLS handshake failed");
                Err(ConnectionEnd::Handshake)
            }
        }
    }

    /// Carries a connection to the host that it names, and returns once it has ended.
    async fn pass_on(&self, hello: Hello, name: &str) -> ConnectionEnd {
        let Hello { stream, bytes, .. } = hello;
        // The port that the client has called; in a pod that of `https`.
        let port = stream.local_addr().map_or(0, |address| address.port());
        let opened = timeout(self.connect_timeout, self.connector.open(name, port)).await;
        let mut upstream = match opened {
            Ok(Ok(upstream)) => upstream,
            Ok(Err(error)) => {
                tracing::warn!(host = name, %error, "a connection to a host that is not intercepted could not go on");
                return ConnectionEnd::Unreachable;
            }
            Err(_) => {
                tracing::warn!(
                    host = name,
                    "connecting to a host that is not intercepted took too long"
                );
                return ConnectionEnd::Unreachable;
            }
        };
        let carried = async {
            upstream.write_all(&bytes).await?;
            carry(stream, upstream).await
        };
        if let Err(error) = carried.await {
            tracing::debug!(host = name, %error, "a connection that was passed on broke");
        }
        ConnectionEnd::PassedOn
    }
}
