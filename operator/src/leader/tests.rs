//! The candidate against an API server in memory, on a simulated clock.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::client::Body;
use serde_json::json;
use tokio::task::JoinHandle;

use super::*;

/// One Lease with the API server's rules about versions.
#[derive(Clone, Default)]
struct Server {
    lease: Arc<Mutex<Option<Lease>>>,
    version: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Server {
    fn client(&self) -> Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move {
                if server.down.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                server.answer(request).await
            }
        });
        Client::new(service, "system")
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Full<Bytes>>, kube::Error> {
        let method = request.method().clone();
        let body = request.into_body().collect_bytes().await?;
        let mut stored = self.lease.lock().unwrap();
        let refuse = |code: StatusCode, reason: &str| {
            let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason,
                "message": reason, "code": code.as_u16() });
            Ok(respond(code, status.to_string()))
        };
        let given: Option<Lease> = serde_json::from_slice(&body).ok();
        match (method, stored.as_ref(), given) {
            (Method::GET, Some(lease), _) => {
                Ok(respond(StatusCode::OK, serde_json::to_string(lease).unwrap()))
            }
            (Method::GET | Method::PUT, None, _) => refuse(StatusCode::NOT_FOUND, "NotFound"),
            (Method::POST, Some(_), _) => refuse(StatusCode::CONFLICT, "AlreadyExists"),
            (Method::PUT, Some(lease), Some(given))
                if given.metadata.resource_version != lease.metadata.resource_version =>
            {
                refuse(StatusCode::CONFLICT, "Conflict")
            }
            (Method::POST | Method::PUT, _, Some(mut given)) => {
                let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
                given.metadata.resource_version = Some(version.to_string());
                let text = serde_json::to_string(&given).unwrap();
                *stored = Some(given);
                Ok(respond(StatusCode::OK, text))
            }
            (method, ..) => panic!("unexpected {method}"),
        }
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.lock().unwrap().clone().unwrap().spec.unwrap()
    }

    fn put(&self, spec: LeaseSpec) {
        let version = self.version.fetch_add(1, Ordering::Relaxed) + 1;
        let mut lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some(version.to_string());
        *self.lease.lock().unwrap() = Some(lease);
    }
}

fn respond(code: StatusCode, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(code)
        .header("content-type", "application/json")
        .body(Full::from(text))
        .unwrap()
}

/// A replica, and how many terms run in all replicas together.
struct Replica {
    leading: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), SetBack>>,
}

