//! Rules one by one.

use super::*;

const HERE: &str = "http://127.0.0.1:8787/v1";

#[test]
fn a_pod_that_opts_out_passes_without_a_word() {
    let mut scene = Scene::new(pod_with(json!([])));
    scene.pod["metadata"]["labels"]["liquidmemory.dev/inject"] = "disabled".into();
    // Nothing else of it is looked at.
    scene.pod = annotate(scene.pod, &[("port", "nonsense")]);
    assert_eq!(scene.answer(), Outcome::pass(Vec::new()));
}

#[test]
fn pods_that_cannot_have_it_pass_with_a_note() {
    for (field, value) in [("hostNetwork", json!(true)), ("os", json!({ "name": "windows" }))] {
        let mut scene = Scene::new(pod_with(json!([])));
        scene.pod["spec"][field] = value;
        let outcome = scene.answer();
        assert_eq!(outcome.decision, Decision::Pass);
        assert_eq!(outcome.notes[0].reason, Reason::InjectionSkipped);
        assert!(outcome.notes[0].text.contains(field), "{:?}", outcome.notes);
    }
}

#[test]
fn denials_name_field_value_and_remedy() {
    for (name, value, remedy) in [
        (
            "port",
            "80",
            "not a port from 1024 to 65535; write for example \"8787\"",
        ),
        (
            "admin-port",
            "x",
            "not a port from 1024 to 65535; write for example \"9465\"",
        ),
        (
            "cpu-request",
            "fast",
            "not a quantity above zero; write for example \"50m\"",
        ),
        (
            "memory-limit",
            "0",
            "not a quantity above zero; write for example \"512Mi\"",
        ),
        ("mode", "on", "write \"auto\", \"off\" or \"force\""),
        ("unread", "pass", "write \"forward\" or \"refuse\""),
        ("whole", "pass", "write \"forward\", \"coverage\" or \"refuse\""),
        ("adopt-upstream", "yes", "write \"true\" or \"false\""),
        ("override-env-from", "1", "write \"true\" or \"false\""),
        (
            "skip-containers",
            "app,,x",
            "write names of containers, separated by commas",
        ),
        (
            "cpu-request",
            "2",
            "above the limit of 1; lower it, or raise the limit with liquidmemory.dev/cpu-limit",
        ),
        (
            "port",
            "9465",
            "the sidecar needs two ports; choose another one than its admin port",
        ),
    ] {
        let scene = Scene::new(annotate(pod_with(json!([])), &[(name, value)]));
        let field = format!("metadata.annotations[liquidmemory.dev/{name}]");
        denied(&scene, &format!("{field} = {value:?}: {remedy}"));
    }
}

#[test]
fn a_label_that_says_neither_is_denied() {
    let mut scene = Scene::new(pod_with(json!([])));
    scene.pod["metadata"]["labels"]["liquidmemory.dev/inject"] = "true".into();
    denied(
        &scene,
        "metadata.labels[liquidmemory.dev/inject] = \"true\": write \"enabled\" or \"disabled\"",
    );
}

#[test]
fn without_a_proxy_in_reach_it_is_denied() {
    let mut scene = Scene::new(pod_with(json!([])));
    scene.proxies.clear();
    denied(
        &scene,
        "no LiquidMemoryProxy in namespace \"shop\": apply one, or take the label liquidmemory.dev/inject \
         from the namespace or set it to \"disabled\" on the pod",
    );
    scene = Scene::new(annotate(pod_with(json!([])), &[("proxy", "other")]));
    denied(
        &scene,
        "metadata.annotations[liquidmemory.dev/proxy] = \"other\": no such LiquidMemoryProxy in namespace \
         \"shop\"; there is main",
    );
}

#[test]
fn a_port_that_a_container_claims_is_denied() {
    for (port, annotation) in [(8787, "port"), (9465, "admin-port")] {
        let mut pod = pod_with(json!([]));
        pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": port }]);
        denied(
            &Scene::new(pod.clone()),
            &format!(
                "spec.containers[app] has containerPort {port}, which the sidecar needs: set the annotation \
                 liquidmemory.dev/{annotation} to another port"
            ),
        );
        let moved = Scene::new(annotate(pod, &[(annotation, "7000")]));
        assert!(matches!(moved.answer().decision, Decision::Patch(_)));
    }
}

