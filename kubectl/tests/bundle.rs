//! `kubectl liquid bundle` as its users run it, against a registry that fails where a test wants it to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "bundle/archive.rs"]
mod archive;
#[path = "bundle/registry.rs"]
mod registry;

use std::path::Path;
use std::process::{Command, Output};

use archive::Bundle;
use registry::Registry;
use serde_json::Value;

/// Runs the plugin. No configuration of this machine's user is read.
fn kubectl_liquid(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-liquid"))
        .args(arguments)
        .current_dir(folder)
        .env("DOCKER_CONFIG", folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn push(bundle: &Bundle, registry: &Registry, more: &[&str]) -> Output {
    let address = format!("{}/team", registry.host);
    let push = [
        "bundle",
        "push",
        "bundle.tar",
        "--key",
        "key.pub",
        "--registry",
        &address,
    ];
    let ca = ["--ca-file", registry.authority.to_str().unwrap()];
    kubectl_liquid(bundle.folder(), &[&push[..], &ca, more].concat())
}

/// Writes the credentials where Docker has them.
fn log_in(bundle: &Bundle, registry: &Registry, password: &str) {
    let auths = serde_json::json!({"auths": {&registry.host: {"username": "user", "password": password}}});
    std::fs::write(bundle.folder().join("config.json"), auths.to_string()).unwrap();
}

#[test]
fn verify_lists_what_is_in_a_signed_bundle() {
    let bundle = Bundle::new();
    let output = kubectl_liquid(
        bundle.folder(),
        &["bundle", "verify", "bundle.tar", "--key", "key.pub", "-o", "json"],
    );
    assert!(output.status.success(), "{}", said(&output));
    let listed = serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let name = |item: usize| {
        listed
            .pointer(&format!("/items/{item}/repository"))
            .unwrap()
            .clone()
    };
    assert_eq!([name(0), name(1)], ["liquid-sidecar", "charts/liquid-memory"]);
}

#[test]
fn everything_arrives_byte_for_byte_and_is_not_sent_again() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    log_in(&bundle, &registry, "right");
    let output = push(&bundle, &registry, &["-o", "json"]);
    assert!(output.status.success(), "{}", said(&output));
    for item in bundle.items() {
        let repository = format!("team/{}", item.repository);
        assert_eq!(registry.manifest(&repository, "1.0").unwrap(), item.manifest);
        for blob in &item.blobs {
            assert!(registry.has(&repository, blob), "{repository} lacks a blob");
        }
    }
    let before = registry.uploads();
    let again = push(&bundle, &registry, &["-o", "json"]);
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(registry.uploads(), before, "something was sent twice");
    let done = serde_json::from_slice::<Value>(&again.stdout).unwrap();
    assert_eq!(done.pointer("/items/0/bytes_sent"), Some(&Value::from(0)));
    assert_eq!(done.pointer("/items/0/changed"), Some(&Value::from(false)));
}

#[test]
fn a_registry_that_fails_for_a_while_is_asked_again() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    log_in(&bundle, &registry, "right");
    registry.fail_next(3);
    let output = push(&bundle, &registry, &["--retries", "3"]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(registry.failures_left(), 0);
}

#[test]
fn a_push_that_broke_off_goes_on_where_it_was() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    log_in(&bundle, &registry, "right");
    registry.fail_after_uploads(2);
    let output = push(&bundle, &registry, &["--retries", "0"]);
    assert!(!output.status.success());
    assert_eq!(registry.uploads(), 2);
    registry.mend();
    let output = push(&bundle, &registry, &[]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(registry.uploads(), bundle.blobs());
}

/// Every changed byte of a file's content, of the list or of the signature; and the registry hears nothing of it.
#[test]
fn no_wrong_byte_reaches_the_registry() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    log_in(&bundle, &registry, "right");
    for content in bundle.contents() {
        for at in [content.start, content.end - 1] {
            let changed = bundle.with_changed_byte(at);
            log_in(&changed, &registry, "right");
            let output = push(&changed, &registry, &[]);
            let said = said(&output);
            assert!(
                !output.status.success(),
                "byte {at} was changed and pushed: {said}"
            );
            assert!(said.contains("is refused"), "{said}");
        }
    }
    assert_eq!(registry.requests(), 0);
}

#[test]
fn what_nobody_signed_reaches_no_registry() {
    let registry = Registry::start();
    for (changed, expected) in [
        (
            Bundle::signed_by_another(),
            "not made over this SHA256SUMS by the key",
        ),
        (Bundle::with_additional_file(), "stranger: not in SHA256SUMS"),
        (
            Bundle::without_last_file(),
            "not found, expected a file with sha256",
        ),
        (Bundle::with_a_file_twice(), "is there twice"),
        (Bundle::without_signature(), "SHA256SUMS.sig: not found"),
        (Bundle::cut_off(), "the file was changed, get it again"),
        (
            Bundle::without_a_blob(),
            "a manifest names it, and the bundle lacks it",
        ),
    ] {
        log_in(&changed, &registry, "right");
        let output = push(&changed, &registry, &[]);
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains(expected),
            "{expected}: {said}"
        );
    }
    assert_eq!(registry.requests(), 0);
}

#[test]
fn refusals_of_the_registry_say_what_to_do() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    let address = format!("{}/team", registry.host);
    let push_to = [
        "bundle",
        "push",
        "bundle.tar",
        "--key",
        "key.pub",
        "--registry",
        &address,
    ];
    let output = kubectl_liquid(bundle.folder(), &push_to);
    assert!(
        said(&output).contains("name one with --ca-file"),
        "{}",
        said(&output)
    );
    log_in(&bundle, &registry, "wrong");
    let output = push(&bundle, &registry, &[]);
    let refusal = said(&output);
    assert!(refusal.contains("name others with --docker-config"), "{refusal}");
    assert!(!refusal.contains("wrong"), "the password is in it: {refusal}");
    assert_eq!(registry.uploads(), 0);
}

#[test]
fn a_pull_secret_s_file_has_the_credentials() {
    let (bundle, registry) = (Bundle::new(), Registry::start());
    // As `kubectl create secret docker-registry` writes it: "user:right" in Base64.
    let auths = serde_json::json!({"auths": {&registry.host: {"auth": "dXNlcjpyaWdodA=="}}});
    std::fs::write(bundle.folder().join("pull.json"), auths.to_string()).unwrap();
    let output = push(&bundle, &registry, &["--docker-config", "pull.json"]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::write(bundle.folder().join("pull.json"), r#"{"auths": {}}"#).unwrap();
    let output = push(&bundle, &registry, &["--docker-config", "pull.json"]);
    assert!(
        said(&output).contains("has no credentials for"),
        "{}",
        said(&output)
    );
}

#[test]
fn an_address_is_a_host_and_a_path() {
    let bundle = Bundle::new();
    for wrong in [
        "https://registry.example/liquid",
        "Registry.example/liquid",
        "a//b",
        "",
    ] {
        let push = [
            "bundle",
            "push",
            "bundle.tar",
            "--key",
            "key.pub",
            "--registry",
            wrong,
        ];
        let output = kubectl_liquid(bundle.folder(), &push);
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", said(&output));
    }
}
