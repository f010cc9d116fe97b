//! Two connections joined: bytes flow both ways, unread.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// Time for one side to end once the other has said all.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Copies both ways. When one side has said all, the other has [`LAST_WORDS`] left: a peer that never closes must not
/// hold the connections open.
///
/// # Errors
/// One of the connections breaks.
pub(crate) async fn carry<A, B>(one: A, other: B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite,
    B: AsyncRead + AsyncWrite,
{
    let (one, other) = (tokio::io::split(one), tokio::io::split(other));
    let mut there = pin!(copy(one.0, other.1));
    let mut back = pin!(copy(other.0, one.1));
    tokio::select! {
        ended = &mut there => {
            ended?;
            finish(back).await
        }
        ended = &mut back => {
            ended?;
            finish(there).await
        }
    }
}

async fn finish(rest: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(LAST_WORDS, rest).await.unwrap_or(Ok(()))
}

async fn copy(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}
