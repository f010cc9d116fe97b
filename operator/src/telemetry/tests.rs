#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Metrics;
use super::admin::{Check, serve};

async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_and_metrics() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (metrics, check, stop) = (
        Arc::new(Metrics::new()),
        Arc::new(AtomicBool::new(false)),
        CancellationToken::new(),
    );
    let asked = Arc::clone(&check);
    let served = tokio::spawn(serve(
        listener,
        Arc::clone(&metrics),
        vec![Check::new("certificates", move || asked.load(Ordering::Acquire))],
        stop.clone(),
    ));

    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
    let waiting = get(address, "/readyz").await;
    assert!(
        waiting.starts_with("HTTP/1.1 503") && waiting.contains("waiting for: certificates"),
        "{waiting}"
    );
    check.store(true, Ordering::Release);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));

    metrics.reconciled(true, Duration::from_millis(20));
    metrics.leads(true);
    let text = get(address, "/metrics").await;
    for line in [
        "liquid_operator_reconciliations_total{outcome=\"done\"} 1",
        "liquid_operator_leader 1",
        "liquid_operator_reconciliation_seconds_count 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    stop.cancel();
    served.await.unwrap().unwrap();
}
