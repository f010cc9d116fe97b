//! How a worker's name becomes addresses: the system's resolver, as every other program of the pod sees it.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use futures::future::{BoxFuture, FutureExt};

/// A source of addresses for names. Tests put a table in its place.
pub(super) trait Resolver: Debug + Send + Sync {
    /// Every address that `host:port` stands for.
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver: search paths and the hosts file count, as for any name inside a cluster.
#[derive(Debug)]
pub(super) struct SystemResolver;

impl Resolver for SystemResolver {
    fn lookup<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        async move { Ok(tokio::net::lookup_host(name).await?.collect()) }.boxed()
    }
}
