//! The first message of a TLS connection, with the bytes in which it came: who goes on unread needs them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

/// A connection whose first message has been read.
pub(super) struct Hello {
    /// The message, as rustls has read it.
    pub(super) accepted: Accepted,
    /// Everything that was read of the connection.
    pub(super) bytes: Vec<u8>,
    /// The connection behind those bytes.
    pub(super) stream: TcpStream,
}

impl Hello {
    /// Reads until the message is complete. rustls bounds its size, and answers what is no TLS with an alert.
    pub(super) async fn read(stream: TcpStream) -> io::Result<Self> {
        let recorder = Recorder {
            stream,
            bytes: Vec::new(),
        };
        let start = LazyConfigAcceptor::new(Acceptor::default(), recorder).await?;
        let Recorder { stream, bytes } = start.io;
        Ok(Self {
            accepted: start.accepted,
            bytes,
            stream,
        })
    }

    /// Returns the host that the client names (RFC 6066, section 3).
    pub(super) fn server_name(&self) -> Option<String> {
        self.accepted.client_hello().server_name().map(str::to_owned)
    }
}

/// A connection that keeps what is read of it.
struct Recorder {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        self.bytes.extend_from_slice(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