fn replica(server: &Server, name: &str, working: &Arc<AtomicUsize>) -> Replica {
    let (sender, leading) = watch::channel(false);
    let stop = CancellationToken::new();
    let election = Election {
        client: server.client(),
        namespace: "system".into(),
        lease: "operator".into(),
        identity: name.into(),
        timings: Timings::default(),
    };
    let working = Arc::clone(working);
    let lead = move |term: CancellationToken| {
        let working = Arc::clone(&working);
        async move {
            let before = working.fetch_add(1, Ordering::SeqCst);
            assert_eq!(before, 0, "two leaders work");
            term.cancelled().await;
            // Ending takes a moment.
            tokio::time::sleep(Duration::from_secs(1)).await;
            working.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let task = tokio::spawn(run(election, stop.clone(), sender, lead));
    Replica { leading, stop, task }
}

async fn leads(replica: &mut Replica, wanted: bool) -> Duration {
    let begun = Instant::now();
    let seen = replica.leading.wait_for(|leading| *leading == wanted);
    tokio::time::timeout(Duration::from_secs(120), seen)
        .await
        .unwrap()
        .unwrap();
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_at_once_and_says_so() {
    let (server, working) = (Server::default(), Arc::default());
    let mut one = replica(&server, "one", &working);
    assert!(leads(&mut one, true).await < Duration::from_millis(100));
    let spec = server.spec();
    assert_eq!(spec.holder_identity.as_deref(), Some("one"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
    // It renews, and nothing else of the record changes.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let later = server.spec();
    assert!(later.renew_time > spec.renew_time);
    assert_eq!(
        LeaseSpec {
            renew_time: spec.renew_time.clone(),
            ..later
        },
        spec
    );
    assert!(*one.leading.borrow());
}

#[tokio::test(start_paused = true)]
async fn of_many_that_start_together_one_leads() {
    let (server, working) = (Server::default(), Arc::default());
    let replicas: Vec<Replica> = (0..8)
        .map(|number| replica(&server, &format!("r{number}"), &working))
        .collect();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let leaders = replicas
            .iter()
            .filter(|replica| *replica.leading.borrow())
            .count();
        assert_eq!(leaders, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_from_one_that_died() {
    let (server, working) = (Server::default(), Arc::<AtomicUsize>::default());
    let mut one = replica(&server, "one", &working);
    leads(&mut one, true).await;
    let mut two = replica(&server, "two", &working);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(!*two.leading.borrow());
    one.task.abort();
    working.store(0, Ordering::SeqCst);
    let took = leads(&mut two, true).await;
    // The lease from its last renewal, and at most a try of the other.
    assert!(
        took > Duration::from_secs(12) && took < Duration::from_secs(18),
        "{took:?}"
    );
    assert_eq!(server.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_hands_over_after_its_work() {
    let (server, working) = (Server::default(), Arc::default());
    let mut one = replica(&server, "one", &working);
    leads(&mut one, true).await;
    let mut two = replica(&server, "two", &working);
    tokio::time::sleep(Duration::from_secs(5)).await;
    one.stop.cancel();
    let took = leads(&mut two, true).await;
    // A second of work, then one try of the other; `replica` asserts that they never work together.
    assert!(
        took > Duration::from_secs(1) && took < Duration::from_secs(4),
        "{took:?}"
    );
    one.task.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_working_before_others_start() {
    let (server, working) = (Server::default(), Arc::default());
    let mut one = replica(&server, "one", &working);
    leads(&mut one, true).await;
    server.down.store(true, Ordering::Relaxed);
    let stopped = leads(&mut one, false).await;
    assert!(
        stopped > Duration::from_secs(7) && stopped <= Duration::from_millis(10_100),
        "{stopped:?}"
    );
    let two = replica(&server, "two", &working);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(!*two.leading.borrow() && !*one.leading.borrow());
    assert_eq!(working.load(Ordering::SeqCst), 0);
    server.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(40)).await;
    assert!(*two.leading.borrow() != *one.leading.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_costs_nothing() {
    let (server, working) = (Server::default(), Arc::default());
    let mut one = replica(&server, "one", &working);
    leads(&mut one, true).await;
    server.down.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.down.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(*one.leading.borrow());
}

/// As when etcd is restored from a copy: the record of then, at the version of then.
#[tokio::test(start_paused = true)]
async fn who_sees_the_data_set_back_starts_again_the_leader_first() {
    let (server, working) = (Server::default(), Arc::<AtomicUsize>::default());
    let mut one = replica(&server, "one", &working);
    leads(&mut one, true).await;
    let two = replica(&server, "two", &working);
    let copy = server.lease.lock().unwrap().clone();
    let version = server.version.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    *server.lease.lock().unwrap() = copy;
    server.version.store(version, Ordering::Relaxed);
    let begun = Instant::now();
    one.task.await.unwrap().unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert_eq!(working.load(Ordering::SeqCst), 0);
    // Released, and not taken by the other, which remembers too much itself.
    assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
    two.task.await.unwrap().unwrap_err();
    let took = begun.elapsed();
    assert!(
        took > Duration::from_secs(15) && took < Duration::from_secs(20),
        "{took:?}"
    );
    assert!(!*two.leading.borrow());
}

fn held_by(holder: &str, renewed: &str) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.into()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(renewed.parse().unwrap())),
        ..LeaseSpec::default()
    }
}

#[tokio::test(start_paused = true)]
async fn the_clocks_of_others_do_not_count() {
    let (server, working) = (Server::default(), Arc::default());
    // Dead, and its clock was years ahead; alive, and its clock is years behind.
    server.put(held_by("dead", "2099-01-01T00:00:00Z"));
    let mut one = replica(&server, "one", &working);
    let took = leads(&mut one, true).await;
    assert!(
        took >= Duration::from_secs(15) && took < Duration::from_secs(20),
        "{took:?}"
    );
    one.task.abort();
    working.store(0, Ordering::SeqCst);

    server.put(held_by("alive", "1999-01-01T00:00:00Z"));
    let two = replica(&server, "two", &working);
    for second in 1..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.put(held_by("alive", &format!("1999-01-01T00:00:{second:02}Z")));
        assert!(!*two.leading.borrow(), "after {second} s");
    }
}

#[test]
fn identities_differ() {
    let one = make_identity("pod");
    assert!(one.starts_with("pod_"));
    assert_ne!(one, make_identity("pod"));
}

mod pure {
    use super::*;
    use crate::leader::elector::{Elector, NextWrite};

    const WALL: &str = "2026-11-24T00:00:00Z";

    fn wall() -> Timestamp {
        WALL.parse().unwrap()
    }

    fn lease(spec: LeaseSpec, version: &str) -> Lease {
        let mut lease = Lease {
            spec: Some(spec),
            ..Lease::default()
        };
        lease.metadata.resource_version = Some(version.into());
        lease
    }

    fn me() -> Elector {
        Elector::new("me".into(), Duration::from_secs(15))
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_before_something_was_read() {
        assert_eq!(me().next(Instant::now(), wall()), NextWrite::Wait);
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_change_of_the_record_counts_as_life() {
        let (mut elector, start) = (me(), Instant::now());
        let record = held_by("other", WALL);
        elector.observe(Some(&lease(record.clone(), "1")), start);
        // The object changed, the record did not: somebody set a label.
        let later = start + Duration::from_secs(14);
        elector.observe(Some(&lease(record, "2")), later);
        assert_eq!(elector.next(later, wall()), NextWrite::Wait);
        let expired = start + Duration::from_secs(15);
        let NextWrite::Write(written) = elector.next(expired, wall()) else {
            panic!("not taken");
        };
        assert_eq!(written.metadata.resource_version.as_deref(), Some("2"));
        assert_eq!(written.spec.unwrap().lease_transitions, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn the_duration_is_the_holders() {
        let (mut elector, start) = (me(), Instant::now());
        let record = LeaseSpec {
            lease_duration_seconds: Some(60),
            ..held_by("other", WALL)
        };
        elector.observe(Some(&lease(record, "1")), start);
        assert_eq!(
            elector.next(start + Duration::from_secs(59), wall()),
            NextWrite::Wait
        );
        assert!(matches!(
            elector.next(start + Duration::from_secs(60), wall()),
            NextWrite::Write(_)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_lease_is_free_at_once() {
        let (mut elector, now) = (me(), Instant::now());
        elector.observe(Some(&lease(held_by("", WALL), "1")), now);
        assert!(!elector.is_taken());
        assert!(matches!(elector.next(now, wall()), NextWrite::Write(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_our_own_lease_is_released() {
        let (mut elector, now) = (me(), Instant::now());
        elector.observe(Some(&lease(held_by("other", WALL), "1")), now);
        assert_eq!(elector.released(wall()), None);
        elector.observe(Some(&lease(held_by("me", WALL), "2")), now);
        let released = elector.released(wall()).unwrap();
        assert_eq!(released.metadata.resource_version.as_deref(), Some("2"));
        assert_eq!(released.spec.unwrap().holder_identity.as_deref(), Some(""));
        elector.forget_version();
        assert_eq!(elector.released(wall()), None);
    }
}
