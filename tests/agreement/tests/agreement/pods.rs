//! The pods that the operator makes start their programs with the files that are mounted, and probe what is served.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::{endpoints, files, ports};
use liquid_operator::objects::Objects;
use liquid_operator::pki::Leaf;
use liquid_process::config::load_with;
use serde_json::json;

use crate::environment::{NODE_ZONE, container, variables};
use crate::render::{platform, proxy};

fn worker() -> Container {
    let objects = Objects::build(&proxy(json!({})), &platform()).unwrap();
    let pod = objects.deployment.spec.unwrap().template.spec.unwrap();
    let [worker] = pod.containers.try_into().unwrap();
    worker
}

#[test]
fn workers_are_probed_where_they_serve() {
    let worker = worker();
    let named: Vec<(Option<String>, i32)> = worker
        .ports
        .unwrap()
        .into_iter()
        .map(|port| (port.name, port.container_port))
        .collect();
    let port = |name: &str, number: u16| (Some(name.to_owned()), i32::from(number));
    assert_eq!(
        named,
        [port("grpc", ports::WORKER), port("admin", ports::WORKER_ADMIN)]
    );
    let probe = |probe: Option<Probe>| {
        let get = probe.unwrap().http_get.unwrap();
        assert_eq!(get.port, IntOrString::String("admin".into()));
        get.path.unwrap()
    };
    assert_eq!(probe(worker.startup_probe), endpoints::READYZ);
    assert_eq!(probe(worker.readiness_probe), endpoints::READYZ);
    assert_eq!(probe(worker.liveness_probe), endpoints::LIVEZ);
}

#[test]
fn workers_take_the_zone_of_their_node_for_their_own() {
    let worker = serde_json::to_value(worker()).unwrap();
    let config: liquid_worker::config::Config = load_with(None, variables(&worker)).unwrap();
    assert_eq!(config.grpc.zone, NODE_ZONE);
}

#[test]
fn workers_are_started_with_the_file_that_is_mounted() {
    let worker = worker();
    let file = format!("{}/{}", files::CONFIG_FOLDER, files::WORKER_CONFIG);
    assert_eq!(worker.args.unwrap(), ["serve", "--config", &file]);
    let folders: Vec<String> = worker
        .volume_mounts
        .unwrap()
        .into_iter()
        .map(|mount| mount.mount_path)
        .collect();
    assert_eq!(folders, [files::CONFIG_FOLDER, files::TLS_FOLDER]);
}

#[test]
fn sidecars_are_probed_where_they_serve_and_started_with_the_file_that_is_mounted() {
    let sidecar = container(&json!({}), "json");
    let port = i64::from(ports::SIDECAR_ADMIN);
    for (probe, path) in [
        ("startupProbe", endpoints::LIVEZ),
        ("livenessProbe", endpoints::LIVEZ),
        ("readinessProbe", endpoints::READYZ),
    ] {
        let get = &sidecar[probe]["httpGet"];
        assert_eq!(
            (get["path"].as_str(), get["port"].as_i64()),
            (Some(path), Some(port)),
            "{probe}"
        );
    }
    assert_eq!(sidecar["ports"][0]["containerPort"].as_i64(), Some(port));
    let file = format!("{}/{}", files::CONFIG_FOLDER, files::SIDECAR_CONFIG);
    assert_eq!(sidecar["args"], json!(["--config", file]));
    let mounts = sidecar["volumeMounts"].as_array().unwrap();
    let folders: Vec<&str> = mounts
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    for folder in [files::CONFIG_FOLDER, files::TLS_FOLDER] {
        assert!(folders.contains(&folder), "{folders:?}");
    }
}

/// In a mesh the sidecar's own program asks it.
#[test]
fn sidecars_in_a_mesh_are_probed_by_their_program() {
    let sidecar = container(&json!({ "linkerd.io/inject": "enabled" }), "json");
    let program = crate::render::read("deploy/images/sidecar.Containerfile");
    let options = crate::render::read("sidecar/src/main.rs");
    assert!(options.contains("    probe: Option<Target>,\n"));
    for (probe, path) in [
        ("startupProbe", endpoints::LIVEZ),
        ("livenessProbe", endpoints::LIVEZ),
        ("readinessProbe", endpoints::READYZ),
    ] {
        let command: Vec<String> = serde_json::from_value(sidecar[probe]["exec"]["command"].clone()).unwrap();
        let [name, option, target] = &command[..] else {
            panic!("{command:?}")
        };
        assert!(program.contains(&format!("ENTRYPOINT [\"{name}\"]")), "{name}");
        assert_eq!(option, "--probe");
        assert_eq!(*target, format!("127.0.0.1:{}{path}", ports::SIDECAR_ADMIN));
        let target = target.parse::<liquid_sidecar::process::probe::Target>();
        assert!(target.is_ok(), "{target:?}");
    }
}

#[test]
fn secrets_hold_what_the_configurations_name() {
    let leaf = Leaf {
        certificate: "certificate".into(),
        key: "key".into(),
    };
    let data: BTreeMap<String, Vec<u8>> = leaf
        .to_data("authorities")
        .into_iter()
        .map(|(name, content)| (name, content.0))
        .collect();
    let entry = |name: &str, content: &str| (name.to_owned(), content.as_bytes().to_vec());
    let expected = [
        entry(files::CERTIFICATE, "certificate"),
        entry(files::KEY, "key"),
        entry(files::AUTHORITIES, "authorities"),
    ];
    assert_eq!(data, expected.into());
}

#[test]
fn the_image_for_gpus_sets_a_variable_that_the_worker_reads() {
    let text = crate::render::read("deploy/images/worker-cuda.Containerfile");
    let variables: Vec<(String, String)> = text
        .split_ascii_whitespace()
        .filter_map(|word| word.split_once('='))
        .filter(|(name, _)| name.starts_with(liquid_contract::environment::WORKER_PREFIX))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let device = liquid_contract::environment::WORKER_DEVICE;
    assert_eq!(variables, [(device.to_owned(), "cuda".to_owned())]);
    let config = load_with::<liquid_worker::config::Config>(None, variables).unwrap();
    assert_eq!(config.model.device, liquid_worker::model::Device::Cuda(0));
}
