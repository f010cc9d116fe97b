//! What a change of the resource, of the operator or of the installation does to workers that run.

use serde_json::{Value, json};

use super::{build, file, platform, proxy};
use crate::names::ROLLOUT_ANNOTATION;
use crate::objects::{Inputs, Objects, Platform};

#[test]
fn inputs_change_with_what_needs_new_workers_only() {
    let sum = |spec: Value| Inputs::from_proxy(&proxy(spec), &platform()).unwrap().sum;
    let empty = sum(json!({}));
    for same in [
        json!({ "workers": { "replicas": 5 } }),
        json!({ "workers": { "startSeconds": 300 } }),
        json!({ "extraction": { "tier": "Static", "budget": { "ratio": 9 } } }),
        json!({ "policy": { "mode": "Off" } }),
        json!({ "injection": { "drainSeconds": 3 } }),
        json!({ "network": { "policy": false } }),
    ] {
        assert_eq!(sum(same.clone()), empty, "{same}");
    }
    for other in [
        json!({ "workers": { "startSeconds": 301 } }),
        json!({ "workers": { "gpu": {} } }),
        json!({ "workers": { "image": "a" } }),
        json!({ "extraction": { "tier": "Lexical" } }),
        json!({ "model": { "sha256": "ab".repeat(32) } }),
        json!({ "decoder": { "source": { "image": { "path": "/m" } } } }),
    ] {
        assert_ne!(sum(other.clone()), empty, "{other}");
    }
    let mut asked = proxy(json!({}));
    asked.metadata.annotations = Some([(ROLLOUT_ANNOTATION.to_owned(), "1".to_owned())].into());
    assert_ne!(Inputs::from_proxy(&asked, &platform()).unwrap().sum, empty);
}

/// What the cluster has from an earlier operator, and what a later one wants.
fn earlier_and_later(spec: Value) -> (Objects, Objects) {
    let earlier = build(json!({}));
    let later = Platform {
        worker_image: "registry.example/liquid-worker:0.2.0".into(),
        ..platform()
    };
    (earlier, Objects::build(&proxy(spec), &later).unwrap())
}

#[test]
fn a_new_operator_alone_changes_no_worker() {
    let (mut earlier, later) = earlier_and_later(json!({ "workers": { "replicas": 2 } }));
    // An earlier operator wrote another configuration too.
    earlier.worker_config = crate::objects::keep::build_worker_config(
        &crate::objects::meta::ProxyRef::new(&proxy(json!({}))).unwrap(),
        "# earlier\n".into(),
        &Inputs::from_proxy(&proxy(json!({})), &platform()).unwrap(),
    );
    assert_ne!(
        later.deployment.spec.as_ref().unwrap().template,
        earlier.deployment.spec.as_ref().unwrap().template
    );
    let kept = later.keep_live(Some(&earlier.deployment), Some(&earlier.worker_config));
    let spec = kept.deployment.spec.as_ref().unwrap();
    assert_eq!(spec.template, earlier.deployment.spec.unwrap().template);
    assert_eq!(spec.replicas, Some(2));
    assert_eq!(kept.worker_config, earlier.worker_config);
    // Once more: what was kept stays.
    let (_, later) = earlier_and_later(json!({ "workers": { "replicas": 2 } }));
    assert_eq!(
        later.keep_live(Some(&kept.deployment), Some(&kept.worker_config)),
        kept
    );
}

#[test]
fn a_changed_resource_takes_the_new_operators_worker() {
    let (earlier, later) = earlier_and_later(json!({ "workers": { "startSeconds": 400 } }));
    let wanted = later.clone();
    assert_eq!(
        later.keep_live(Some(&earlier.deployment), Some(&earlier.worker_config)),
        wanted
    );
}

#[test]
fn an_edited_object_is_not_kept() {
    let (mut earlier, later) = earlier_and_later(json!({}));
    let template = earlier.deployment.spec.clone().unwrap().template;
    // Somebody edits the pod template: the one that was applied comes back.
    let edited = &mut earlier
        .deployment
        .spec
        .as_mut()
        .unwrap()
        .template
        .spec
        .as_mut()
        .unwrap()
        .containers[0];
    edited.image = Some("evil".into());
    let kept = later
        .clone()
        .keep_live(Some(&earlier.deployment), Some(&earlier.worker_config));
    assert_eq!(kept.deployment.spec.unwrap().template, template);
    // Somebody edits the configuration: it is written anew, with the image that belongs to it.
    earlier.worker_config.data = Some([("worker.toml".to_owned(), "tls = {}".to_owned())].into());
    let wanted = later.clone();
    assert_eq!(
        later.keep_live(Some(&earlier.deployment), Some(&earlier.worker_config)),
        wanted
    );
}

#[test]
fn a_key_of_the_installation_is_asked_of_every_model_and_changes_running_workers() {
    let key = "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let signed = Platform {
        model_public_key: Some(key.parse().unwrap()),
        ..platform()
    };
    let asks = format!("verify = \"required\"\npublic_key = \"{key}\"\n");
    let decoder = json!({ "source": { "image": { "path": "/m" } } });
    for spec in [
        json!({}),
        json!({ "decoder": decoder }),
        json!({ "extraction": { "tier": "Lexical" }, "decoder": decoder }),
    ] {
        let earlier = build(spec.clone());
        let later = Objects::build(&proxy(spec.clone()), &signed).unwrap();
        assert!(!file(&earlier.worker_config).contains("verify"), "{spec}");
        assert!(file(&later.worker_config).contains(&asks), "{spec}");
        let wanted = later.clone();
        let live = (Some(&earlier.deployment), Some(&earlier.worker_config));
        assert_eq!(later.keep_live(live.0, live.1), wanted, "{spec}");
    }
    let lexical = json!({ "extraction": { "tier": "Lexical" } });
    let objects = Objects::build(&proxy(lexical), &signed).unwrap();
    assert!(!file(&objects.worker_config).contains("[model]"));
}