#[test]
fn names_that_are_kept_for_us_are_denied() {
    let message = |field: &str, name: &str| {
        format!("{field} is named {name:?}, which is kept for the injected sidecar: choose another name")
    };
    let mut pod = pod_with(json!([]));
    pod["spec"]["containers"][0]["name"] = "liquid-sidecar".into();
    denied(&Scene::new(pod), &message("spec.containers", "liquid-sidecar"));
    let mut pod = pod_with(json!([]));
    pod["spec"]["initContainers"] = json!([{ "name": "liquid-sidecar", "restartPolicy": "Always" }]);
    denied(
        &Scene::new(pod),
        &message("spec.initContainers", "liquid-sidecar"),
    );
    let mut pod = pod_with(json!([]));
    pod["spec"]["volumes"] = json!([{ "name": "liquid-memory-tls", "emptyDir": {} }]);
    denied(&Scene::new(pod), &message("spec.volumes", "liquid-memory-tls"));
}

#[test]
fn what_is_no_pod_is_denied() {
    for (pod, field) in [
        (json!(null), "spec"),
        (json!({ "spec": 1 }), "spec"),
        (json!({ "spec": {} }), "spec.containers"),
    ] {
        denied(
            &Scene::new(pod),
            &format!("{field}: missing or of the wrong type; send a Pod"),
        );
    }
}

#[test]
fn the_oldest_proxy_serves_unless_the_pod_names_one() {
    let mut scene = Scene::new(pod_with(json!([])));
    scene.proxies = vec![
        proxy("young", "2026-03-01T00:00:00Z"),
        proxy("b", "2026-01-01T00:00:00Z"),
        proxy("a", "2026-01-01T00:00:00Z"),
        proxy("unstored", "never"),
    ];
    let outcome = scene.answer();
    assert_eq!(outcome.proxy.as_deref(), Some("a"));
    let note = &outcome.notes[1];
    assert_eq!(note.reason, Reason::ProxyAmbiguous);
    assert_eq!(
        note.text,
        "a, b, unstored, young are in reach; a serves the pod because it is the oldest; name one with the \
         annotation liquidmemory.dev/proxy"
    );
    scene.pod = annotate(scene.pod, &[("proxy", "young")]);
    let outcome = scene.answer();
    assert_eq!(outcome.proxy.as_deref(), Some("young"));
    assert!(
        outcome
            .notes
            .iter()
            .all(|note| note.reason != Reason::ProxyAmbiguous)
    );
}

#[test]
fn an_application_that_sets_one_name_means_both() {
    for variable in ["OPENAI_BASE_URL", "OPENAI_API_BASE"] {
        let scene = Scene::new(pod_with(json!([{ "name": variable, "value": "http://own/v1" }])));
        let pod = scene.patched();
        assert_eq!(value(&pod, "app", variable), Some("http://own/v1"));
        let set = ["OPENAI_BASE_URL", "OPENAI_API_BASE"].map(|name| value(&pod, "app", name));
        assert_eq!(set.iter().flatten().count(), 1, "{set:?}");
        // The other API is served all the same.
        assert_eq!(
            value(&pod, "app", "ANTHROPIC_BASE_URL"),
            Some("http://127.0.0.1:8787")
        );
        assert_eq!(scene.answer().notes[1].reason, Reason::BaseUrlKept);
    }
}

#[test]
fn our_own_value_is_completed() {
    for url in [HERE, "http://localhost:8787/v1/"] {
        let scene = Scene::new(pod_with(json!([{ "name": "OPENAI_BASE_URL", "value": url }])));
        let pod = scene.patched();
        assert_eq!(value(&pod, "app", "OPENAI_BASE_URL"), Some(url));
        assert_eq!(value(&pod, "app", "OPENAI_API_BASE"), Some(HERE));
        assert_eq!(scene.answer().notes.len(), 1, "{:?}", scene.answer().notes);
    }
}

