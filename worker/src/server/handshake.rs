//! From TCP connections to encrypted ones: handshakes side by side, each with a time limit, so that a client
//! that says nothing holds up no other. What a client that is not let in wanted to send is never read.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use liquid_process::tls::TlsKeeper;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::metrics::Metrics;

/// Handshakes under way at a time; further clients wait in the listener's backlog.
const HANDSHAKES: usize = 512;

/// Longest handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Pause after an accept that failed, as it does where the process has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Connection = TlsStream<TcpStream>;
type Sender = mpsc::Sender<io::Result<Connection>>;

/// Accepts connections, and returns those whose handshake went well. The listener closes when the stream is
/// dropped.
pub(super) fn accept_encrypted(
    listener: TcpListener,
    keeper: Arc<TlsKeeper>,
    metrics: Arc<Metrics>,
) -> ReceiverStream<io::Result<Connection>> {
    let (sender, connections) = mpsc::channel(1);
    tokio::spawn(accept(listener, keeper, metrics, sender));
    ReceiverStream::new(connections)
}

async fn accept(listener: TcpListener, keeper: Arc<TlsKeeper>, metrics: Arc<Metrics>, sender: Sender) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let next = async || -> io::Result<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let place = Arc::clone(&places)
            .acquire_owned()
            .await
            .map_err(io::Error::other)?;
        let (stream, peer) = listener.accept().await?;
        Ok((place, stream, peer))
    };
    loop {
        let accepted = tokio::select! {
            accepted = next() => accepted,
            () = sender.closed() => return,
        };
        match accepted {
            Ok((place, stream, peer)) => {
                let (keeper, metrics, sender) = (Arc::clone(&keeper), Arc::clone(&metrics), sender.clone());
                tokio::spawn(async move {
                    let connection = shake_hands(&keeper, &metrics, stream, peer).await;
                    drop(place);
                    if let Some(connection) = connection {
                        // A server that is ending takes no connection any more.
                        let _ = sender.send(Ok(connection)).await;
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn shake_hands(
    keeper: &TlsKeeper,
    metrics: &Metrics,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Connection> {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    let error = match keeper.accept(stream, HANDSHAKE_TIME).await {
        Ok(connection) => return Some(connection),
        Err(error) => error,
    };
    let reason = error.failure;
    metrics.count_refused(reason.name());
    if reason.is_refusal() {
        tracing::warn!(%peer, reason = reason.name(), %error, "refused a connection");
    } else {
        tracing::debug!(%peer, reason = reason.name(), %error, "a TLS handshake failed");
    }
    None
}
