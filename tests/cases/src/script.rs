//! An upstream that answers every request with the bytes of a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A second of a script is this long.
const SECOND: Duration = Duration::from_millis(100);

/// An upstream that sends a script, with its pauses, and then closes the connection. It ends when this is dropped.
#[derive(Debug)]
pub struct ScriptedUpstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl ScriptedUpstream {
    /// Starts an upstream that answers with a script: a whole HTTP response. A line `#SLEEP n` is not sent; there is a
    /// pause of `n` tenths of a second in its place.
    pub async fn start(script: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let (script, log) = (script.to_owned(), Arc::clone(&received));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, log) = (script.clone(), Arc::clone(&log));
                tokio::spawn(async move {
                    // A client that has gone is no fault of the upstream.
                    let _ = answer(stream, &script, &log).await;
                });
            }
        });
        Self {
            address,
            received,
            server,
        }
    }

    /// Returns `http://127.0.0.1:PORT/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the requests so far: head and body of each.
    #[must_use]
    pub fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

impl Drop for ScriptedUpstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(mut stream: TcpStream, script: &str, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    // Without it the pieces of an answer wait for each other.
    stream.set_nodelay(true)?;
    let request = read_request(&mut stream).await?;
    log.lock().unwrap().push(request);
    let mut piece = String::new();
    for line in script.split_inclusive('\n') {
        if let Some(pause) = line.strip_prefix("#SLEEP ") {
            stream.write_all(piece.as_bytes()).await?;
            piece.clear();
            tokio::time::sleep(SECOND.mul_f64(pause.trim().parse().unwrap())).await;
        } else {
            piece.push_str(line);
        }
    }
    stream.write_all(piece.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads a request of HTTP/1.1 whose body has a length.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut request = Vec::new();
    loop {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length:")?
                    .trim()
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                break;
            }
        }
    }
    Ok(String::from_utf8_lossy(&request).into_owned())
}
