//! Interception of TLS: what an intercepted pod gets, and which pods are.

use super::golden::golden;
use super::*;
use crate::api::InterceptedPods;

const ALIAS: &str = "/spec/hostAliases/0/hostnames";

/// A pod in reach of a proxy that intercepts these pods.
fn scene(pod: Value, pods: InterceptedPods) -> Scene {
    let mut scene = Scene::new(pod);
    scene.proxies[0].tls_interception = Some(pods);
    scene
}

fn is_intercepted(scene: &Scene) -> bool {
    let pod = scene.patched();
    let read = pod::Pod::read(&pod).unwrap();
    let present = sidecar::find_sidecar(&read).unwrap().unwrap();
    assert_eq!(present.intercept.is_some(), pod.pointer(ALIAS).is_some());
    present.intercept.is_some()
}

#[test]
fn an_intercepted_pod() {
    let pod = annotate(pod_with(json!(null)), &[("tls-interception", "true")]);
    golden("interception", &scene(pod, InterceptedPods::Annotated));
}

#[test]
fn an_intercepted_pod_that_has_everything_already() {
    let pod = json!({
        "metadata": { "name": "app" },
        "spec": {
            "securityContext": { "runAsNonRoot": true, "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }] },
            "hostAliases": [
                { "ip": "10.1.2.3", "hostnames": ["db.corp"] },
                { "ip": "127.0.0.1", "hostnames": ["app.local"] },
            ],
            "initContainers": [{ "name": "migrate", "image": "app:1" }],
            "containers": [
                {
                    "name": "trusts-its-own",
                    "env": [
                        { "name": "SSL_CERT_DIR", "value": "/etc/corp/certs" },
                        { "name": "REQUESTS_CA_BUNDLE", "valueFrom": { "configMapKeyRef": {} } },
                    ],
                    "envFrom": [{ "secretRef": { "name": "settings" } }],
                },
                {
                    "name": "hard-coded",
                    "env": [
                        { "name": "OPENAI_BASE_URL", "value": "https://api.openai.com/v1" },
                        { "name": "ANTHROPIC_BASE_URL", "value": "https://claude.corp" },
                        { "name": "HTTPS_PROXY", "value": "http://proxy.corp:3128" },
                    ],
                    "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
                },
                { "name": "log-shipper", "image": "logs:1" },
            ],
        },
    });
    let pod = annotate(pod, &[("skip-containers", "log-shipper")]);
    golden("interception-grown", &scene(pod, InterceptedPods::All));
}

#[test]
fn a_container_that_a_later_webhook_added_trusts_the_sidecar_too() {
    let mut scene = scene(pod_with(json!([])), InterceptedPods::All).again();
    let late = json!({ "name": "late", "image": "late:1" });
    scene.pod["spec"]["containers"].as_array_mut().unwrap().push(late);
    golden("interception-second-pass", &scene);
}

#[test]
fn options_of_java_stay_and_one_that_names_a_trust_store_is_added() {
    const OURS: &str = "-Djavax.net.ssl.trustStore=/etc/liquid/trust/truststore.p12";
    const CORP: &str = "-Djavax.net.ssl.trustStore=/corp.jks";
    let variable = |pod: &Value| value(pod, "app", "JAVA_TOOL_OPTIONS").map(str::to_owned);
    for (own, wanted, kept) in [
        ("-Xmx1g", format!("-Xmx1g {OURS}"), false),
        ("", OURS.to_owned(), false),
        (OURS, OURS.to_owned(), false),
        (CORP, CORP.to_owned(), true),
    ] {
        let env = json!([{ "name": "JAVA_TOOL_OPTIONS", "value": own }]);
        let scene = scene(pod_with(env), InterceptedPods::All);
        assert_eq!(variable(&scene.patched()).as_ref(), Some(&wanted));
        assert_eq!(variable(&scene.again().patched()).as_ref(), Some(&wanted));
        let notes = scene.answer().notes;
        let found = notes.iter().any(|note| note.reason == Reason::TrustKept);
        assert_eq!(found, kept, "{own}");
    }
    let mut from = scene(pod_with(json!([])), InterceptedPods::All)
        .config_map("settings", &[("JAVA_TOOL_OPTIONS", "-Xmx1g")]);
    from.pod["spec"]["containers"][0]["envFrom"] = json!([{ "configMapRef": { "name": "settings" } }]);
    let wanted = format!("$(JAVA_TOOL_OPTIONS) {OURS}");
    assert_eq!(variable(&from.patched()), Some(wanted));
    from.pod["spec"]["containers"][0]["env"] =
        json!([{ "name": "JAVA_TOOL_OPTIONS", "valueFrom": { "secretKeyRef": {} } }]);
    assert_eq!(variable(&from.patched()), None);
    assert!(
        from.answer()
            .notes
            .iter()
            .any(|note| note.reason == Reason::TrustKept)
    );
}

#[test]
fn annotation_and_proxy_decide() {
    use InterceptedPods::{All, Annotated};
    for (annotation, pods, intercepted) in [
        (None, Annotated, false),
        (Some("true"), Annotated, true),
        (Some("false"), Annotated, false),
        (None, All, true),
        (Some("true"), All, true),
        (Some("false"), All, false),
    ] {
        let mut pod = pod_with(json!([]));
        if let Some(value) = annotation {
            pod = annotate(pod, &[("tls-interception", value)]);
        }
        let scene = scene(pod, pods);
        assert_eq!(is_intercepted(&scene), intercepted, "{annotation:?} {pods:?}");
    }
    assert!(!is_intercepted(&Scene::new(pod_with(json!([])))));
}

#[test]
fn what_cannot_be_intercepted_is_denied_with_the_remedy() {
    let asking = annotate(pod_with(json!([])), &[("tls-interception", "true")]);
    denied(
        &Scene::new(asking),
        "metadata.annotations[liquidmemory.dev/tls-interception] = \"true\": LiquidMemoryProxy main offers no \
         interception; set its spec.injection.tlsInterception, for example to {}",
    );
    let mut taken = scene(pod_with(json!([])), InterceptedPods::All);
    taken.pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 443 }]);
    denied(
        &taken,
        "spec.containers[app] has containerPort 443, at which the sidecar intercepts TLS: listen on another port, or set \
         the annotation liquidmemory.dev/tls-interception to \"false\"",
    );
    let mut closed = scene(pod_with(json!([])), InterceptedPods::All);
    let sysctl = |value: &str| json!([{ "name": "net.ipv4.ip_unprivileged_port_start", "value": value }]);
    closed.pod["spec"]["securityContext"]["sysctls"] = sysctl("1024");
    denied(
        &closed,
        "spec.securityContext.sysctls[net.ipv4.ip_unprivileged_port_start] = \"1024\": the sidecar intercepts TLS at port \
         443 without privileges; set 443 or less, or set the annotation liquidmemory.dev/tls-interception to \"false\"",
    );
    closed.pod["spec"]["securityContext"]["sysctls"] = sysctl("0");
    let pod = closed.patched();
    assert_eq!(pod["spec"]["securityContext"]["sysctls"], sysctl("0"));
}

