//! The plugin for kubectl: nothing to say about an installation that is well, and in words what is wrong with others.

mod faults;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, delete_namespace, dry_run, kubectl, output, rolled_out, text, trial};
use crate::manifest::{self, application, pod, shell};
use crate::plugin::{findings, liquid};
use crate::world::{Namespace, World, eventually};

pub(super) const CASES: &[(&str, Case)] = &[
    (PREPARE, prepare),
    ("plugin::check_says_nothing_of_what_is_well", healthy),
    ("plugin::commands_print_tables_and_json", commands),
    ("plugin::savings_and_packs_follow_a_call", call),
    ("plugin::inject_makes_what_the_webhook_makes", inject),
    ("plugin::few_rights_are_enough", few_rights),
    ("plugin::a_support_bundle_has_no_secret", support),
    (
        "plugin::faults_of_the_installation_are_named",
        faults::installation::check,
    ),
    (
        "plugin::faults_of_namespaces_and_pods_are_named",
        faults::pods::check,
    ),
    (
        "plugin::faults_of_proxies_and_workers_are_named",
        faults::workers::check,
    ),
    ("plugin::namespace_ends", end),
];

/// The case that makes what the others use.
pub(super) const PREPARE: &str = "plugin::namespace_and_application";

const NAMESPACE: &str = "plugin";
const LIMIT: Duration = Duration::from_secs(60);

fn prepare(_: &World) -> Result<()> {
    std::mem::forget(Namespace::opted_in(NAMESPACE)?);
    proxy(NAMESPACE, &manifest::proxy(NAMESPACE, "proxy"))?;
    apply(&web("web"))?;
    rolled_out(NAMESPACE, "deployment/web", LIMIT)
}

/// An application that runs.
fn web(name: &str) -> Value {
    manifest::deployment(NAMESPACE, name, &[shell("main", "sleep 100000")])
}

/// Name of the only pod of an application.
fn pod_of(app: &str) -> Result<String> {
    let selector = format!("app={app}");
    let names = [
        "get",
        "pods",
        "--namespace",
        NAMESPACE,
        "--selector",
        &selector,
        "-o",
        "name",
    ];
    let names = kubectl(&names)?;
    let first = names.lines().next().context("there is no pod")?;
    Ok(first.trim_start_matches("pod/").to_owned())
}

fn healthy(world: &World) -> Result<()> {
    let printed = liquid(world, &["check", "--namespace", NAMESPACE])?;
    ensure!(
        printed.success && printed.stdout == "no fault: 1 proxies, 1 pods with liquid-sidecar\n",
        "{}{}",
        printed.stdout,
        printed.stderr
    );
    Ok(())
}

fn commands(world: &World) -> Result<()> {
    let pod = pod_of("web")?;
    let commands: [(&[&str], &str, &str); 6] = [
        (&["status"], "READY", "/proxies/0/ready"),
        (&["images"], "IMAGE", "/images/0/image"),
        (&["certificates"], "EXPIRES", "/certificates/0/notAfter"),
        (&["explain", &pod], "through the sidecar", "/routes/0/value"),
        (&["savings", "--price", "2.50"], "COST", "/proxies/0/proxy"),
        (&["packs"], "", "/notRead"),
    ];
    for (words, head, pointer) in commands {
        let words = [words, &["--namespace", NAMESPACE]].concat();
        let table = liquid(world, &words)?;
        ensure!(
            table.success && table.stdout.contains(head),
            "{words:?}: {}{}",
            table.stdout,
            table.stderr
        );
        let json = liquid(world, &[&words[..], &["-o", "json"]].concat())?.json()?;
        ensure!(
            json.pointer(pointer).is_some(),
            "{words:?} has no {pointer}: {json}"
        );
    }
    Ok(())
}

fn call(world: &World) -> Result<()> {
    let asks = application(world, "application", &["ask.py", "plugin"]);
    let mut object = pod(NAMESPACE, "asks", &[asks, shell("stays", "sleep 100000")]);
    if let Some(spec) = object.pointer_mut("/spec") {
        spec["terminationGracePeriodSeconds"] = json!(1);
    }
    apply(&object)?;
    let words = ["packs", "--namespace", NAMESPACE, "--pods", "-o", "json"];
    let line = eventually("a pack", Duration::from_secs(90), || {
        let report = liquid(world, &words)?.json()?;
        let lines = report
            .pointer("/packs")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let smaller = |line: &Value| line["tokensAfter"].as_u64() < line["tokensBefore"].as_u64();
        let found = lines.iter().find(|line| smaller(line));
        ensure!(found.is_some(), "{report}");
        Ok(found.cloned())
    })?;
    ensure!(text(&line, "/pod") == "asks", "not of the pod: {line}");
    eventually("savings", Duration::from_secs(90), || {
        let savings = liquid(
            world,
            &[
                "savings",
                "--namespace",
                NAMESPACE,
                "--price",
                "1000000",
                "-o",
                "json",
            ],
        )?
        .json()?;
        let own = savings.pointer("/proxies/0").cloned().unwrap_or_default();
        let saved = own["tokensSaved"].as_i64().unwrap_or_default();
        ensure!(
            saved > 0 && text(&own, "/costsSaved/0/amount") == format!("{saved}.00"),
            "{savings}"
        );
        Ok(Some(()))
    })?;
    kubectl(&["delete", "pod", "asks", "--namespace", NAMESPACE, "--wait=true"]).map(|_| ())
}

