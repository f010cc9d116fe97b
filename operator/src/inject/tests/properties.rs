//! What holds for every pod, whatever its containers set.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::api::InterceptedPods;

const VARIABLES: [&str; 11] = [
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "ANTHROPIC_BASE_URL",
    "HTTP_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "PATH",
    "EMPTY",
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
];
const TRUST: [&str; 5] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "JAVA_TOOL_OPTIONS",
];
const VALUES: [&str; 6] = [
    "",
    "https://own.corp/v1",
    "http://127.0.0.1:8787/v1",
    ".corp,localhost",
    "*",
    "$(PATH)",
];

fn variable() -> impl Strategy<Value = Value> {
    let name = select(&VARIABLES[..]);
    prop_oneof![
        4 => (name.clone(), select(&VALUES[..]))
            .prop_map(|(name, value)| json!({ "name": name, "value": value })),
        1 => name
            .clone()
            .prop_map(|name| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": "x" } } })),
        1 => name.prop_map(|name| json!({ "name": name, "futureField": [1, 2.5, null] })),
    ]
}

fn source() -> impl Strategy<Value = Value> {
    let map = select(&["known", "other", "absent"][..]);
    let prefix = select(&["", "OPENAI_", "NO_", "X_"][..]);
    (map, prefix, any::<bool>()).prop_map(|(name, prefix, secret)| {
        let kind = if secret { "secretRef" } else { "configMapRef" };
        json!({ "prefix": prefix, kind: { "name": name } })
    })
}

fn container(kind: &'static str) -> impl Strategy<Value = Value> {
    let restart = select(&[None, Some("Always")][..]);
    let env = proptest::option::of(vec(variable(), 0..5));
    let sources = proptest::option::of(vec(source(), 0..3));
    (0u32..1000, env, sources, restart).prop_map(move |(number, env, sources, restart)| {
        let mut container =
            json!({ "name": format!("{kind}-{number}"), "image": "x", "futureField": { "a": [] } });
        if let Some(env) = env {
            container["env"] = env.into();
        }
        if let Some(sources) = sources {
            container["envFrom"] = sources.into();
        }
        if let (Some(restart), "init") = (restart, kind) {
            container["restartPolicy"] = restart.into();
        }
        container
    })
}

fn scene() -> impl Strategy<Value = Scene> {
    let lists = (
        proptest::option::of(vec(container("init"), 0..3)),
        vec(container("main"), 1..4),
        proptest::option::of(vec(select(&["registry-key", "other"][..]), 0..2)),
    );
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    (lists, flags).prop_map(
        |((init, main, secrets), (adopt, force, metadata, keys, intercept))| {
            let mut pod =
                json!({ "futureField": 1.25, "spec": { "containers": main, "futureField": ["kept"] } });
            if let Some(init) = init {
                pod["spec"]["initContainers"] = init.into();
            }
            if let Some(secrets) = secrets {
                let names: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
                pod["spec"]["imagePullSecrets"] = names.into();
            }
            if metadata {
                pod = annotate(
                    pod,
                    &[
                        ("adopt-upstream", &adopt.to_string()),
                        ("override-env-from", &force.to_string()),
                    ],
                );
            }
            let data = [
                ("OPENAI_BASE_URL", "https://map.corp/v1"),
                ("PROXY", "x"),
                ("HTTP_PROXY", "http://p"),
            ];
            let mut scene = Scene::new(pod)
                .config_map("known", &data)
                .config_map("other", &[("no_proxy", ".svc")]);
            if intercept {
                scene.proxies[0].tls_interception = Some(InterceptedPods::All);
            }
            if keys {
                scene.proxies[0].keys = vec![MountedKey {
                    path: "openai".into(),
                    secret: "s".into(),
                    key: "k".into(),
                }];
            }
            scene
        },
    )
}

/// Whether `grown` is `original` with more in it. Values of entries of `env` may have changed where
/// `may_change` says so.
fn holds(original: &Value, grown: &Value) -> bool {
    match (original, grown) {
        (Value::Object(original), Value::Object(grown)) => {
            let name = original.get("name").and_then(Value::as_str);
            original.iter().all(|(key, value)| {
                let changed = key == "value" && may_change(name, value, grown.get(key));
                changed || grown.get(key).is_some_and(|grown| holds(value, grown))
            })
        }
        (Value::Array(original), Value::Array(grown)) => {
            let mut rest = grown.iter();
            original.iter().all(|item| rest.any(|grown| holds(item, grown)))
        }
        _ => original == grown,
    }
}

fn may_change(name: Option<&str>, old: &Value, new: Option<&Value>) -> bool {
    let (Some(name), Some(old), Some(new)) = (name, old.as_str(), new.and_then(Value::as_str)) else {
        return false;
    };
    match name {
        "NO_PROXY" | "no_proxy" => new.starts_with(old.trim_end_matches([',', ' '])),
        "OPENAI_BASE_URL" | "OPENAI_API_BASE" | "ANTHROPIC_BASE_URL" => {
            old == "https://own.corp/v1" && new.starts_with("http://127.0.0.1:8787")
        }
        _ => false,
    }
}

/// Every variable that is in `grown` and not in `original`.
fn gained(original: &Value, grown: &Value) -> Vec<Value> {
    let all = |pod: &Value| -> Vec<Value> {
        let read = pod::Pod::read(pod).unwrap();
        let own = read
            .all_containers()
            .filter(|found| found.name != "liquid-sidecar");
        own.flat_map(|found| pod::items(found.value, "env").cloned().collect::<Vec<_>>())
            .collect()
    };
    let before = all(original);
    all(grown)
        .into_iter()
        .filter(|entry| !before.contains(entry))
        .collect()
}

proptest! {
    #[test]
    fn a_second_pass_changes_nothing(scene in scene()) {
        let again = scene.again();
        prop_assert_eq!(again.patched(), again.pod);
    }

    #[test]
    fn nothing_is_lost_or_rewritten(scene in scene()) {
        let grown = scene.patched();
        prop_assert!(holds(&scene.pod, &grown), "{}\n{}", scene.pod, grown);
        let outside = |pod: &Value| {
            let mut pod = pod.clone();
            let spec = pod["spec"].as_object_mut().unwrap();
            for field in [
                "containers",
                "hostAliases",
                "imagePullSecrets",
                "initContainers",
                "securityContext",
                "volumes",
            ] {
                spec.remove(field);
            }
            pod.as_object_mut().unwrap().remove("metadata");
            pod
        };
        prop_assert_eq!(outside(&scene.pod), outside(&grown));
    }

    #[test]
    fn what_is_added_is_ours_and_never_empty(scene in scene()) {
        for entry in gained(&scene.pod, &scene.patched()) {
            let name = pod::text(&entry, "name").unwrap();
            let value = pod::text(&entry, "value").unwrap();
            let ours = [&VARIABLES[..3], &VARIABLES[5..7], &TRUST].concat();
            prop_assert!(ours.contains(&name), "{}", entry);
            prop_assert!(!value.is_empty(), "{}", entry);
        }
    }

    #[test]
    fn the_sidecar_is_first(scene in scene()) {
        let grown = scene.patched();
        prop_assert_eq!(&grown["spec"]["initContainers"][0]["name"], "liquid-sidecar");
        prop_assert_eq!(&grown["metadata"]["annotations"]["liquidmemory.dev/injected"], "main");
    }

    #[test]
    fn any_json_gets_an_answer(text in "[a-z\\[\\]{}\":, 0-9]{0,60}") {
        let pod = serde_json::from_str(&text).unwrap_or(Value::Null);
        let spec = json!({ "containers": [pod], "initContainers": pod, "volumes": pod });
        let nested = json!({ "metadata": pod, "spec": spec });
        let mut scene = Scene::new(pod);
        scene.answer();
        scene.pod = nested;
        if let Decision::Patch(patch) = scene.answer().decision {
            json_patch::patch(&mut scene.pod, &patch).unwrap();
        }
    }
}
