//! Election on a real Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use libtest_mimic::Trial;
use liquid_operator::leader::{Election, SetBack, Timings, make_identity, run};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::stage::Stage;

/// client-go's durations with everything faster by two and a half: what is waited for is the same.
const TIMINGS: Timings = Timings {
    lease: Duration::from_secs(6),
    renew: Duration::from_secs(4),
    retry: Duration::from_millis(800),
};

pub(crate) fn trials(shared: &Arc<Shared>) -> Vec<Trial> {
    vec![
        shared.trial("another_leads_after_a_release_and_after_a_death", takeover),
        shared.trial("of_many_candidates_one_leads", one_of_many),
    ]
}

struct Candidate {
    leading: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SetBack>>,
}

fn stand(stage: &Stage, lease: &str, working: &Arc<AtomicUsize>) -> Candidate {
    let election = Election {
        client: stage.client.clone(),
        namespace: stage.own.clone(),
        lease: lease.into(),
        identity: make_identity("test"),
        timings: TIMINGS,
    };
    let (sender, leading) = watch::channel(false);
    let stop = CancellationToken::new();
    let working = Arc::clone(working);
    let lead = move |term: CancellationToken| {
        let working = Arc::clone(&working);
        async move {
            assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0, "two leaders work");
            term.cancelled().await;
            working.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let task = tokio::spawn(run(election, stop.clone(), sender, lead));
    Candidate { leading, stop, task }
}

async fn takeover(stage: Arc<Stage>) {
    let working = Arc::default();
    let mut one = stand(&stage, "takeover", &working);
    one.leading.wait_for(|leading| *leading).await.unwrap();
    let mut two = stand(&stage, "takeover", &working);
    tokio::time::sleep(2 * TIMINGS.retry).await;
    assert!(!*two.leading.borrow());
    one.stop.cancel();
    let begun = Instant::now();
    two.leading.wait_for(|leading| *leading).await.unwrap();
    assert!(
        begun.elapsed() < TIMINGS.lease / 2,
        "{:?} after a release",
        begun.elapsed()
    );
    one.task.await.unwrap().unwrap();

    let mut three = stand(&stage, "takeover", &working);
    tokio::time::sleep(2 * TIMINGS.retry).await;
    two.task.abort();
    working.store(0, Ordering::SeqCst);
    let begun = Instant::now();
    three.leading.wait_for(|leading| *leading).await.unwrap();
    let took = begun.elapsed();
    assert!(
        took > TIMINGS.renew && took < TIMINGS.lease + 4 * TIMINGS.retry,
        "{took:?} after a death"
    );
    let leases: Api<Lease> = Api::namespaced(stage.client.clone(), &stage.own);
    let spec = leases.get("takeover").await.unwrap().spec.unwrap();
    assert_eq!(spec.lease_transitions, Some(2));
    three.stop.cancel();
    three.task.await.unwrap().unwrap();
    let spec = leases.get("takeover").await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref().unwrap_or(""), "");
}

async fn one_of_many(stage: Arc<Stage>) {
    let working = Arc::default();
    let candidates: Vec<Candidate> = (0..6).map(|_| stand(&stage, "many", &working)).collect();
    tokio::time::sleep(3 * TIMINGS.retry).await;
    let leaders = candidates
        .iter()
        .filter(|candidate| *candidate.leading.borrow())
        .count();
    assert_eq!(leaders, 1);
    for candidate in candidates {
        candidate.stop.cancel();
        candidate.task.await.unwrap().unwrap();
    }
}
