//! The binary itself: exit codes, signals, its own port, and what its log never says.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::body::Body;
use http::Request;
use liquid_testing::MockUpstream;
use tempfile::TempDir;

use crate::support::{ask, chat, eventually, post, send};

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_liquid-sidecar"));
    command.env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn check(toml: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    command()
        .arg("--check")
        .arg("--config")
        .arg(file.path())
        .output()
        .unwrap()
}

#[test]
fn check_ends_with_0_or_64() {
    let good = check("[upstream]\nmodel = \"local/extractive\"");
    assert_eq!(good.status.code(), Some(0), "{good:?}");
    let bad = check("[limits]\nmax_body_bytes = 0\n[upstream]\nretries = 99");
    assert_eq!(bad.status.code(), Some(64));
    let text = String::from_utf8(bad.stderr).unwrap();
    assert!(
        text.contains("limits.max_body_bytes = 0") && text.contains("upstream.retries = 99"),
        "{text}"
    );
    let missing = command()
        .args(["--check", "--config", "/nowhere.toml"])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(64));
}

/// A running sidecar; it is killed if the test fails.
pub(crate) struct Running {
    child: Child,
    /// What it has written so far.
    log: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    port: u16,
    admin: u16,
    /// Holds the configuration.
    folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects what comes out of a pipe, so that a process that writes much is never held up.
fn collect(pipe: impl Read + Send + 'static, log: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let mut log = log.lock().unwrap();
            log.push_str(&line.unwrap());
            log.push('\n');
        }
    })
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Running {
    /// Starts the binary with this configuration, and waits until it listens. No worker is there.
    pub(crate) async fn start(toml: &str, change: impl FnOnce(&mut Command)) -> Self {
        Self::start_within(&[], toml, change).await
    }

    /// As [`Running::start`], by a program that ends by running what its last arguments say.
    pub(crate) async fn start_within(within: &[&str], toml: &str, change: impl FnOnce(&mut Command)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        std::fs::write(&config, toml).unwrap();
        let (port, admin) = (free_port(), free_port());
        let mut command = match within {
            [] => command(),
            [program, arguments @ ..] => {
                let mut outer = Command::new(program);
                outer.args(arguments).arg(env!("CARGO_BIN_EXE_liquid-sidecar"));
                outer
            }
        };
        command
            .arg("--config")
            .arg(&config)
            .env("LIQUID_SIDECAR__LISTEN__ADDRESS", format!("127.0.0.1:{port}"))
            .env("LIQUID_SIDECAR__LISTEN__ADMIN", format!("127.0.0.1:{admin}"))
            .env("LIQUID_SIDECAR__EXTRACT__WORKERS", "127.0.0.1:9");
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let output = child.stdout.take().map(|pipe| collect(pipe, &log));
        let errors = child.stderr.take().map(|pipe| collect(pipe, &log));
        let running = Self {
            child,
            log,
            readers: output.into_iter().chain(errors).collect(),
            port,
            admin,
            folder,
        };
        for _ in 0..200 {
            if tokio::net::TcpStream::connect(("127.0.0.1", admin)).await.is_ok() {
                return running;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("the sidecar does not start");
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// A page of its own port.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        let answer = send(Request::get(url).body(Body::empty()).unwrap()).await;
        (answer.status, answer.text())
    }

    /// What it has written to the standard output and the standard error so far.
    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for its end: its status and all that it has written.
    fn wait(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        for reader in std::mem::take(&mut self.readers) {
            reader.join().unwrap();
        }
        (status, self.log())
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) async fn terminate(self) -> (ExitStatus, String) {
        let terminated = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(terminated.success());
        tokio::task::spawn_blocking(move || self.wait()).await.unwrap()
    }

    fn configure(&self, toml: &str) {
        std::fs::write(self.folder.path().join("config.toml"), toml).unwrap();
    }
}

#[tokio::test]
async fn runs_reports_drains_and_keeps_secrets() {
    let upstream = MockUpstream::start().await.unwrap();
    let providers = format!(
        "[upstream.providers.openai]\nbase_url = \"{0}\"\n\
         [upstream.providers.anthropic]\nbase_url = \"{0}\"\napi_key_env = \"SECRET_KEY_VARIABLE\"\n[log]\nformat = \"json\"\n",
        upstream.base_url()
    );
    let running = Running::start(&providers, |command| {
        command
            .env("LIQUID_SIDECAR__LOG__LEVEL", "trace")
            .env("LIQUID_SIDECAR__RELOAD__INTERVAL_MS", "50")
            .env("SECRET_KEY_VARIABLE", "marked-configured-key");
    })
    .await;

    assert_eq!(running.admin("/livez").await.0, 200);
    assert_eq!(running.admin("/readyz").await.0, 200);
    let url = |path: &str| running.url(path);
    let document = format!("marked-document {}", "sentence of the document. ".repeat(2000));
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"] {
        for model in ["m", "mock-cut-1", "mock-500"] {
            let body = chat(model, true).replace("How tall is it?", &format!("{document} marked-question?"));
            ask(&url(path), body).await;
        }
    }
    assert_eq!(
        upstream.last().unwrap().header("authorization"),
        Some("Bearer sk-test")
    );
    let metrics = running.admin("/metrics").await.1;
    for name in [
        "liquid_sidecar_requests_total{surface=\"chat_completions\"",
        "liquid_sidecar_prompt_tokens_before_total",
        "gen_ai_client_operation_duration_seconds_bucket",
        "gen_ai_client_operation_time_to_first_chunk_seconds_bucket",
    ] {
        assert!(metrics.contains(name), "{name}: {metrics}");
    }

    // A broken file changes nothing; a good one does.
    running.configure("[policy]\nmin_saving = 7");
    eventually("the broken file is refused", || {
        running.log().contains("the old one stays")
    })
    .await;
    assert_eq!(
        ask(&url("/v1/chat/completions"), chat("m", false)).await.status,
        200
    );
    running.configure(&format!(
        "{providers}[upstream]\nmodel = \"local/extractive\"\n[limits]\nmax_headers = 99\n"
    ));
    eventually("the good file is applied", || {
        running.log().contains("the configuration has changed")
    })
    .await;
    assert_eq!(
        ask(&url("/v1/chat/completions"), chat("m", false)).await.json()["model"],
        "local/extractive"
    );

    let (status, log) = running.terminate().await;
    assert_eq!(status.code(), Some(0));
    for secret in ["marked-", "sk-test", "sentence of the document"] {
        assert!(!log.contains(secret), "the log holds {secret:?}");
    }
    for line in [
        "the old one stays",
        "the configuration has changed",
        "draining",
        "every call has ended",
    ] {
        assert!(log.contains(line), "{line:?} is missing in the log");
    }
    assert!(log.contains("min_saving") && log.contains("needs_restart") && log.contains("limits"));
}

#[tokio::test]
async fn a_log_on_a_full_disk_costs_no_call() {
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "[upstream.providers.openai]\nbase_url = \"{}\"\n[log]\nlevel = \"trace\"",
        upstream.base_url()
    );
    let running = Running::start(&toml, |command| {
        let full = || File::options().write(true).open("/dev/full").unwrap();
        command.stdout(full()).stderr(full());
    })
    .await;
    for _ in 0..20 {
        let answer = ask(&running.url("/v1/chat/completions"), chat("m", false)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(running.terminate().await.0.code(), Some(0));
}

#[tokio::test]
async fn the_upstream_continues_the_clients_trace() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let upstream = MockUpstream::start().await.unwrap();
    let providers = format!(
        "[upstream.providers.openai]\nbase_url = \"{}\"\n",
        upstream.base_url()
    );
    // Nobody listens there: spans that cannot be exported must not disturb a call.
    for (traces, continued) in [
        ("", false),
        ("[traces]\notlp_endpoint = \"http://127.0.0.1:9\"", true),
    ] {
        let running = Running::start(&format!("{providers}{traces}"), |_| {}).await;
        for path in ["/v1/chat/completions", "/v1/embeddings"] {
            let mut request = post(&running.url(path), chat("m", false));
            request
                .headers_mut()
                .insert("traceparent", parent.parse().unwrap());
            assert_eq!(send(request).await.status, 200);
            let received = upstream.last().unwrap().header("traceparent").unwrap().to_owned();
            assert!(received.contains(TRACE), "{path}: {received}");
            assert_eq!(received != parent, continued, "{path}: {received}");
        }
    }
}
