//! What calls have come to, as the workers are told.

use std::sync::Arc;

use liquid_sidecar::process::usage;
use liquid_testing::{MockUpstream, MockWorker};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::compress::{CHAT, body, number, with_worker};
use crate::process::Running;
use crate::support::{ask, chat, eventually, post, send};

/// Calls, tokens before and tokens after of all reports.
fn sum(worker: &MockWorker) -> [u64; 3] {
    worker.reports().iter().fold([0; 3], |sum, report| {
        [
            sum[0] + report.calls,
            sum[1] + report.tokens_before,
            sum[2] + report.tokens_after,
        ]
    })
}

#[tokio::test]
async fn every_call_that_was_sent_is_reported_once_also_one_that_needed_no_worker() {
    let (stack, worker) = with_worker("[policy]\nwhole = \"refuse\"", Default::default()).await;
    let stop = CancellationToken::new();
    let reporting = tokio::spawn(usage::report(Arc::clone(&stack.sidecar.app), stop.clone()));

    let mut expected = [0; 3];
    // The second one's pack is known here: no worker is asked.
    for call in [body(false), body(true), chat("m", false)] {
        let answer = ask(&stack.url(CHAT), call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        expected[0] += 1;
        expected[1] += number(&answer, "x-liquid-tokens-before");
        expected[2] += number(&answer, "x-liquid-tokens-after");
    }
    assert_eq!(worker.answered(), 1);
    assert!(expected[2] * 4 < expected[1], "{expected:?}");
    eventually("the calls are reported", || sum(&worker) == expected).await;

    // Neither what sends nothing counts, nor what is refused.
    let shown = ask(&stack.url("/v1/chat/completions?dry_run=1"), body(false)).await;
    assert_eq!(shown.json()["object"], "liquid.dry_run");
    let whole =
        json!({"model": "m", "messages": [{"role": "user", "content": "All good words. ".repeat(4_000)}]});
    assert_eq!(ask(&stack.url(CHAT), whole.to_string()).await.status, 403);
    let mut off = post(&stack.url(CHAT), chat("m", true));
    off.headers_mut().insert("x-liquid-mode", "off".parse().unwrap());
    let last = send(off).await;
    // The last report comes with the end.
    stop.cancel();
    reporting.await.unwrap();
    expected[0] += 1;
    expected[1] += number(&last, "x-liquid-tokens-before");
    expected[2] += number(&last, "x-liquid-tokens-after");
    assert_eq!(sum(&worker), expected);
}

#[tokio::test]
async fn an_old_worker_that_is_replaced_costs_no_report() {
    let (stack, worker) = with_worker("", Default::default()).await;
    worker.set_report_failure(Some(Code::Unimplemented));
    let stop = CancellationToken::new();
    let reporting = tokio::spawn(usage::report(Arc::clone(&stack.sidecar.app), stop.clone()));
    let first = ask(&stack.url(CHAT), chat("m", false)).await;
    eventually("a report is refused twice", || worker.reports().len() > 1).await;
    let second = ask(&stack.url(CHAT), chat("m", false)).await;
    worker.set_report_failure(None);
    stop.cancel();
    reporting.await.unwrap();

    let tokens = ["x-liquid-tokens-before", "x-liquid-tokens-after"]
        .map(|header| number(&first, header) + number(&second, header));
    let report = *worker.reports().last().unwrap();
    assert_eq!(
        [report.calls, report.tokens_before, report.tokens_after],
        [2, tokens[0], tokens[1]]
    );
}

#[tokio::test]
async fn the_program_reports_its_last_calls_when_it_ends() {
    let upstream = MockUpstream::start().await.unwrap();
    let worker = MockWorker::start([]).await.unwrap();
    let toml = format!(
        "[upstream.providers.openai]\nbase_url = \"{}\"\n",
        upstream.base_url()
    );
    let running = Running::start(&toml, |command| {
        command
            .env("LIQUID_SIDECAR__EXTRACT__WORKERS", worker.address().to_string())
            .env("LIQUID_SIDECAR__EXTRACT__HEALTH_INTERVAL_MS", "600000");
    })
    .await;
    let answer = ask(&running.url(CHAT), body(false)).await;
    assert_eq!(answer.header("x-liquid-decision"), "compressed");
    assert_eq!(worker.reports(), []);
    assert_eq!(running.terminate().await.0.code(), Some(0));
    let tokens = ["x-liquid-tokens-before", "x-liquid-tokens-after"].map(|header| number(&answer, header));
    assert_eq!(sum(&worker), [1, tokens[0], tokens[1]]);
}
