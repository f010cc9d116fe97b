//! The workers' pod template. It passes Pod Security "restricted".

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    ObjectFieldSelector, PodSecurityContext, PodSpec, PodTemplateSpec, Probe, ResourceClaim,
    ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Toleration,
    TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::endpoints::{LIVEZ, READYZ};
use liquid_contract::{environment, files, ports};

use super::meta::{Component, ProxyRef, label_selector, labels};
use super::models::ModelMount;
use super::worker_config::NOTICE_SECONDS;
use super::{Inputs, Platform};
use crate::api::{LiquidMemoryProxy, PodUser, Workers};
use crate::names;

/// What the process may take to end after the drain, in seconds.
const GRACE_MARGIN: i32 = 5;
/// Period of the startup probe, in seconds.
const STARTUP_PERIOD: i32 = 2;

/// Labels of the workers' pods. Injection is disabled: workers call no LLM, and must start while no operator
/// answers.
fn pod_labels(proxy: &str) -> BTreeMap<String, String> {
    let mut labels = labels(proxy, Component::Worker);
    labels.insert(names::INJECT_LABEL.into(), "disabled".into());
    labels
}

/// The admin port stays readable in plain HTTP where Istio takes nothing but its TLS (`STRICT`): the operator reads the
/// workers' figures there, and it is in no mesh.
fn pod_annotations(inputs: &Inputs) -> BTreeMap<String, String> {
    let admin = ports::WORKER_ADMIN.to_string();
    [
        (names::INPUTS_ANNOTATION.to_owned(), inputs.sum.clone()),
        (names::ISTIO_EXCLUDED_PORTS_ANNOTATION.to_owned(), admin),
    ]
    .into()
}

/// Builds the workers' pod template.
pub(super) fn build_template(
    proxy: &LiquidMemoryProxy,
    owner: &ProxyRef<'_>,
    platform: &Platform,
    inputs: &Inputs,
) -> PodTemplateSpec {
    let workers = &proxy.spec.workers;
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels(owner.name)),
            annotations: Some(pod_annotations(inputs)),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(names::workers(owner.name)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            image_pull_secrets: platform.list_pull_secrets(),
            termination_grace_period_seconds: Some(i64::from(grace_seconds(workers))),
            security_context: Some(build_pod_security(read_user(proxy, platform))),
            containers: vec![build_container(proxy, platform)],
            volumes: Some(build_volumes(proxy, owner, platform)),
            node_selector: non_empty(&workers.node_selector, |all| all.is_empty()),
            tolerations: Some(build_tolerations(workers)).filter(|all| !all.is_empty()),
            affinity: workers.affinity.clone(),
            topology_spread_constraints: Some(list_spreads(workers, owner)),
            runtime_class_name: workers.runtime_class_name.clone(),
            priority_class_name: workers.priority_class_name.clone(),
            resource_claims: non_empty(&workers.resource_claims, Vec::is_empty),
            ..PodSpec::default()
        }),
    }
}

/// Returns as which user the workers run.
fn read_user(proxy: &LiquidMemoryProxy, platform: &Platform) -> PodUser {
    proxy.spec.workers.user.unwrap_or(platform.pod_user)
}

/// Seconds from SIGTERM to SIGKILL: notice, drain and the end of the process.
fn grace_seconds(workers: &Workers) -> i32 {
    NOTICE_SECONDS + workers.drain_seconds + GRACE_MARGIN
}

fn build_container(proxy: &LiquidMemoryProxy, platform: &Platform) -> Container {
    let workers = &proxy.spec.workers;
    Container {
        name: "worker".into(),
        image: Some(
            workers
                .image
                .clone()
                .unwrap_or_else(|| platform.worker_image.clone()),
        ),
        image_pull_policy: Some(platform.pull_policy.as_str().into()),
        args: Some(vec![
            "serve".into(),
            "--config".into(),
            format!("{}/{}", files::CONFIG_FOLDER, files::WORKER_CONFIG),
        ]),
        env: Some(vec![build_zone_variable()]),
        ports: Some(vec![
            build_port("grpc", ports::WORKER),
            build_port("admin", ports::WORKER_ADMIN),
        ]),
        resources: Some(build_resources(workers)),
        security_context: Some(build_container_security()),
        startup_probe: Some(Probe {
            period_seconds: Some(STARTUP_PERIOD),
            failure_threshold: Some((workers.start_seconds / STARTUP_PERIOD).max(1)),
            ..build_probe(READYZ)
        }),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..build_probe(READYZ)
        }),
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..build_probe(LIVEZ)
        }),
        // A worker that ends too soon says why on its last lines; they become the status's message.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(build_mounts(proxy)),
        ..Container::default()
    }
}

/// Builds the security context of a pod that runs as this user.
pub(super) fn build_pod_security(user: PodUser) -> PodSecurityContext {
    let user = user.id().map(i64::from);
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: user,
        fs_group: user,
        seccomp_profile: Some(seccomp_profile()),
        ..PodSecurityContext::default()
    }
}

