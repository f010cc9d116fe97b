//! Pods and clusters on which other injectors have failed: Windows, assigned users, meshes.

use super::*;

#[test]
fn case_33_pods_on_windows_pass_with_a_note_that_names_the_field() {
    let windows = json!([{ "matchExpressions": [{ "key": "kubernetes.io/os", "operator": "In", "values": ["windows"] }] }]);
    let terms = json!({ "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": windows } });
    for (field, value, named) in [
        (
            "nodeSelector",
            json!({ "kubernetes.io/os": "windows" }),
            "spec.nodeSelector",
        ),
        (
            "affinity",
            json!({ "nodeAffinity": terms }),
            "spec.affinity.nodeAffinity",
        ),
        ("os", json!({ "name": "windows" }), "spec.os.name"),
    ] {
        let mut scene = Scene::new(pod_with(json!([])));
        scene.pod["spec"][field] = value;
        let outcome = scene.answer();
        assert_eq!(outcome.decision, Decision::Pass);
        assert_eq!(outcome.notes[0].reason, Reason::InjectionSkipped);
        assert!(outcome.notes[0].text.starts_with(named), "{:?}", outcome.notes);
    }
}

/// The fields of the sidecar's security context that name a user or group.
fn users(scene: &Scene) -> Vec<String> {
    let pod = scene.patched();
    let context = &pod["spec"]["initContainers"][0]["securityContext"];
    assert_eq!(context["runAsNonRoot"], true);
    let fields = context.as_object().unwrap().keys();
    fields
        .filter(|field| field.starts_with("runAs") && *field != "runAsNonRoot")
        .cloned()
        .collect()
}

#[test]
fn case_34_the_proxy_decides_for_its_namespace_who_the_sidecar_runs_as() {
    let both = ["runAsGroup", "runAsUser"];
    let mut scene = Scene::new(pod_with(json!([])));
    assert_eq!(users(&scene), both);
    scene.proxies[0].user = Some(PodUser::Platform);
    assert_eq!(users(&scene), Vec::<String>::new());
    // A pod that runs as root would make the sidecar root, which it must not be.
    scene.pod["spec"]["securityContext"] = json!({ "runAsUser": 0 });
    assert_eq!(users(&scene), both);
    scene.pod["spec"]["securityContext"] = json!({ "runAsUser": 1_000_920_000 });
    assert_eq!(users(&scene), Vec::<String>::new());
    scene.defaults.user = PodUser::Platform;
    scene.proxies[0].user = Some(PodUser::Fixed);
    assert_eq!(users(&scene), both);
}

#[test]
fn case_40_probes_ask_inside_the_pod_where_a_mesh_is_or_will_be() {
    let exec = |pod: Value| {
        let pod = Scene::new(pod).patched();
        let sidecar = &pod["spec"]["initContainers"][0];
        assert_eq!(sidecar["name"], "liquid-sidecar");
        let kinds = ["startupProbe", "livenessProbe", "readinessProbe"]
            .map(|probe| sidecar[probe].get("exec").is_some());
        assert!(kinds == [true; 3] || kinds == [false; 3], "{kinds:?}");
        kinds[0]
    };
    assert!(!exec(pod_with(json!([]))));
    for name in [
        "istio-proxy",
        "linkerd-proxy",
        "kuma-sidecar",
        "consul-dataplane",
        "envoy",
    ] {
        let mut pod = pod_with(json!([]));
        pod["spec"]["containers"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "name": name, "image": "mesh:1" }));
        assert!(exec(pod), "{name}");
        let mut pod = pod_with(json!([]));
        pod["spec"]["initContainers"] =
            json!([{ "name": name, "image": "mesh:1", "restartPolicy": "Always" }]);
        assert!(exec(pod), "{name}");
    }
    for (map, name, value, expected) in [
        ("labels", "sidecar.istio.io/inject", "true", true),
        ("annotations", "sidecar.istio.io/inject", "false", false),
        ("labels", "istio.io/rev", "canary", true),
        ("annotations", "linkerd.io/inject", "enabled", true),
        ("annotations", "linkerd.io/inject", "disabled", false),
        ("labels", "kuma.io/sidecar-injection", "enabled", true),
        ("annotations", "consul.hashicorp.com/connect-inject", "true", true),
    ] {
        let mut pod = pod_with(json!([]));
        pod["metadata"][map][name] = value.into();
        assert_eq!(exec(pod), expected, "{name}={value}");
    }
}

#[test]
fn case_40_a_port_is_added_to_those_that_istio_leaves_alone() {
    let excluded = |before: Option<&str>| {
        let mut pod = pod_with(json!([]));
        pod["metadata"]["labels"]["sidecar.istio.io/inject"] = "true".into();
        if let Some(before) = before {
            pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"] = before.into();
        }
        let mut scene = Scene::new(pod);
        scene.proxies[0].image = Some("mirror.corp/liquid-sidecar:0.0.9".into());
        let pod = scene.patched();
        pod["metadata"]["annotations"]["traffic.sidecar.istio.io/excludeInboundPorts"].clone()
    };
    assert_eq!(excluded(None), "9465");
    assert_eq!(excluded(Some("15020")), "15020,9465");
    assert_eq!(excluded(Some("15020, 9465")), "15020, 9465");
    assert_eq!(excluded(Some("*")), "*");
}

#[test]
fn case_40_containers_of_a_mesh_stay_as_they_are_and_in_their_order() {
    let mut pod = pod_with(json!([]));
    let names = [
        "istio-init",
        "linkerd-init",
        "kuma-init",
        "consul-connect-inject-init",
    ];
    pod["spec"]["initContainers"] = names
        .map(|name| json!({ "name": name, "image": "mesh:1" }))
        .into();
    let proxy = json!({ "name": "istio-proxy", "image": "mesh:1", "env": [{ "name": "A", "value": "1" }] });
    pod["spec"]["containers"].as_array_mut().unwrap().insert(0, proxy);
    let before = pod.clone();
    let scene = Scene::new(pod);
    let patched = scene.patched();
    let init = patched["spec"]["initContainers"].as_array().unwrap();
    assert_eq!(
        init[1..],
        before["spec"]["initContainers"].as_array().unwrap()[..]
    );
    assert_eq!(patched["spec"]["containers"][0], before["spec"]["containers"][0]);
    assert_eq!(
        value(&patched, "app", "OPENAI_BASE_URL"),
        Some("http://127.0.0.1:8787/v1")
    );
    assert!(scene.answer().notes[0].text.ends_with("calls of app pass it"));
}
