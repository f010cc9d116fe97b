//! The gateway's objects: compared with files, and what they promise.

use k8s_openapi::api::core::v1::Volume;
use serde_json::{Value, json};

use super::{build, everything, file, platform, proxy, yaml};
use crate::api::PodUser;
use crate::objects::{GatewayObjects, Objects, Platform, gateway_url};

fn gateway(fields: Value) -> GatewayObjects {
    build(json!({ "gateway": fields })).gateway.unwrap()
}

fn smallest() -> Value {
    json!({ "clients": { "tokenSecret": "clients" } })
}

/// A gateway that uses what there is.
fn largest() -> Value {
    json!({
        "clients": {
            "tokenSecret": "clients",
            "certificates": { "authoritySecret": "corporate-ca", "identities": ["spiffe://example.org/ns/shop/sa/app"] },
        },
        "replicas": 3,
        "autoscaling": { "maxReplicas": 9, "cpuUtilization": 60 },
        "tls": { "secretName": "gateway-cert" },
        "allowFrom": [{ "namespaceSelector": { "matchLabels": { "team": "search" } } }],
        "image": "registry.example/own-sidecar:1",
        "user": "Platform",
        "resources": { "requests": { "cpu": "1" }, "limits": { "memory": "2Gi" } },
        "nodeSelector": { "pool": "edge" },
        "tolerations": [{ "key": "edge", "operator": "Exists" }],
        "drainSeconds": 120,
    })
}

#[test]
fn there_is_none_unless_the_resource_has_one() {
    assert_eq!(build(json!({})).gateway, None);
}

#[test]
fn a_gateway_with_its_clients_alone() {
    let objects = gateway(smallest());
    insta::assert_snapshot!("gateway_deployment", yaml(&objects.deployment));
    insta::assert_snapshot!("gateway_sidecar_toml", file(&objects.config));
    insta::assert_snapshot!("gateway_service", yaml(&objects.service));
    insta::assert_snapshot!("gateway_network", yaml(&objects.network));
    insta::assert_snapshot!("gateway_budget", yaml(&objects.budget));
    assert_eq!(objects.autoscaler, None);
}

#[test]
fn a_gateway_with_everything() {
    let mut spec = everything();
    spec["gateway"] = largest();
    let objects = build(spec).gateway.unwrap();
    insta::assert_snapshot!("gateway_full_deployment", yaml(&objects.deployment));
    insta::assert_snapshot!("gateway_full_sidecar_toml", file(&objects.config));
    insta::assert_snapshot!("gateway_full_network", yaml(&objects.network));
    insta::assert_snapshot!("gateway_full_autoscaler", yaml(&objects.autoscaler));
}

#[test]
fn without_tls_the_url_and_the_service_say_so() {
    let fields = json!({ "clients": { "tokenSecret": "clients" }, "tls": { "enabled": false } });
    let objects = gateway(fields.clone());
    let ports = objects.service.spec.unwrap().ports.unwrap();
    assert_eq!((ports[0].port, ports[0].name.as_deref()), (80, Some("http")));
    assert!(!file(&objects.config).contains("[listen.tls]"));
    let url = |fields: &Value| {
        let spec: crate::api::Gateway = serde_json::from_value(fields.clone()).unwrap();
        gateway_url(&spec, "legal", "docs", "cluster.local")
    };
    assert_eq!(url(&fields), "http://docs-gateway.legal.svc.cluster.local");
    assert_eq!(url(&smallest()), "https://docs-gateway.legal.svc.cluster.local");
}

/// Workers and sidecars of the same proxy are as they would be without it.
#[test]
fn a_gateway_changes_nothing_else() {
    let (without, with) = (build(json!({})), build(json!({ "gateway": smallest() })));
    let with = Objects {
        gateway: None,
        ..with
    };
    assert_eq!(without, with);
}

#[test]
fn pods_are_replaced_for_what_they_read_at_their_start_only() {
    let template = |fields: Value| gateway(fields).deployment.spec.unwrap().template;
    let change = |pointer: &str, value: Value| {
        let mut fields = largest();
        *fields.pointer_mut(pointer).unwrap() = value;
        template(fields)
    };
    let before = template(largest());
    assert_ne!(change("/clients/certificates/identities", json!([])), before);
    assert_ne!(change("/drainSeconds", json!(60)), before);
    assert_eq!(change("/allowFrom", json!([])), before);
    assert_eq!(change("/autoscaling/maxReplicas", json!(8)), before);
    let policy = json!({ "gateway": largest(), "policy": { "mode": "Off" } });
    assert_eq!(
        build(policy).gateway.unwrap().deployment.spec.unwrap().template,
        before
    );
}

#[test]
fn an_autoscaler_decides_the_number_of_pods_within_its_bounds() {
    let kept = |live: i32| {
        let mut objects = gateway(largest());
        let mut there = objects.deployment.clone();
        there.spec.as_mut().unwrap().replicas = Some(live);
        objects.keep_replicas(Some(&there));
        objects.deployment.spec.unwrap().replicas
    };
    assert_eq!([1, 5, 20].map(kept), [Some(3), Some(5), Some(9)]);
    let mut fixed = gateway(smallest());
    let mut there = fixed.deployment.clone();
    there.spec.as_mut().unwrap().replicas = Some(7);
    fixed.keep_replicas(Some(&there));
    assert_eq!(fixed.deployment.spec.unwrap().replicas, Some(2));
}

#[test]
fn where_the_platform_assigns_users_files_can_be_read_by_them() {
    let openshift = Platform {
        pod_user: PodUser::Platform,
        ..platform()
    };
    let objects = Objects::build(&proxy(json!({ "gateway": smallest() })), &openshift).unwrap();
    let pod = objects
        .gateway
        .unwrap()
        .deployment
        .spec
        .unwrap()
        .template
        .spec
        .unwrap();
    assert_eq!(pod.security_context.unwrap().run_as_user, None);
    let mode = |volume: &Volume| volume.secret.as_ref().and_then(|secret| secret.default_mode);
    let modes: Vec<i32> = pod.volumes.iter().flatten().filter_map(mode).collect();
    assert_eq!(modes, [0o444; 3]);
}
