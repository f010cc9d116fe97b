//! Every replica reads the authorities through a watch of one Secret: a change arrives in milliseconds, where a
//! mounted file takes a minute (istio #5947).

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::Authorities;
use super::authorities::SECRET;

/// A receiver of the present authorities; none before the first were read.
pub type CurrentAuthorities = Receiver<Option<Arc<Authorities>>>;

/// Follows the Secret until `stop`. The returned future has to be run; the receiver shows what it has read.
pub fn follow(
    client: Client,
    namespace: &str,
    stop: CancellationToken,
) -> (CurrentAuthorities, impl Future<Output = ()> + use<>) {
    let (sender, receiver) = channel(None);
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let run = async move {
        let only = watcher::Config::default().fields(&format!("metadata.name={SECRET}"));
        let events = watcher(secrets, only).default_backoff();
        let mut events = std::pin::pin!(events);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.next() => match event {
                    Some(event) => handle_event(event, &sender),
                    None => return,
                },
            }
        }
    };
    (receiver, run)
}

fn handle_event(event: Result<Event<Secret>, watcher::Error>, sender: &Sender<Option<Arc<Authorities>>>) {
    match event {
        Ok(Event::Apply(secret) | Event::InitApply(secret)) => match Authorities::read(&secret) {
            Ok(authorities) => {
                sender.send_replace(Some(Arc::new(authorities)));
            }
            // What was read before stays: it is better than nothing, and the leader puts the Secret right.
            Err(error) => tracing::error!(%error, "the certificate authorities cannot be read"),
        },
        Ok(Event::Delete(_)) => {
            tracing::warn!(secret = SECRET, "deleted; the leader restores it");
            // Wakes the leader; the authorities stay.
            sender.send_modify(|_| {});
        }
        Ok(Event::Init | Event::InitDone) => {}
        Err(error) => {
            tracing::warn!(%error, "the watch of the certificate authorities broke and starts again")
        }
    }
}
