//! Whole patches, reviewed as diffs. `INSTA_UPDATE=always cargo test -p liquid-operator golden` writes them
//! anew.

use std::fmt::Write;

use super::*;

/// The pod, then the answer.
fn page(scene: &Scene) -> String {
    let outcome = scene.answer();
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap();
    let mut page = format!("# pod\n{}\n\n# notes\n", pretty(&scene.pod));
    for note in &outcome.notes {
        let kind = if note.is_warning() { "Warning" } else { "Normal" };
        writeln!(page, "{kind} {}: {}", note.reason, note.text).unwrap();
    }
    match &outcome.decision {
        Decision::Patch(patch) => {
            writeln!(page, "\n# patch\n{}", pretty(&json!(patch))).unwrap();
        }
        other => writeln!(page, "\n# {other:?}").unwrap(),
    }
    page
}

fn golden(name: &str, scene: &Scene) {
    insta::with_settings!(
        { snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!(name, page(scene)) }
    );
    // Whatever the page shows, a second look at the pod finds nothing to do.
    let again = scene.again();
    assert_eq!(again.patched(), again.pod, "{name}");
}

#[test]
fn a_plain_pod() {
    golden("plain", &Scene::new(pod_with(json!(null))));
}

#[test]
fn a_pod_that_has_everything_already() {
    let pod = json!({
        "metadata": {
            "generateName": "app-",
            "annotations": { "example.com/team": "a" },
            "ownerReferences": [{ "kind": "ReplicaSet", "name": "app-1", "controller": true }],
        },
        "spec": {
            "futureField": { "kept": 1.5 },
            "imagePullSecrets": [{ "name": "registry-key" }, { "name": "other" }],
            "initContainers": [
                { "name": "mesh", "restartPolicy": "Always", "image": "mesh:1" },
                { "name": "migrate", "image": "app:1", "env": [{ "name": "A", "value": "1" }] },
            ],
            "containers": [
                {
                    "name": "app",
                    "image": "app:1",
                    "env": [{ "name": "B", "value": "2", "futureField": true }],
                },
                { "name": "helper", "image": "helper:1" },
            ],
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    });
    golden("grown", &Scene::new(pod));
}

#[test]
fn every_annotation() {
    let pod = annotate(
        pod_with(json!([])),
        &[
            ("proxy", "second"),
            ("cpu-request", "100m"),
            ("cpu-limit", "2"),
            ("memory-request", "128Mi"),
            ("memory-limit", "1Gi"),
            ("port", "18787"),
            ("admin-port", "19465"),
            ("mode", "force"),
            ("skip-containers", "log-shipper, metrics"),
        ],
    );
    let mut scene = Scene::new(pod);
    scene.pod["spec"]["containers"].as_array_mut().unwrap().extend([
        json!({ "name": "log-shipper", "image": "logs:1" }),
        json!({ "name": "metrics", "image": "metrics:1" }),
    ]);
    let mut second = proxy("second", "2026-02-02T00:00:00Z");
    second.keys = vec![MountedKey {
        path: "openai".into(),
        secret: "llm-keys".into(),
        key: "openai-key".into(),
    }];
    scene.proxies.push(second);
    golden("annotations", &scene);
}

#[test]
fn values_of_the_application_are_kept() {
    let mut scene = Scene::new(json!({
        "metadata": { "name": "app" },
        "spec": { "containers": [
            { "name": "literal", "env": [{ "name": "OPENAI_BASE_URL", "value": "https://gateway.corp/v1" }] },
            { "name": "empty", "env": [{ "name": "OPENAI_BASE_URL" }] },
            { "name": "reference", "env": [{ "name": "ANTHROPIC_BASE_URL", "valueFrom": { "fieldRef": {} } }] },
            { "name": "map", "envFrom": [{ "configMapRef": { "name": "settings" } }] },
            { "name": "secret", "envFrom": [{ "secretRef": { "name": "keys" } }] },
            { "name": "both", "envFrom": [
                { "secretRef": { "name": "keys" } },
                { "configMapRef": { "name": "settings" } },
            ] },
        ] },
    }))
    .config_map("settings", &[("OPENAI_API_BASE", "https://map.corp/v1"), ("DEBUG", "1")]);
    scene.defaults.pull_secrets.clear();
    golden("kept", &scene);
}

#[test]
fn values_of_the_application_are_adopted() {
    let pod = json!({
        "metadata": { "name": "app", "annotations": { "liquidmemory.dev/adopt-upstream": "true" } },
        "spec": { "containers": [
            { "name": "literal", "env": [
                { "name": "OPENAI_BASE_URL", "value": "https://gateway.corp/v1" },
                { "name": "ANTHROPIC_BASE_URL", "value": "https://claude.corp/" },
            ] },
            { "name": "map", "envFrom": [{ "configMapRef": { "name": "settings" } }] },
            { "name": "other", "env": [{ "name": "OPENAI_BASE_URL", "value": "https://third.corp/v1" }] },
        ] },
    });
    let scene = Scene::new(pod).config_map("settings", &[("OPENAI_API_BASE", "https://gateway.corp/v1/")]);
    golden("adopted", &scene);
}

#[test]
fn proxies_of_the_network() {
    let proxy = json!({ "name": "HTTPS_PROXY", "value": "http://proxy.corp:3128" });
    let pod = json!({
        "metadata": { "name": "app" },
        "spec": { "containers": [
            { "name": "none", "env": [proxy] },
            { "name": "list", "env": [{ "name": "NO_PROXY", "value": ".corp" }, proxy] },
            {
                "name": "reference",
                "env": [proxy, { "name": "no_proxy", "valueFrom": { "configMapKeyRef": {} } }],
            },
            { "name": "map", "envFrom": [{ "configMapRef": { "name": "network" } }] },
        ] },
    });
    let data = [("HTTP_PROXY", "http://proxy.corp:3128"), ("NO_PROXY", ".svc")];
    golden("proxies", &Scene::new(pod).config_map("network", &data));
}

#[test]
fn a_container_that_a_later_webhook_added() {
    let mut scene = Scene::new(pod_with(json!([]))).again();
    let init = scene.pod["spec"]["initContainers"].as_array_mut().unwrap();
    init.insert(0, json!({ "name": "mesh-init", "image": "mesh:1" }));
    init.push(json!({ "name": "wait", "image": "wait:1" }));
    let late = json!({ "name": "late", "image": "late:1", "env": [] });
    scene.pod["spec"]["containers"].as_array_mut().unwrap().push(late);
    golden("second-pass", &scene);
}
