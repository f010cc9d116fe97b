//! The rules of `spec.gateway` and `spec.workers.autoscaling`.

use serde_json::{Value, json};

use super::{proxy, refused, rules};

/// A gateway with these fields besides its clients.
fn gateway(mut fields: Value) -> Value {
    fields["clients"] = json!({"tokenSecret": "clients"});
    json!({"gateway": fields})
}

#[test]
fn every_rule_of_gateway_and_scaling_refuses_and_names_the_remedy() {
    let cases = [
        (
            json!({"workers": {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}}),
            "0 to maxReplicas",
        ),
        (
            json!({"workers": {"autoscaling": {"maxReplicas": 0}}}),
            "1 to 100",
        ),
        (
            json!({"workers": {"autoscaling": {"maxReplicas": 2, "tokensInFlight": 0}}}),
            "one more",
        ),
        (
            json!({"workers": {"autoscaling": {"maxReplicas": 2, "scaleDownSeconds": 1}}}),
            "10 to 86400",
        ),
        (
            json!({"workers": {"autoscaling": {"maxReplicas": 2, "holdSeconds": 0}}}),
            "wait for the first worker",
        ),
        (json!({"gateway": {"clients": {}}}), "says who may call"),
        (
            json!({"gateway": {"clients": {"tokenSecret": ""}}}),
            "name a Secret",
        ),
        (
            json!({"gateway": {"clients": {"certificates": {"authoritySecret": ""}}}}),
            "the authorities in ca.crt",
        ),
        (
            json!({"gateway": {"clients": {"certificates": {"authoritySecret": "a", "identities": ["shop"]}}}}),
            "whole URIs",
        ),
        (
            json!({"gateway": {"clients": {"certificates": {"authoritySecret": "a"}}, "tls": {"enabled": false}}}),
            "in which clients show them",
        ),
        (gateway(json!({"replicas": 0})), "remove spec.gateway"),
        (
            gateway(json!({"replicas": 5, "autoscaling": {"maxReplicas": 4}})),
            "which is the minimum",
        ),
        (
            gateway(json!({"autoscaling": {"maxReplicas": 4}, "resources": {}})),
            "resources.requests.cpu",
        ),
        (
            gateway(json!({"autoscaling": {"maxReplicas": 4, "cpuUtilization": 5}})),
            "percent of the CPU",
        ),
        (
            gateway(json!({"tls": {"enabled": false, "secretName": "a"}})),
            "remove one of both",
        ),
        (gateway(json!({"drainSeconds": 0})), "when a pod stops"),
        (gateway(json!({"allowFrom": [{}]})), "lets nobody in"),
    ];
    for (spec, remedy) in cases {
        let refusal = refused(spec.clone());
        assert!(refusal.contains(remedy), "{spec}: {refusal}");
    }
}

#[test]
fn rules_of_gateway_and_scaling_take_what_is_right() {
    for spec in [
        gateway(json!({})),
        json!({"workers": {"autoscaling": {"minReplicas": 0, "maxReplicas": 8}}}),
        gateway(json!({"autoscaling": {"maxReplicas": 2}, "tls": {"secretName": "a"}})),
        gateway(json!({"tls": {"enabled": false}, "allowFrom": [{"namespaceSelector": {}}]})),
        json!({"gateway": {"clients": {"certificates": {"authoritySecret": "a", "identities": ["spiffe://a/b"]}}}}),
    ] {
        assert_eq!(rules(&proxy(spec.clone()), None), Ok(()), "{spec}");
    }
}
