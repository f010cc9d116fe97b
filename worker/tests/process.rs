//! The binary itself: exit codes, output, signals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_liquid-worker");

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear();
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn with_config(text: &str) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("worker.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn model_config(folder: &Path) -> (TempDir, String) {
    with_config(&format!(
        "[grpc]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[model]\nfolder = {folder:?}"
    ))
}

#[test]
fn a_wrong_configuration_exits_with_64() {
    for (text, expected) in [
        (
            "[limits]\nmax_chunk_bytes = 0",
            "limits.max_chunk_bytes = 0: set at least 1",
        ),
        ("[limits]\nqueues = 1", "queues"),
        ("tiers = [\"encoder\"]", "model.folder"),
    ] {
        let (_folder, path) = with_config(text);
        let output = run(&["serve", "--config", &path, "--check"]);
        assert_eq!(output.status.code(), Some(64), "{}", errors(&output));
        assert!(errors(&output).contains(expected), "{}", errors(&output));
    }
}

#[test]
fn a_model_that_fails_its_manifest_exits_with_66() {
    let folder = tempfile::tempdir().unwrap();
    support::write_tiny_model(folder.path());
    let (_keep, path) = model_config(folder.path());
    assert_eq!(
        run(&["serve", "--config", &path, "--check"]).status.code(),
        Some(0)
    );
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    for arguments in [
        &["serve", "--config", &path][..],
        &["serve", "--config", &path, "--check"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(66), "{}", errors(&output));
        assert!(
            errors(&output).contains("config.json: sha256 is"),
            "{}",
            errors(&output)
        );
        assert!(!errors(&output).contains("ready"), "{}", errors(&output));
    }
}

#[test]
fn a_decoder_that_cannot_be_loaded_exits_with_66_and_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    support::write_tiny_decoder(folder.path());
    let config = |more: &str| {
        with_config(&format!(
            "[grpc]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[decoder]\nfolder = {:?}\n{more}",
            folder.path()
        ))
    };
    let check = |more: &str| {
        let (_keep, path) = config(more);
        let output = run(&["serve", "--config", &path, "--check"]);
        (output.status.code(), errors(&output))
    };
    assert_eq!(check("").0, Some(0));
    for (more, expected) in [
        (
            "context_tokens = 257",
            "decoder.context_tokens = 257: the model reads at most 256",
        ),
        ("memory_bytes = 1000", "memory_bytes = 1000"),
    ] {
        let (code, errors) = check(more);
        assert_eq!(code, Some(66), "{errors}");
        assert!(errors.contains(expected), "{errors}");
    }
    for (file, text, expected) in [
        ("chat_template.jinja", "{% for %}", "chat template cannot be read"),
        ("tokenizer.json", "{}", "tokenizer.json"),
        ("model.safetensors", "", "model.safetensors"),
        ("config.json", "{\"model_type\": \"bert\"}", "model_type"),
    ] {
        std::fs::write(folder.path().join(file), text).unwrap();
        let (code, errors) = check("");
        assert_eq!(code, Some(66), "{errors}");
        assert!(
            errors.contains("decoder.folder") && errors.contains(expected),
            "{errors}"
        );
    }
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(check("").0, Some(66));
}

#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_folder, path) = with_config(&format!(
        "[grpc]\nlisten = \"{address}\"\n[admin]\nlisten = \"127.0.0.1:0\""
    ));
    let output = run(&["serve", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        errors(&output).contains(&format!("grpc.listen = {address}")),
        "{}",
        errors(&output)
    );
}

fn document() -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("contract.txt");
    let text = support::document(2000);
    std::fs::write(&path, &text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path, text)
}

