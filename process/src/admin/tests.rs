#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;

struct Server {
    address: SocketAddr,
    waiting: Arc<AtomicBool>,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

async fn serve(text: Result<&'static str, std::fmt::Error>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (waiting, stop) = (Arc::new(AtomicBool::new(true)), CancellationToken::new());
    let asked = Arc::clone(&waiting);
    let admin = Admin {
        ready: move || match asked.load(Ordering::Acquire) {
            true => Err("warming up".to_owned()),
            false => Ok(()),
        },
        metrics: move || text.map(str::to_owned),
    };
    let served = tokio::spawn(admin.serve(listener, stop.clone()));
    Server {
        address,
        waiting,
        stop,
        served,
    }
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn probes_and_metrics() {
    let server = serve(Ok("a_total 1\n# EOF\n")).await;
    assert!(get(server.address, "/livez").await.starts_with("HTTP/1.1 200"));
    let waiting = get(server.address, "/readyz").await;
    assert!(
        waiting.starts_with("HTTP/1.1 503") && waiting.ends_with("\r\n\r\nwarming up\n"),
        "{waiting}"
    );
    server.waiting.store(false, Ordering::Release);
    let ready = get(server.address, "/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.1 200") && ready.ends_with("\r\n\r\nok\n"),
        "{ready}"
    );
    let metrics = get(server.address, "/metrics").await;
    assert!(
        metrics.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n")
            && metrics.ends_with("\r\n\r\na_total 1\n# EOF\n"),
        "{metrics}"
    );
    assert!(get(server.address, "/other").await.starts_with("HTTP/1.1 404"));
    server.stop.cancel();
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn metrics_that_cannot_be_written_are_an_error() {
    let server = serve(Err(std::fmt::Error)).await;
    assert!(get(server.address, "/metrics").await.starts_with("HTTP/1.1 500"));
}

#[tokio::test]
async fn half_a_request_does_not_hold_the_end_up() {
    let server = serve(Ok("")).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost:").await.unwrap();
    // The listener accepts in order: once this is answered, the half request has been accepted too.
    get(server.address, "/livez").await;
    let stopped = Instant::now();
    server.stop.cancel();
    let ended = tokio::time::timeout(SHUTDOWN * 5, server.served).await;
    ended.expect("ends by itself").unwrap().unwrap();
    assert!(
        stopped.elapsed() >= SHUTDOWN,
        "the open request was not waited for"
    );
}
