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

pub(super) fn golden(name: &str, scene: &Scene) {
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

/// As Istio's injector leaves a pod: its network plugin validates, its proxy is a native sidecar.
fn pod_in_istio() -> Value {
    json!({
        "metadata": {
            "name": "app",
            "labels": { "security.istio.io/tlsMode": "istio", "service.istio.io/canonical-name": "app" },
            "annotations": {
                "sidecar.istio.io/status": "{\"initContainers\":[\"istio-validation\",\"istio-proxy\"]}",
                "traffic.sidecar.istio.io/excludeInboundPorts": "15020",
            },
        },
        "spec": {
            "initContainers": [
                { "name": "istio-validation", "image": "istio/proxyv2:1.26" },
                {
                    "name": "istio-proxy",
                    "image": "istio/proxyv2:1.26",
                    "restartPolicy": "Always",
                    "ports": [{ "containerPort": 15090, "name": "http-envoy-prom" }],
                    "startupProbe": { "httpGet": { "path": "/healthz/ready", "port": 15021 } },
                },
            ],
            "containers": [{
                "name": "app",
                "image": "app:1",
                "ports": [{ "containerPort": 8080 }],
                "readinessProbe": { "httpGet": { "path": "/app-health/app/readyz", "port": 15020 } },
            }],
        },
    })
}

#[test]
fn case_40_a_pod_in_istio() {
    golden("case-40-istio", &Scene::new(pod_in_istio()));
}

#[test]
fn case_40_a_pod_in_istio_with_an_image_of_the_proxys_own() {
    let mut scene = Scene::new(pod_in_istio());
    scene.proxies[0].image = Some("mirror.corp/liquid-sidecar:0.0.9".into());
    golden("case-40-istio-own-image", &scene);
}

#[test]
fn case_40_a_mesh_that_joins_after_the_sidecar_and_rewrites_its_probes() {
    let mut scene = Scene::new(pod_with(json!([]))).again();
    let rewritten = json!({ "httpGet": { "path": "/app-health/liquid-sidecar/livez", "port": 15020 } });
    let init = scene.pod["spec"]["initContainers"].as_array_mut().unwrap();
    init[0]["startupProbe"] = rewritten.clone();
    init[0]["livenessProbe"] = rewritten;
    init.push(json!({ "name": "istio-proxy", "image": "istio/proxyv2:1.26", "restartPolicy": "Always" }));
    golden("case-40-istio-after", &scene);
}

#[test]
fn case_34_a_pod_whose_user_the_platform_assigns() {
    let mut scene = Scene::new(json!({
        "metadata": { "name": "app" },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "app",
                "image": "app:1",
                "securityContext": { "runAsUser": 1_000_920_000, "allowPrivilegeEscalation": false },
            }],
        },
    }));
    scene.defaults.user = PodUser::Platform;
    golden("case-34-platform-user", &scene);
}

#[test]
fn case_35_a_pod_with_resources_of_its_own() {
    let pod = json!({
        "metadata": { "name": "small" },
        "spec": {
            "resources": {
                "requests": { "cpu": "100m", "memory": "128Mi" },
                "limits": { "cpu": "500m", "memory": "256Mi" },
            },
            "containers": [{
                "name": "app",
                "image": "app:1",
                "resources": { "requests": { "cpu": "80m", "memory": "100Mi" } },
            }],
        },
    });
    golden("case-35-pod-resources", &Scene::new(pod));
}
