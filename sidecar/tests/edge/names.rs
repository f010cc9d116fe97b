//! Names at the process's border: the hosts file is not asked for upstreams, and nothing waits for DNS or
//! workers.

use std::process::{Command, Stdio};

use liquid_testing::MockUpstream;

use crate::process::Running;
use crate::support::{ask, chat};

const NAME: &str = "liquid-memory-hosts-test.example";

/// Whether this user may have a view of the file system of its own.
fn may_unshare() -> bool {
    let status = Command::new("unshare")
        .args(["--mount", "true"])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// In TLS interception mode the hosts file points the provider's name at this sidecar: reading it would be a
/// loop.
#[tokio::test]
async fn an_upstream_in_the_hosts_file_only_is_not_found() {
    if !may_unshare() {
        eprintln!("skipped: unshare --mount is not permitted here; run it as root");
        return;
    }
    let upstream = MockUpstream::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (hosts, resolv) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
    std::fs::write(&hosts, format!("127.0.0.1 localhost\n127.0.0.1 {NAME}\n")).unwrap();
    // Nobody answers there, at once.
    std::fs::write(&resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    // The control: a program that asks the system finds the name.
    let script = format!(
        "mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && getent hosts {NAME} > {} && exec \"$@\"",
        hosts.display(),
        resolv.display(),
        folder.path().join("control").display()
    );
    let toml = format!(
        "[upstream]\nretries = 0\n[upstream.providers.openai]\nbase_url = \"http://{NAME}:{}/v1\"",
        upstream.address().port()
    );
    let sidecar =
        Running::start_within(&["unshare", "--mount", "sh", "-c", &script, "sh"], &toml, |_| {}).await;
    let control = std::fs::read_to_string(folder.path().join("control")).unwrap();
    assert!(control.starts_with("127.0.0.1"), "{control}");
    let answer = ask(&sidecar.url("/v1/chat/completions"), chat("m", false)).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(
        answer.text().contains("the hosts file is not read"),
        "{}",
        answer.text()
    );
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn starts_before_its_workers_their_names_and_certificates() {
    let upstream = MockUpstream::start().await.unwrap();
    let toml = format!(
        "[upstream.providers.openai]\nbase_url = \"{}\"\n\
         [extract.tls]\nca_file = \"/nowhere/ca.pem\"\nserver_name = \"worker\"",
        upstream.base_url()
    );
    let sidecar = Running::start(&toml, |command| {
        command.env("LIQUID_SIDECAR__EXTRACT__WORKERS", "workers.invalid:50051");
        command.env("LIQUID_SIDECAR__EXTRACT__DEADLINE_MS", "300");
    })
    .await;
    assert_eq!(sidecar.admin("/readyz").await.0, 200);
    let document = "The parties meet and shake hands. ".repeat(600);
    let body = chat("m", false).replace(
        "How tall is it?",
        &format!("{document}\\n\\nHow tall is the tower?"),
    );
    let answer = ask(&sidecar.url("/v1/chat/completions"), body.clone()).await;
    assert_eq!(
        (answer.status, answer.header("x-liquid-reason")),
        (200, "worker_unavailable")
    );
    assert!(
        answer.header("x-liquid-error").contains("/nowhere/ca.pem"),
        "{:?}",
        answer.headers
    );
    assert_eq!(upstream.last().unwrap().body, body);
}
