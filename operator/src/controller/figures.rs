//! Reads workers over HTTP, at a bounded cost: figures and loads of those that are ready, few pods at a time, and how far
//! one is that is not; each with a limit of time and size.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt;
use http::{StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::core::v1::Pod;
use liquid_contract::endpoints::{METRICS, READYZ};
use liquid_contract::ports::WORKER_ADMIN;

use super::load::{Load, parse_load};
use super::{diagnose, usage};
use crate::api::status::Figures;

/// How often a proxy's workers are read.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// How often a proxy's workers are read that are not ready yet.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Longest text about a worker's progress, in characters.
const PROGRESS_TEXT: usize = 300;
/// Number of pods that are read at a time; of figures also in one round, so that the others have their turn in the next.
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
        let read = self.read_metrics(targets, usage::parse_figures).await;
        read.into_iter().collect()
    }

    /// Reads the loads of all pods that are ready and answer.
    pub(super) async fn read_loads(&self, pods: &[Pod]) -> Vec<Load> {
        let read = self.read_metrics(list_targets(pods), parse_load).await;
        read.into_iter().map(|(_, load)| load).collect()
    }

    /// Reads the metrics of pods, as far as they answer. Returns what `parse` makes of each, with the pod's name.
    async fn read_metrics<T>(&self, targets: Vec<Target>, parse: fn(&str) -> T) -> Vec<(String, T)> {
        let reads = targets.into_iter().map(|Target { name, address }| async move {
            match self.fetch(&address, METRICS).await {
                Ok(Answer { status, text }) if status.is_success() => Some((name, parse(&text))),
                Ok(Answer { status, .. }) => {
                    tracing::debug!(pod = name, %status, "the worker's metrics cannot be read");
                    None
                }
                Err(error) => {
                    tracing::debug!(pod = name, error, "the worker's metrics cannot be read");
                    None
                }
            }
        });
        let read = futures::stream::iter(reads).buffer_unordered(PODS);
        read.filter_map(std::future::ready).collect().await
    }

    /// Reads what the first of the pods that run and are not ready says that it does, if it answers.
    pub(super) async fn read_progress(&self, pods: &[Pod]) -> Option<String> {
        let starting = pods.iter().filter(|pod| !diagnose::is_ready(pod));
        let first = starting.filter_map(Target::of_pod).min()?;
        let answer = self.fetch(&first.address, READYZ).await.ok()?;
        // One that is ready by now, and not yet by its condition, has nothing to say.
        (!answer.status.is_success()).then(|| describe_progress(&first.name, &answer.text))
    }

    async fn fetch(&self, address: &str, path: &str) -> Result<Answer, Failure> {
        let uri: Uri = format!("http://{address}{path}").parse()?;
        let exchange = async {
            let answer = self.0.get(uri).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BYTES).collect().await?;
            let text = String::from_utf8(body.to_bytes().to_vec())?;
            Ok::<_, Failure>(Answer { status, text })
        };
        tokio::time::timeout(TIME, exchange).await?
    }
}

/// What a worker answers.
struct Answer {
    status: StatusCode,
    text: String,
}

/// A pod that can be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    name: String,
    /// `address:port`.
    address: String,
}

impl Target {
    fn of_pod(pod: &Pod) -> Option<Self> {
        let address = pod.status.as_ref()?.pod_ip.as_deref()?;
        let address = if address.contains(':') {
            format!("[{address}]:{WORKER_ADMIN}")
        } else {
            format!("{address}:{WORKER_ADMIN}")
        };
        Some(Self {
            name: pod.metadata.name.clone()?,
            address,
        })
    }
}

/// Lists the pods that are ready.
fn list_targets(pods: &[Pod]) -> Vec<Target> {
    let ready = pods.iter().filter(|pod| diagnose::is_ready(pod));
    let mut targets: Vec<_> = ready.filter_map(Target::of_pod).collect();
    targets.sort();
    targets
}

/// Quotes the first line of a worker's answer, cut to a length that fits a condition.
fn describe_progress(pod: &str, answer: &str) -> String {
    let line = answer.lines().next().unwrap_or_default().trim();
    let text: String = line.chars().take(PROGRESS_TEXT).collect();
    format!("{pod}: {text}")
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
    use super::{PODS, PROGRESS_TEXT, describe_progress, select_turn};

    #[test]
    fn a_worker_is_quoted_by_its_first_line() {
        let text = describe_progress("docs-workers-1", "warming up, for 2 s\nmore\n");
        assert_eq!(text, "docs-workers-1: warming up, for 2 s");
        let long = describe_progress("w", &"é".repeat(1000));
        assert_eq!(long.chars().count(), PROGRESS_TEXT + 3);
    }

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