/// What is made of a pod offline and what the webhook makes of it is the same; the webhook leaves the former alone.
fn inject(world: &World) -> Result<()> {
    let file = std::env::temp_dir().join("liquid-plugin-inject.json");
    let plain = pod(NAMESPACE, "injected", &[shell("main", "true")]);
    std::fs::write(&file, plain.to_string())?;
    let words = [
        "inject",
        "--namespace",
        NAMESPACE,
        "--filename",
        &file.to_string_lossy(),
        "-o",
        "json",
    ];
    let printed = liquid(world, &words)?;
    ensure!(
        printed.stderr.contains("Injected"),
        "no word about it: {}",
        printed.stderr
    );
    let ours = printed.json()?.pointer("/items/0").cloned().unwrap_or_default();
    let theirs = trial(&plain)?;
    let again = trial(&ours)?;
    for pointer in [
        "/spec/initContainers",
        "/spec/volumes",
        "/spec/containers/0/env",
        "/metadata/annotations",
    ] {
        ensure!(
            theirs.pointer(pointer) == again.pointer(pointer),
            "{pointer} differs: {:?} and {:?}",
            theirs.pointer(pointer),
            again.pointer(pointer)
        );
    }
    let yaml = liquid(world, words.get(..5).unwrap_or_default())?;
    let applied = dry_run(&yaml.stdout)?;
    ensure!(applied.contains("pod/injected"), "not applied: {applied}");
    std::fs::remove_file(file)?;
    Ok(())
}

/// A user who may look into one namespace, and not at Secrets, is told what was not looked at.
fn few_rights(world: &World) -> Result<()> {
    let of = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}});
    apply(&of("ServiceAccount", "viewer"))?;
    apply(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "viewer", "namespace": NAMESPACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "viewer", "namespace": NAMESPACE}],
    }))?;
    let token = kubectl(&["create", "token", "viewer", "--namespace", NAMESPACE])?;
    let admin = std::env::var("KUBECONFIG").context("KUBECONFIG is not set")?;
    let mut config: Value = serde_json::from_str(&output(
        std::process::Command::new(world.programs.join("kubectl")).args([
            "config",
            "view",
            "--raw",
            "-o",
            "json",
            "--kubeconfig",
            &admin,
        ]),
    )?)?;
    config["users"][0]["user"] = json!({"token": token});
    let file = std::env::temp_dir().join("liquid-plugin-viewer.json");
    std::fs::write(&file, config.to_string())?;
    let words = [
        "check",
        "--namespace",
        NAMESPACE,
        "--kubeconfig",
        &file.to_string_lossy(),
        "-o",
        "json",
    ];
    let printed = liquid(world, &words)?;
    std::fs::remove_file(&file)?;
    let report = printed.json()?;
    ensure!(
        printed.success && report["findings"] == json!([]),
        "{report} {}",
        printed.stderr
    );
    ensure!(
        report["injectedPods"] == json!(1),
        "pods were not looked at: {report}"
    );
    let gaps = report["notChecked"].to_string();
    for what in ["deployments", "CustomResourceDefinition", "Secret"] {
        ensure!(
            gaps.contains(what),
            "{what} is not among what was not checked: {gaps}"
        );
    }
    Ok(())
}

fn support(world: &World) -> Result<()> {
    const KEY: &str = "sk-do-not-tell-anyone";
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "application", "namespace": NAMESPACE},
        "stringData": {"key": KEY},
    });
    apply(&secret)?;
    let mut container = shell("main", "sleep 100000");
    container["env"] = json!([{"name": "OPENAI_API_KEY", "value": KEY}]);
    container["args"] = json!([KEY]);
    apply(&manifest::deployment(NAMESPACE, "keyed", &[container]))?;
    rolled_out(NAMESPACE, "deployment/keyed", LIMIT)?;
    let folder = std::env::temp_dir().join("liquid-plugin-support");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("bundle.tar.gz");
    let printed = liquid(
        world,
        &[
            "support-bundle",
            "--namespace",
            NAMESPACE,
            "--file",
            &file.to_string_lossy(),
        ],
    )?;
    ensure!(printed.success, "{}", printed.stderr);
    let unpacked = output(std::process::Command::new("tar").args(["xzOf", &file.to_string_lossy()]))?;
    let listed = output(std::process::Command::new("tar").args(["tzf", &file.to_string_lossy()]))?;
    std::fs::remove_dir_all(&folder)?;
    ensure!(!unpacked.contains(KEY), "the key is in the archive");
    ensure!(
        !unpacked.contains("PRIVATE KEY"),
        "a private key is in the archive"
    );
    for part in [
        "check.json",
        "/sidecar/keyed-",
        "/worker/proxy-workers-",
        "/operator/liquid-operator-",
        ".metrics",
        "proxies.json",
    ] {
        ensure!(listed.contains(part), "{part} is missing: {listed}");
    }
    kubectl(&[
        "delete",
        "deployment/keyed",
        "secret/application",
        "--namespace",
        NAMESPACE,
    ])
    .map(|_| ())
}

fn end(world: &World) -> Result<()> {
    let left = findings(world, NAMESPACE)?;
    ensure!(left.is_empty(), "the faults have left something: {left:?}");
    delete_namespace(NAMESPACE)
}