#[test]
fn upstreams_that_cannot_be_adopted_are_kept() {
    for (url, why) in [
        ("", "not a URL"),
        (
            "$(GATEWAY)/v1",
            "it refers to another variable; write the URL out",
        ),
        ("ftp://host/v1", "not a URL with http or https and a host"),
        ("https://user:word@host/v1", "it holds a password"),
        ("https://host/v1?version=2", "it has a query"),
    ] {
        let pod = pod_with(json!([{ "name": "OPENAI_BASE_URL", "value": url }]));
        let scene = Scene::new(annotate(pod, &[("adopt-upstream", "true")]));
        assert_eq!(value(&scene.patched(), "app", "OPENAI_BASE_URL"), Some(url));
        let note = scene.answer().notes[1].clone();
        assert_eq!(note.reason, Reason::BaseUrlKept);
        assert_eq!(
            note.text,
            format!("container app: OPENAI_BASE_URL cannot be adopted: {why}")
        );
    }
}

#[test]
fn a_pod_has_one_upstream_for_each_api() {
    let own = |url: &str| json!([{ "name": "OPENAI_BASE_URL", "value": url }]);
    let mut pod = pod_with(own("https://one/v1"));
    let second = json!({ "name": "second", "env": own("https://two/v1") });
    let third = json!({ "name": "third", "env": own("https://one/v1/") });
    pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .extend([second, third]);
    let scene = Scene::new(annotate(pod, &[("adopt-upstream", "true")]));
    let pod = scene.patched();
    let urls = ["app", "second", "third"].map(|name| value(&pod, name, "OPENAI_BASE_URL").unwrap());
    assert_eq!(urls, [HERE, "https://two/v1", HERE]);
    let upstream = "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL";
    assert_eq!(value(&pod, "liquid-sidecar", upstream), Some("https://one/v1"));
}

#[test]
fn no_proxy_is_extended_where_it_stands() {
    let proxy = json!({ "name": "https_proxy", "value": "http://proxy:3128" });
    for (list, wanted) in [
        ("", "127.0.0.1,localhost"),
        ("*", "*"),
        (".corp", ".corp,127.0.0.1,localhost"),
        (".corp, ", ".corp,127.0.0.1,localhost"),
        ("localhost", "localhost,127.0.0.1"),
        ("127.0.0.1, localhost", "127.0.0.1, localhost"),
    ] {
        let env = json!([proxy, { "name": "no_proxy", "value": list }]);
        let pod = Scene::new(pod_with(env)).patched();
        assert_eq!(value(&pod, "app", "no_proxy"), Some(wanted));
        // The other spelling would hide this one from clients that read it first.
        assert_eq!(value(&pod, "app", "NO_PROXY"), None);
    }
    let pod = Scene::new(pod_with(json!([proxy]))).patched();
    assert_eq!(value(&pod, "app", "no_proxy"), Some("127.0.0.1,localhost"));
    assert_eq!(value(&pod, "app", "NO_PROXY"), Some("127.0.0.1,localhost"));
}

#[test]
fn no_proxy_is_left_alone_without_a_proxy_or_without_a_call() {
    let list = json!({ "name": "NO_PROXY", "value": ".corp" });
    for env in [
        json!([list]),
        json!([list, { "name": "HTTP_PROXY", "value": "" }]),
        json!([
            list,
            { "name": "HTTP_PROXY", "value": "http://proxy:3128" },
            { "name": "OPENAI_BASE_URL", "value": "http://own/v1" },
            { "name": "ANTHROPIC_BASE_URL", "value": "http://own" },
        ]),
    ] {
        let pod = Scene::new(pod_with(env)).patched();
        assert_eq!(value(&pod, "app", "NO_PROXY"), Some(".corp"));
    }
}

