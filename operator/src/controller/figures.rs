//! Reads workers' figures over HTTP, at a bounded cost: few pods a round, each with a limit of time and size.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::Uri;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use liquid_contract::endpoints::METRICS;
use liquid_contract::ports::WORKER_ADMIN;

use super::{diagnose, usage};
use crate::api::status::Figures;

/// How often a proxy's workers are read.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// Number of pods that are read in one round; the others have their turn in the next rounds.
const PODS: usize = 16;
/// Longest time for one pod.
const TIME: Duration = Duration::from_secs(2);
/// Largest answer, in bytes.
const BYTES: usize = 1 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An HTTP client for the figures of workers.
pub(super) struct FigureReader(Client<HttpConnector, Empty<Bytes>>);

impl FigureReader {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(TIME));
        Self(
            Client::builder(TokioExecutor::new())
                .pool_max_idle_per_host(0)
                .build(connector),
        )
    }

    /// Reads the figures of those ready pods whose turn it is in this round, as far as they answer.
    pub(super) async fn read_figures(&self, pods: &[Pod], round: usize) -> BTreeMap<String, Figures> {
        let targets = select_turn(list_targets(pods), round);
        let reads = targets.into_iter().map(|(name, address)| async move {
            let answer = tokio::time::timeout(TIME, self.fetch(&address)).await;
            match answer.map_err(Failure::from).and_then(|answer| answer) {
                Ok(text) => Some((name, usage::parse_figures(&text))),
                Err(error) => {
                    tracing::debug!(pod = name, error, "the worker's figures cannot be read");
                    None
                }
            }
        });
        let read = futures::stream::iter(reads).buffer_unordered(PODS);
        read.filter_map(std::future::ready).collect().await
    }

    async fn fetch(&self, address: &str) -> Result<String, Failure> {
        let uri: Uri = format!("http://{address}{METRICS}").parse()?;
        let answer = self.0.get(uri).await?;
        if !answer.status().is_success() {
            return Err(format!("the worker answers {}", answer.status()).into());
        }
        let body = Limited::new(answer.into_body(), BYTES).collect().await?;
        Ok(String::from_utf8(body.to_bytes().to_vec())?)
    }
}

/// Lists name and `address:port` of every pod that can be read.
fn list_targets(pods: &[Pod]) -> Vec<(String, String)> {
    let asked = pods
        .iter()
        .filter(|pod| diagnose::is_ready(pod))
        .filter_map(|pod| {
            let address = pod.status.as_ref()?.pod_ip.as_deref()?;
            let address = if address.contains(':') {
                format!("[{address}]:{WORKER_ADMIN}")
            } else {
                format!("{address}:{WORKER_ADMIN}")
            };
            Some((pod.metadata.name.clone()?, address))
        });
    let mut targets: Vec<_> = asked.collect();
    targets.sort();
    targets
}

/// Returns the part of a list whose turn it is.
fn select_turn<T>(all: Vec<T>, round: usize) -> Vec<T> {
    if all.len() <= PODS {
        return all;
    }
    let (length, start) = (all.len(), round * PODS % all.len());
    let mut part: Vec<(usize, T)> = all
        .into_iter()
        .enumerate()
        .filter(|(place, _)| (place + length - start) % length < PODS)
        .collect();
    part.sort_by_key(|(place, _)| (place + length - start) % length);
    part.into_iter().map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::{PODS, select_turn};

    #[test]
    fn every_pod_has_its_turn() {
        assert_eq!(select_turn(vec![1, 2, 3], 7), [1, 2, 3]);
        let all: Vec<usize> = (0..100).collect();
        let mut seen = vec![0; 100];
        for round in 0..25 {
            let part = select_turn(all.clone(), round);
            assert_eq!(part.len(), PODS);
            part.into_iter().for_each(|one| seen[one] += 1);
        }
        assert!(seen.iter().all(|times| *times == 4), "{seen:?}");
    }
}
