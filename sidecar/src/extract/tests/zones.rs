//! Workers of the sidecar's own zone go first.

use liquid_testing::MockUpstream;

use super::*;

/// Workers of these zones, with a language model each.
async fn workers<const N: usize>(zones: [&str; N]) -> [(MockWorker, MockUpstream); N] {
    let start = async |zone: &str| {
        let model = MockUpstream::start().await.unwrap();
        let worker = MockWorker::start_with_model([WorkerBehaviour::Evidence], &model)
            .await
            .unwrap();
        worker.set_zone(zone);
        (worker, model)
    };
    futures::future::join_all(zones.map(start))
        .await
        .try_into()
        .unwrap()
}

/// A client in zone `a` that knows the zones of its workers.
async fn client_in_a(workers: &[&MockWorker]) -> Client {
    let client = Client::start(Settings {
        zone: "a".to_owned(),
        health_interval_ms: 20,
        ..settings(workers)
    });
    let known = async {
        while client.workers().iter().filter(|one| !one.zone.is_empty()).count() < workers.len() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), known)
        .await
        .unwrap();
    client
}

#[tokio::test]
async fn a_document_stays_in_the_zone_until_its_queue_is_clearly_longer() {
    let workers = workers(["b", "a", "c"]).await;
    let [(other, _), (near, _), (third, _)] = &workers;
    let client = client_in_a(&[other, near, third]).await;
    for number in 0..20 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    assert_eq!((near.answered(), other.answered(), third.answered()), (20, 0, 0));
    near.set_load(1 << 40);
    for number in 20..30 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    // Its load is known from its next answer.
    assert_eq!((near.answered(), other.answered() + third.answered()), (21, 9));
}

#[tokio::test]
async fn where_the_zone_does_not_answer_another_does() {
    let fails = || MockWorker::start([WorkerBehaviour::Fail(Code::Unavailable, Duration::ZERO)]);
    let near = [
        fails().await.unwrap(),
        fails().await.unwrap(),
        fails().await.unwrap(),
    ];
    near.iter().for_each(|worker| worker.set_zone("a"));
    let other = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    other.set_zone("b");
    let client = client_in_a(&[&near[0], &near[1], &near[2], &other]).await;
    for number in 0..10 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    let near: u32 = near.iter().map(MockWorker::arrived).sum();
    assert_eq!(other.answered(), 10);
    // One try in each call, until all of them rest.
    assert!((3..=10).contains(&near), "{near}");
}

#[tokio::test]
async fn a_prompt_belongs_to_a_worker_of_the_zone_and_a_full_one_passes_it_on() {
    let workers = workers(["b", "a"]).await;
    let client = client_in_a(&[&workers[0].0, &workers[1].0]).await;
    let [(_, other), (_, near)] = &workers;
    let ask = async |prefix: u8| {
        let call = ModelCall {
            method: http::Method::GET,
            path: "/v1/models".parse().unwrap(),
            headers: http::HeaderMap::new(),
            body: bytes::Bytes::new(),
            prefix: [prefix; 32],
            deadline: None,
        };
        client.forward(&call).await.unwrap().response.status().as_u16()
    };
    for prefix in 0..16 {
        assert_eq!(ask(prefix).await, 200);
    }
    assert_eq!((near.requests().len(), other.requests().len()), (16, 0));
    near.script("429".parse().unwrap());
    assert_eq!(ask(0).await, 200);
    assert_eq!((near.requests().len(), other.requests().len()), (17, 1));
}

#[tokio::test]
async fn a_worker_that_does_not_say_its_zone_is_as_good_as_one_elsewhere() {
    let workers = [
        MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap(),
        MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap(),
    ];
    let client = Client::start(Settings {
        zone: "a".to_owned(),
        ..settings(&workers.each_ref())
    });
    for number in 0..40 {
        client
            .extract(query(&format!("supplier {number}")))
            .await
            .unwrap();
    }
    assert!(workers.iter().all(|worker| worker.answered() > 5));
}