#[test]
fn prefixes_of_env_from_count() {
    let from = |prefix: &str| json!([{ "prefix": prefix, "configMapRef": { "name": "settings" } }]);
    for (prefix, key, kept) in [
        ("", "OPENAI_BASE_URL", true),
        ("OPENAI_", "BASE_URL", true),
        ("OTHER_", "BASE_URL", false),
        ("", "BASE_URL", false),
    ] {
        let mut pod = pod_with(json!([]));
        pod["spec"]["containers"][0]["envFrom"] = from(prefix);
        let scene = Scene::new(pod).config_map("settings", &[(key, "http://own/v1")]);
        let set = value(&scene.patched(), "app", "OPENAI_BASE_URL").is_some();
        assert_eq!(set, !kept, "{prefix} {key}");
    }
    // A Secret is not read; one whose prefix cannot make our names is no obstacle.
    for (prefix, kept) in [("", true), ("OPENAI_", true), ("DB_", false)] {
        let mut pod = pod_with(json!([]));
        pod["spec"]["containers"][0]["envFrom"] =
            json!([{ "prefix": prefix, "secretRef": { "name": "keys" } }]);
        let set = value(&Scene::new(pod.clone()).patched(), "app", "OPENAI_BASE_URL").is_some();
        assert_eq!(set, !kept, "{prefix}");
        let asked = Scene::new(annotate(pod, &[("override-env-from", "true")]));
        assert_eq!(value(&asked.patched(), "app", "OPENAI_BASE_URL"), Some(HERE));
    }
}

#[test]
fn a_config_map_that_is_not_there_is_an_obstacle() {
    let mut pod = pod_with(json!([]));
    pod["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "later" } }]);
    let mut scene = Scene::new(pod);
    for _ in 0..2 {
        assert_eq!(value(&scene.patched(), "app", "OPENAI_BASE_URL"), None);
        scene.config_maps.insert("later".into(), ConfigMapData::Unknown);
    }
}

#[test]
fn the_second_pass_needs_no_proxy() {
    let mut scene = Scene::new(annotate(pod_with(json!([])), &[("port", "7000")])).again();
    scene.proxies.clear();
    let added = json!({ "name": "late", "image": "x" });
    scene.pod["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .push(added);
    let pod = scene.patched();
    assert_eq!(
        value(&pod, "late", "OPENAI_BASE_URL"),
        Some("http://127.0.0.1:7000/v1")
    );
    assert_eq!(pod["spec"]["initContainers"].as_array().unwrap().len(), 1);
}

#[test]
fn an_init_container_before_the_sidecar_gets_nothing() {
    let mut scene = Scene::new(pod_with(json!([]))).again();
    let init = scene.pod["spec"]["initContainers"].as_array_mut().unwrap();
    init.insert(0, json!({ "name": "early", "image": "x" }));
    init.push(json!({ "name": "late", "image": "x" }));
    let pod = scene.patched();
    assert_eq!(value(&pod, "early", "OPENAI_BASE_URL"), None);
    assert_eq!(value(&pod, "late", "OPENAI_BASE_URL"), Some(HERE));
}

#[test]
fn the_second_pass_can_still_adopt() {
    let mut scene = Scene::new(annotate(pod_with(json!([])), &[("adopt-upstream", "true")])).again();
    let late = json!({ "name": "late", "env": [{ "name": "ANTHROPIC_BASE_URL", "value": "https://own" }] });
    scene.pod["spec"]["containers"].as_array_mut().unwrap().push(late);
    let pod = scene.patched();
    assert_eq!(
        value(&pod, "late", "ANTHROPIC_BASE_URL"),
        Some("http://127.0.0.1:8787")
    );
    let upstream = "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL";
    assert_eq!(value(&pod, "liquid-sidecar", upstream), Some("https://own/v1"));
    assert_eq!(scene.again().patched(), pod);
}

#[test]
fn a_misspelt_annotation_is_noticed() {
    let scene = Scene::new(annotate(pod_with(json!([])), &[("skip-container", "app")]));
    let note = scene.answer().notes[1].clone();
    assert_eq!(note.reason, Reason::AnnotationUnknown);
    assert_eq!(
        note.text,
        "liquidmemory.dev/skip-container: nobody reads it; check the spelling"
    );
}

#[test]
fn a_misspelt_container_is_noticed() {
    let scene = Scene::new(annotate(pod_with(json!([])), &[("skip-containers", "ap")]));
    let note = scene.answer().notes[1].clone();
    assert_eq!(note.reason, Reason::AnnotationUnknown);
    assert_eq!(
        note.text,
        "liquidmemory.dev/skip-containers: the pod has no container ap; check the spelling"
    );
}