#[test]
fn a_host_that_the_pod_leads_elsewhere_stays_there() {
    let mut scene = scene(pod_with(json!([])), InterceptedPods::All);
    scene.pod["spec"]["hostAliases"] = json!([{ "ip": "10.0.0.9", "hostnames": ["API.openai.com"] }]);
    let pod = scene.patched();
    let names = pod.pointer("/spec/hostAliases/1").unwrap();
    assert_eq!(
        *names,
        json!({ "ip": "127.0.0.1", "hostnames": ["api.anthropic.com"] })
    );
    let notes = scene.answer().notes;
    let kept: Vec<&Note> = notes
        .iter()
        .filter(|note| note.reason == Reason::HostAliasKept)
        .collect();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].text.contains("api.openai.com"), "{}", kept[0].text);
    // With no host left there is nothing to intercept, and no key is mounted.
    scene.pod["spec"]["hostAliases"][0]["hostnames"] = json!(["api.openai.com", "api.anthropic.com"]);
    let pod = scene.patched();
    assert!(!pod.to_string().contains("interception-tls"), "{pod}");
}

#[test]
fn names_lead_to_the_loopback_address_of_the_pods_family() {
    let mut scene = scene(pod_with(json!([])), InterceptedPods::All);
    scene.defaults.any_address = std::net::Ipv6Addr::UNSPECIFIED.into();
    let pod = scene.patched();
    assert_eq!(pod.pointer("/spec/hostAliases/0/ip"), Some(&json!("::1")));
    let address = pod["spec"]["initContainers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .find(|entry| entry["name"] == "LIQUID_SIDECAR__INTERCEPT__ADDRESS");
    assert_eq!(address.unwrap()["value"], "[::1]:443");
}

/// The key of the certificate is for the sidecar alone; the others get certificates of authorities.
#[test]
fn no_container_but_the_sidecar_mounts_a_key() {
    let pod = scene(pod_with(json!([])), InterceptedPods::All).patched();
    let app = &pod["spec"]["containers"][0]["volumeMounts"];
    assert_eq!(
        *app,
        json!([{ "name": "liquid-memory-trust", "mountPath": "/etc/liquid/trust", "readOnly": true }])
    );
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let trust = volumes
        .iter()
        .find(|volume| volume["name"] == "liquid-memory-trust");
    assert!(trust.unwrap().get("configMap").is_some(), "{volumes:?}");
}