#[test]
fn extract_prints_spans_for_people_and_for_scripts() {
    let (_folder, path, text) = document();
    let question = ["--question", "What is the governing law?"];
    let output = run(&[&["extract", "--document", &path][..], &question].concat());
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(
        output.status.success() && printed.contains("law of Delaware"),
        "{printed}{}",
        errors(&output)
    );
    assert!(
        printed.lines().last().unwrap().contains("tier lexical"),
        "{printed}"
    );

    let output = run(&[
        &["extract", "--document", &path, "--max-tokens", "100", "--json"][..],
        &question,
    ]
    .concat());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(answer["kept"]["tokens"].as_u64().unwrap() <= 100, "{answer}");
    assert_eq!(
        (&answer["tier"], &answer["tier_reason"]),
        (&"lexical".into(), &"best_served".into())
    );
    for span in answer["spans"].as_array().unwrap() {
        let (start, end) = (
            span["start"].as_u64().unwrap() as usize,
            span["end"].as_u64().unwrap() as usize,
        );
        assert_eq!(span["text"], text[start..end]);
    }
}

#[test]
fn extract_reads_standard_input() {
    let arguments = [
        "extract",
        "--document",
        "-",
        "--question",
        "What is the governing law?",
        "--auto",
    ];
    let mut child = command(&arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(support::document(2000).as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("law of Delaware")
    );
}

#[test]
fn extract_explains_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("binary");
    std::fs::write(&binary, b"caf\xe9").unwrap();
    let binary = binary.to_str().unwrap();
    for (arguments, expected) in [
        (vec!["--document", "absent.txt", "--question", "q"], "absent.txt"),
        (
            vec!["--document", binary, "--question", "q"],
            "is not UTF-8 at byte 3",
        ),
    ] {
        let output = run(&[&["extract"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(65), "{}", errors(&output));
        assert!(errors(&output).contains(expected), "{}", errors(&output));
    }
    let (_folder, path, _) = document();
    let output = run(&[
        "extract",
        "--document",
        &path,
        "--question",
        "q",
        "--ratio",
        "0.5",
    ]);
    assert_eq!(output.status.code(), Some(65), "{}", errors(&output));
}

#[test]
fn a_closed_pipe_is_no_fault() {
    let (_folder, path, _) = document();
    let arguments = [
        "extract",
        "--document",
        &path,
        "--question",
        "lot",
        "--ratio",
        "1",
        "--json",
    ];
    let mut child = command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut errors = String::new();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    assert!(child.wait().unwrap().success(), "{errors}");
    assert_eq!(errors, "");
}

#[test]
fn describe_names_model_and_tiers() {
    let folder = tempfile::tempdir().unwrap();
    support::write_tiny_model(folder.path());
    let (_keep, path) = model_config(folder.path());
    let output = run(&["describe", "--config", &path]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        printed.contains("lexical, static, encoder") && printed.contains("tiny"),
        "{printed}"
    );
    assert!(
        String::from_utf8(run(&["describe"]).stdout)
            .unwrap()
            .contains("model      none")
    );
}

#[test]
fn sigterm_drains_and_ends_with_0_and_logs_no_text() {
    let (_folder, path) = with_config(
        "[grpc]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [drain]\nnotice_ms = 50\n[log]\nformat = \"json\"\nlevel = \"trace\"",
    );
    let mut child = command(&["serve", "--config", &path])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = Vec::new();
    let mut address = String::new();
    while !log.last().is_some_and(|line: &String| line.contains("\"ready\"")) {
        let line = lines.next().unwrap().unwrap();
        let fields: serde_json::Value = serde_json::from_str(&line).unwrap();
        if let Some(grpc) = fields["grpc"].as_str() {
            address = grpc.to_owned();
        }
        log.push(line);
    }
    let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    ask(&address);
    let killed = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success() && child.wait().unwrap().success());
    log.extend(rest.join().unwrap());
    let log = log.join("\n");
    assert!(
        log.contains("\"draining\"") && log.contains("\"extracted\""),
        "{log}"
    );
    assert!(
        !log.contains("Delaware") && !log.contains("governing"),
        "the log holds text"
    );
}

#[tokio::main(flavor = "current_thread")]
async fn ask(address: &str) {
    let client = liquid_proto::worker::v1::worker_client::WorkerClient::connect(format!("http://{address}"));
    let header = support::header("What is the governing law?");
    support::extract(&mut client.await.unwrap(), header, &support::document(500))
        .await
        .unwrap();
}
