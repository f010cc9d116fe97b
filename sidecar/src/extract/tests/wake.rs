//! Calls that are held while somebody starts the first worker.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// Who starts a worker at `worker` when he is asked for the `at`th time; before that he is not the one to ask. Returns the
/// URL, and how often he was asked.
async fn starter(worker: SocketAddr, at: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/wake", listener.local_addr().unwrap());
    let asked = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut started = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap_or(0);
            if !head[..length].starts_with(b"POST /wake HTTP/1.1\r\n") {
                // Meant for a worker of another test, which was to get this port.
                continue;
            }
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let status = if number < at {
                "503 Service Unavailable"
            } else {
                "202 Accepted"
            };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            if number == at {
                started.push(
                    MockWorker::start_at(worker, [WorkerBehaviour::Evidence])
                        .await
                        .unwrap(),
                );
            }
        }
    });
    (url, asked)
}

/// An address at which nothing listens yet.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

fn held(worker: SocketAddr, url: String, hold_ms: u64) -> Settings {
    Settings {
        workers: vec![worker.to_string()],
        deadline_ms: 300,
        eject_ms: 50,
        wake: Some(Wake {
            url,
            hold_ms,
            max_held: 2,
        }),
        ..Settings::default()
    }
}

#[tokio::test]
async fn a_call_waits_longer_than_its_deadline_for_the_first_worker() {
    let worker = free_address().await;
    let (url, asked) = starter(worker, 2).await;
    let client = Client::start(held(worker, url, 20_000));
    let begun = Instant::now();
    let found = client.extract(query("Who is the supplier?")).await.unwrap();
    assert!(!kept(&found).is_empty());
    // The first one that was asked was not the one to ask.
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(begun.elapsed() > Duration::from_millis(300));
    // With a worker nobody is asked.
    client.extract(query("Who pays?")).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn calls_are_held_so_long_and_so_many() {
    let worker = free_address().await;
    let (url, asked) = starter(worker, usize::MAX).await;
    let client = Client::start(held(worker, url, 1_500));
    // What waits at first is the lookup of a worker that was there; from then on it is known to be gone.
    let begun = Instant::now();
    let error = client.extract(query("one")).await.unwrap_err();
    assert!(matches!(error, ExtractError::Unavailable { .. }), "{error}");
    let text = "no worker is available: none has started within 1500 ms (extract.wake.hold_ms)";
    assert_eq!(error.to_string(), text);
    assert!(begun.elapsed() >= Duration::from_millis(1_500));
    assert!(asked.load(Ordering::SeqCst) >= 1);

    let begun = Instant::now();
    let calls = ["two", "three", "four"].map(|question| {
        let client = client.clone();
        tokio::spawn(async move {
            client.extract(query(question)).await.unwrap_err();
            begun.elapsed()
        })
    });
    let mut waited = Vec::new();
    for call in calls {
        waited.push(call.await.unwrap());
    }
    waited.sort();
    assert!(waited[0] < Duration::from_millis(1_000), "{waited:?}");
    assert!(waited[1] >= Duration::from_millis(1_400), "{waited:?}");
}