/// Builds the security context of every container.
pub(super) fn build_container_security() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".into()]),
            add: None,
        }),
        read_only_root_filesystem: Some(true),
        run_as_non_root: Some(true),
        seccomp_profile: Some(seccomp_profile()),
        ..SecurityContext::default()
    }
}

/// Returns the mode of the files of a Secret in a pod that runs as this user.
pub(super) fn secret_mode(user: PodUser) -> i32 {
    match user {
        // The group of the pod; no other user.
        PodUser::Fixed => 0o440,
        // Not every platform assigns a group too. No other container mounts it.
        PodUser::Platform => 0o444,
    }
}

/// Builds the variable that says in which zone a pod runs.
pub(super) fn build_zone_variable() -> EnvVar {
    EnvVar {
        name: environment::ZONE.into(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: Some("v1".into()),
                field_path: names::ZONE_FIELD.into(),
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    }
}

/// Builds a port of a container.
pub(super) fn build_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.into()),
        container_port: number.into(),
        protocol: Some("TCP".into()),
        ..ContainerPort::default()
    }
}

/// Builds a probe of the admin port.
pub(super) fn build_probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.into()),
            port: IntOrString::String("admin".into()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}

fn seccomp_profile() -> SeccompProfile {
    SeccompProfile {
        type_: "RuntimeDefault".into(),
        ..SeccompProfile::default()
    }
}

fn build_resources(workers: &Workers) -> ResourceRequirements {
    let mut limits = workers.resources.limits.clone();
    if let Some(gpu) = &workers.gpu {
        limits.insert(gpu.resource_name.clone(), Quantity(gpu.count.to_string()));
    }
    let claims: Vec<_> = workers
        .resource_claims
        .iter()
        .map(|claim| ResourceClaim {
            name: claim.name.clone(),
            request: None,
        })
        .collect();
    ResourceRequirements {
        requests: non_empty(&workers.resources.requests, |all| all.is_empty()),
        limits: non_empty(&limits, |all| all.is_empty()),
        claims: non_empty(&claims, Vec::is_empty),
    }
}

/// Builds the tolerations. Nodes with GPUs are often kept free of pods that need none, so their taint is
/// tolerated.
fn build_tolerations(workers: &Workers) -> Vec<Toleration> {
    let mut all = workers.tolerations.clone();
    if let Some(gpu) = &workers.gpu {
        let ours = Toleration {
            key: Some(gpu.resource_name.clone()),
            operator: Some("Exists".into()),
            effect: Some("NoSchedule".into()),
            ..Toleration::default()
        };
        if !all.contains(&ours) {
            all.push(ours);
        }
    }
    all
}

fn list_spreads(workers: &Workers, owner: &ProxyRef<'_>) -> Vec<TopologySpreadConstraint> {
    if workers.topology_spread_constraints.is_empty() {
        vec![build_spread(owner, Component::Worker, "kubernetes.io/hostname")]
    } else {
        workers.topology_spread_constraints.clone()
    }
}

/// Builds the wish that pods of a component are not together in one domain of this key.
pub(super) fn build_spread(
    owner: &ProxyRef<'_>,
    component: Component,
    key: &str,
) -> TopologySpreadConstraint {
    TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.into(),
        when_unsatisfiable: "ScheduleAnyway".into(),
        label_selector: Some(label_selector(owner.name, component)),
        ..TopologySpreadConstraint::default()
    }
}

fn build_mounts(proxy: &LiquidMemoryProxy) -> Vec<VolumeMount> {
    let mut mounts = vec![
        build_mount("config", files::CONFIG_FOLDER),
        build_mount("tls", files::TLS_FOLDER),
    ];
    let models = ModelMount::list(proxy).filter(ModelMount::is_volume);
    mounts.extend(models.map(|model| build_mount(model.name, model.folder)));
    mounts
}

fn build_volumes(proxy: &LiquidMemoryProxy, owner: &ProxyRef<'_>, platform: &Platform) -> Vec<Volume> {
    let mut volumes = vec![
        build_config_volume(names::workers(owner.name)),
        build_secret_volume("tls", names::worker_tls(owner.name), read_user(proxy, platform)),
    ];
    volumes.extend(ModelMount::list(proxy).filter_map(|model| model.build_volume(platform)));
    volumes
}

/// Builds the mount of a volume, which is only read.
pub(super) fn build_mount(volume: &str, folder: &str) -> VolumeMount {
    VolumeMount {
        name: volume.into(),
        mount_path: folder.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

/// Builds the volume of the ConfigMap with a program's configuration.
pub(super) fn build_config_volume(config_map: String) -> Volume {
    Volume {
        name: "config".into(),
        config_map: Some(ConfigMapVolumeSource {
            name: config_map,
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Builds the volume of a Secret, for a pod that runs as this user.
pub(super) fn build_secret_volume(volume: &str, secret: String, user: PodUser) -> Volume {
    Volume {
        name: volume.into(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret),
            default_mode: Some(secret_mode(user)),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

/// Returns a list or map, unless it is empty.
pub(super) fn non_empty<T: Clone>(value: &T, empty: impl Fn(&T) -> bool) -> Option<T> {
    (!empty(value)).then(|| value.clone())
}
