//! Calls for the workers' language model while there is no worker.

use axum::body::Body;
use http::Request;
use liquid_testing::MockUpstream;
use serde_json::json;

use crate::liquid::{CHAT, LIQUID, ModelWorker, healthy, start_workers, with_workers};
use crate::support::{Sidecar, ask, chat, eventually, post, send};

/// A worker that serves no more, its sidecar, and who is asked to start one.
async fn resting(settings: &str, hold_ms: u32) -> (ModelWorker, Sidecar, MockUpstream) {
    let starter = MockUpstream::start().await.unwrap();
    let wake = format!(
        "[extract.wake]\nurl = \"{}/wake\"\nhold_ms = {hold_ms}\n",
        starter.url()
    );
    let workers = start_workers(1).await;
    let sidecar = with_workers(&format!("{LIQUID}{settings}{wake}"), &workers).await;
    workers[0].worker.set_serving(false).await;
    healthy(&sidecar, 0).await;
    (workers.into_iter().next().unwrap(), sidecar, starter)
}

#[tokio::test]
async fn a_call_is_held_where_there_is_no_worker_until_one_serves() {
    let (worker, sidecar, starter) = resting("first_byte_timeout_ms = 900\n", 60_000).await;
    let get = |path: &str| Request::get(sidecar.url(path)).body(Body::empty()).unwrap();
    let (call, models) = (post(&sidecar.url(CHAT), chat("m", true)), get("/v1/models"));
    let held = [call, models].map(|request| tokio::spawn(send(request)));
    // It is asked for a worker each second: the wait is longer than that for a first byte, which begins after it.
    eventually("a worker is asked for again", || starter.requests().len() >= 2).await;
    assert_eq!(starter.last().unwrap().path, "/wake");
    assert_eq!(worker.calls(), 0);
    worker.worker.set_serving(true).await;
    for call in held {
        let answer = call.await.unwrap();
        assert_eq!((answer.status, answer.complete), (200, true), "{}", answer.text());
    }
    assert_eq!(worker.calls(), 2);
}

#[tokio::test]
async fn a_call_that_was_held_in_vain_says_so() {
    let (_worker, sidecar, _starter) = resting("", 300).await;
    let answer = ask(&sidecar.url(CHAT), chat("m", false)).await;
    let error = &answer.json()["error"];
    assert_eq!(
        (answer.status, &error["code"], answer.header("retry-after")),
        (503, &json!("worker_unavailable"), "1")
    );
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("none has started within 300 ms (extract.wake.hold_ms)"),
        "{message}"
    );
}
