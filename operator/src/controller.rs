//! Brings the cluster to what the resources ask for.
//!
//! [`run`] watches proxies, the objects they own and their pods; `reconcile` turns one proxy into objects
//! ([`crate::objects`]), applies them (`apply`), reads what is there (`observe`) and writes the status
//! (`write`). What the watches show (`cache`) is not asked for. The decisions between are pure and have their tests:
//! `diagnose`, `conditions`, `status`, `usage`, `events`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kube::ResourceExt;
use kube::runtime::controller::{Action, Config, Error as RunError};
use tokio_util::sync::CancellationToken;

use crate::api::GuardedProxy;

mod apply;
mod backoff;
mod cache;
mod clock;
mod conditions;
mod context;
mod demand;
mod diagnose;
mod error;
mod events;
mod figures;
mod gateway;
mod load;
mod missed_pods;
mod observe;
mod reconcile;
mod refusal;
mod scaling;
mod shared_map;
mod status;
mod usage;
mod write;

#[cfg(test)]
mod tests;

use backoff::compute_backoff;
use cache::Writers;
pub use context::Context;
use context::ProxyKey;
pub use demand::Demand;
pub use diagnose::{Finding, PodContext, diagnose, find_refusal, is_ready};
pub use error::Error;
pub use load::{Load, parse_load};
pub use missed_pods::{MissedPod, MissedPods};
pub use usage::parse_figures;

/// Number of proxies that are reconciled at a time.
const CONCURRENCY: u16 = 8;
/// Time within which several changes lead to one reconciliation.
const DEBOUNCE: Duration = Duration::from_millis(300);

/// Reconciles until `stop` is cancelled and the reconciliations under way have ended. `demand` is what sidecars without
/// workers ask for.
pub async fn run(mut context: Context, demand: Arc<Demand>, stop: CancellationToken) {
    let writers = Writers::default();
    context.cache = writers.open();
    let controller = writers
        .watch(&context.client)
        .with_config(Config::default().concurrency(CONCURRENCY).debounce(DEBOUNCE))
        .graceful_shutdown_on({
            let stop = stop.clone();
            async move { stop.cancelled().await }
        });
    let context = Arc::new(context);
    let scaling = scaling::run(Arc::clone(&context), controller.store(), demand, stop);
    let reconciling = controller
        .run(reconcile, retry_later, Arc::clone(&context))
        .for_each(|outcome| {
            match outcome {
                // A reconciliation's own error has been logged where it was counted.
                Ok(_) | Err(RunError::ReconcilerFailed(..)) => {}
                Err(RunError::ObjectNotFound(gone)) => {
                    context.forget_proxy(&ProxyKey {
                        namespace: gone.namespace.unwrap_or_default(),
                        name: gone.name,
                    });
                }
                Err(error) => tracing::warn!(%error, "a reconciliation was not started"),
            }
            std::future::ready(())
        });
    tokio::join!(reconciling, scaling);
}

fn key_of(proxy: &GuardedProxy) -> ProxyKey {
    ProxyKey {
        namespace: proxy.namespace().unwrap_or_default(),
        name: proxy.name_any(),
    }
}

async fn reconcile(proxy: Arc<GuardedProxy>, context: Arc<Context>) -> Result<Action, Error> {
    if context.cache.wait_until_known().await.is_err() {
        // The term ends.
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let outcome = match &proxy.0 {
        Ok(proxy) => reconcile::reconcile_proxy(proxy, &context).await,
        Err(invalid) => reconcile::report_malformed(invalid, &context).await,
    };
    context
        .metrics
        .count_reconciliation(outcome.is_ok(), started.elapsed());
    if outcome.is_ok() {
        context.failures.remove(&key_of(&proxy));
    }
    outcome
}

fn retry_later(proxy: Arc<GuardedProxy>, error: &Error, context: Arc<Context>) -> Action {
    let key = key_of(&proxy);
    let failures = context.failures.get(&key).unwrap_or_default().saturating_add(1);
    let wait = compute_backoff(failures);
    tracing::warn!(
        namespace = key.namespace,
        proxy = key.name,
        %error,
        failures,
        wait_s = wait.as_secs(),
        "not reconciled"
    );
    context.failures.set(key, failures);
    Action::requeue(wait)
}
