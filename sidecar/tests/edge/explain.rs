//! `liquid-sidecar explain FILE`, as a person or a script runs it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use liquid_testing::{MockWorker, WorkerBehaviour};
use serde_json::{Value, json};

use crate::contract::{EVIDENCE, QUESTION, document};

/// Runs the command with a body on standard input.
fn explain(worker: &str, body: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_liquid-sidecar"))
        .env_clear()
        .env("LIQUID_SIDECAR__EXTRACT__WORKERS", worker)
        .env("LIQUID_SIDECAR__EXTRACT__DEADLINE_MS", "2000")
        .args(["explain", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A process that refuses its arguments does not read.
    let _ = child.stdin.take().unwrap().write_all(body.as_bytes());
    child.wait_with_output().unwrap()
}

async fn explained(body: &Value, arguments: &'static [&'static str]) -> Output {
    let worker = MockWorker::start([WorkerBehaviour::Evidence]).await.unwrap();
    let (address, body) = (worker.address().to_string(), body.to_string());
    tokio::task::spawn_blocking(move || explain(&address, &body, arguments))
        .await
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn chat() -> Value {
    json!({"model": "gpt-5", "messages": [
        {"role": "system", "content": "You answer questions about contracts."},
        {"role": "user", "content": document()}, {"role": "user", "content": QUESTION}]})
}

#[tokio::test]
async fn a_person_sees_why_and_what_is_kept() {
    let output = explained(&chat(), &[]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}{}", text(&output.stderr));
    assert!(out.starts_with("compressed: question\n"), "{out}");
    assert!(out.contains("surface: chat_completions (guessed from the body), model: gpt-5"));
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let asked = |line: &Vec<&str>| line.starts_with(&["0", "1.00", "words", "evidence"]);
    assert!(lines.iter().any(asked) && out.contains(QUESTION), "{out}");
    let site = |line: &Vec<&str>| {
        line.starts_with(&["0", "0", "1", "user", "-"]) && line.ends_with(&["compressed", "question"])
    };
    assert!(lines.iter().any(site), "{out}");
    assert!(out.lines().any(|line| line == format!("+ {EVIDENCE}")), "{out}");
    assert!(
        out.lines()
            .any(|line| line.starts_with("- Clause 0 says") && line.contains(" words ...]")),
        "{out}"
    );
    assert!(!out.contains('\x1b') && !out.contains("Clause 150 says"), "{out}");

    let whole = text(&explained(&chat(), &["--all"]).await.stdout);
    assert!(whole.lines().any(|line| line.starts_with("- Clause 150 says")));
}

#[tokio::test]
async fn json_is_what_a_dry_run_answers() {
    let body = json!({"model": "claude-5", "max_tokens": 9, "messages": [
        {"role": "user", "content": format!("{}\n\n{QUESTION}", document())}]});
    let output = explained(&body, &["--json"]).await;
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (json["object"].as_str(), json["decision"]["surface"].as_str()),
        (Some("liquid.dry_run"), Some("messages"))
    );
    assert_eq!(json["evidence"]["turns"][0]["need"], "evidence");
    assert!(
        json["request"]["messages"][0]["content"]
            .as_str()
            .unwrap()
            .contains(EVIDENCE)
    );
    let given = text(&explained(&body, &["--surface", "chat"]).await.stdout);
    assert!(
        given.contains("surface: chat_completions, model: claude-5"),
        "{given}"
    );
}

#[tokio::test]
async fn a_document_that_stays_is_told_by_its_ends() {
    let body = json!({"messages": [
        {"role": "user", "content": document()}, {"role": "user", "content": "Translate it into German."}]});
    let output = explained(&body, &[]).await;
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(out.starts_with("passed: needs_everything\n"), "{out}");
    assert!(
        out.contains("SITE 0: passed, needs_everything\n+ Clause 0 says"),
        "{out}"
    );
}

#[test]
fn exit_codes_say_who_has_to_act() {
    // Nothing listens there.
    let nobody = "127.0.0.1:9";
    let run = |body: &str, arguments: &[&str]| {
        let output = explain(nobody, body, arguments);
        (output.status.code(), text(&output.stderr), text(&output.stdout))
    };
    let (code, error, out) = run(&chat().to_string(), &[]);
    assert_eq!(code, Some(70), "{error}");
    assert!(
        error.contains("no worker answered") && out.starts_with("passed: worker_unavailable\n"),
        "{out}"
    );

    let (code, error, _) = run("{", &[]);
    assert!(
        code == Some(65) && error.contains("is not a JSON object"),
        "{error}"
    );
    let (code, error, out) = run("{\"messages\": [}", &["--surface", "chat"]);
    assert!(code == Some(65) && error.contains("chat_completions"), "{error}");
    assert!(out.starts_with("passed: unreadable\n"), "{out}");

    let (code, error, _) = run("{}", &["--check"]);
    assert_eq!(code, Some(2), "{error}");
    let (code, error, _) = run("{}", &["--config", "/nowhere.toml"]);
    assert_eq!(code, Some(64), "{error}");
}

#[test]
fn a_missing_file_is_an_error_of_the_input() {
    let output = Command::new(env!("CARGO_BIN_EXE_liquid-sidecar"))
        .env_clear()
        .args(["explain", "/nowhere.json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(65));
    assert!(text(&output.stderr).contains("/nowhere.json: "));
}
