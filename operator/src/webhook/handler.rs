//! One review: what is known of the cluster in, the decision out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::time::timeout;

use super::events::{self, Outbox};
use super::metrics::{ReviewResult, WebhookMetrics};
use super::review::{Request, Review};
use super::source::Source;
use crate::events::shorten;
use crate::inject::pod::Pod;
use crate::inject::{
    ConfigMapData, ConfigMaps, Decision, Denial, Input, Note, Outcome, Proxy, SidecarDefaults, env, inject,
};

/// Longest time for each question to the API server during a review; the webhook's own deadline is 5 s.
const ASK: Duration = Duration::from_secs(2);
/// Longest warning, in bytes: the API server's advice.
const WARNING_BYTES: usize = 250;
/// Namespaces whose pods are never touched, whatever the selectors of the configuration say.
pub const NEVER: [&str; 2] = ["kube-system", "kube-node-lease"];

/// Decides reviews.
pub struct Handler<S> {
    source: S,
    defaults: SidecarDefaults,
    /// The operator's namespace.
    own: String,
    outbox: Outbox,
    metrics: Arc<WebhookMetrics>,
}

impl<S: Source> Handler<S> {
    /// Creates a handler. `own` is the operator's namespace, whose pods are never touched.
    pub fn new(
        source: S,
        defaults: SidecarDefaults,
        own: String,
        outbox: Outbox,
        metrics: Arc<WebhookMetrics>,
    ) -> Self {
        Self {
            source,
            defaults,
            own,
            outbox,
            metrics,
        }
    }

    /// Answers one review.
    pub async fn review(&self, request: &Request) -> Review {
        let begun = Instant::now();
        let namespace = request.namespace.as_deref().unwrap_or_default();
        let ours = request.operation == "CREATE" && request.sub_resource.as_deref().unwrap_or("").is_empty();
        if !ours || namespace == self.own || NEVER.contains(&namespace) {
            return Review::allow(&request.uid);
        }
        let outcome = self.decide(request, namespace).await;
        let (mut review, result) = build_answer(&request.uid, &outcome);
        review.response.warnings = build_warnings(&outcome.notes);
        self.metrics.count_review(result, &outcome.notes, begun.elapsed());
        self.report(request, namespace, &outcome, result);
        review
    }

    async fn decide(&self, request: &Request, namespace: &str) -> Outcome {
        let config_maps = self.read_config_maps(request, namespace).await;
        let decide = |proxies: &[Proxy]| {
            catch_fault(|| {
                inject(&Input {
                    pod: &request.object,
                    namespace,
                    defaults: &self.defaults,
                    proxies,
                    config_maps: &config_maps,
                })
            })
        };
        let outcome = decide(&self.source.proxies(namespace));
        let no_proxy = matches!(
            outcome.decision,
            Decision::Deny(Denial::NoProxy { .. } | Denial::UnknownProxy { .. })
        );
        if no_proxy {
            // The proxy may be too young for the watch to have shown it.
            if let Ok(Some(now)) = timeout(ASK, self.source.proxies_now(namespace)).await {
                return decide(&now);
            }
        }
        outcome
    }

    /// Reads the ConfigMaps that the pod's `envFrom` names, all at once.
    async fn read_config_maps(&self, request: &Request, namespace: &str) -> ConfigMaps {
        let Ok(pod) = Pod::read(&request.object) else {
            return ConfigMaps::new();
        };
        let read = env::list_config_maps(pod.all_containers())
            .into_iter()
            .map(|name| async move {
                let keys = timeout(ASK, self.source.config_map(namespace, name)).await;
                (name.to_owned(), keys.unwrap_or(ConfigMapData::Unknown))
            });
        join_all(read).await.into_iter().collect()
    }

    /// Logs the outcome, and sends its notes as Events unless the review is a dry run.
    fn report(&self, request: &Request, namespace: &str, outcome: &Outcome, result: ReviewResult) {
        let name = request.name.as_deref();
        let regarding = events::find_regarding(&request.object, namespace, name);
        tracing::info!(
            namespace,
            pod = name,
            owner = regarding.as_ref().and_then(|regarding| regarding.name.as_deref()),
            proxy = outcome.proxy,
            result = result.name(),
            dry_run = request.dry_run,
            "reviewed a pod"
        );
        if request.dry_run == Some(true) {
            return;
        }
        // A pod without an owner and without a name yet is reported on the proxy.
        let proxy = outcome.proxy.as_deref();
        let regarding = regarding.or_else(|| Some(self.source.reference(namespace, proxy?)));
        if let Some(regarding) = regarding {
            self.outbox.put(&regarding, &outcome.notes);
        }
    }
}

/// Turns a panic into a denial: a fault of the operator never takes the server or the answer down.
pub(super) fn catch_fault(decide: impl FnOnce() -> Outcome) -> Outcome {
    let outcome = catch_unwind(AssertUnwindSafe(decide));
    outcome.unwrap_or_else(|_| Outcome {
        decision: Decision::Deny(Denial::Fault),
        notes: Vec::new(),
        proxy: None,
    })
}

fn build_answer(uid: &str, outcome: &Outcome) -> (Review, ReviewResult) {
    match &outcome.decision {
        Decision::Patch(patch) => match Review::patch(uid, patch) {
            Ok(review) if patch.0.is_empty() => (review, ReviewResult::Unchanged),
            Ok(review) => (review, ReviewResult::Injected),
            Err(error) => (Review::deny(uid, error), ReviewResult::Denied),
        },
        Decision::Pass => (Review::allow(uid), ReviewResult::Passed),
        Decision::Deny(denial) => (Review::deny(uid, denial), ReviewResult::Denied),
    }
}

fn build_warnings(notes: &[Note]) -> Vec<String> {
    let warnings = notes.iter().filter(|note| note.is_warning());
    warnings
        .map(|note| {
            let mut text = format!("liquid-memory: {}", note.text);
            shorten(&mut text, WARNING_BYTES);
            text
        })
        .collect()
}
