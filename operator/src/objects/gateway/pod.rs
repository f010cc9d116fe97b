//! The gateway's pod template. It passes Pod Security "restricted".

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, Container, KeyToPath, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource,
    ResourceRequirements, SecretProjection, SecretVolumeSource, TopologySpreadConstraint, Volume,
    VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use liquid_contract::endpoints::{LIVEZ, READYZ};
use liquid_contract::{files, ports};

use crate::api::synthesis::SecretKey;
use crate::api::{Gateway, LiquidMemoryProxy, PodUser};
use crate::names;
use crate::objects::Platform;
use crate::objects::meta::{Component, ProxyRef, label_selector, labels};
use crate::objects::pod::{
    build_container_security, build_pod_security, build_port, build_probe, non_empty, secret_mode,
};
use crate::objects::worker_config::NOTICE_SECONDS;

/// Name of the port on which clients call.
pub(super) const PORT: &str = "calls";
/// What the process may take to end after the drain, in seconds.
const GRACE_MARGIN: i32 = 5;
/// How long the start may take, in seconds: certificates may come a little later than the pod.
const START_SECONDS: i32 = 120;
/// Where pods should not be together, if that is possible.
const SPREAD: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];

/// Everything that the gateway's pod is built from.
pub(super) struct GatewayPod<'a> {
    pub(super) proxy: &'a LiquidMemoryProxy,
    pub(super) gateway: &'a Gateway,
    pub(super) owner: &'a ProxyRef<'a>,
    pub(super) platform: &'a Platform,
    /// Checksum of what the program reads at its start only.
    pub(super) start: &'a str,
}

impl GatewayPod<'_> {
    pub(super) fn build_template(&self) -> PodTemplateSpec {
        let gateway = self.gateway;
        let mut labels = labels(self.owner.name, Component::Gateway);
        labels.insert(names::INJECT_LABEL.into(), "disabled".into());
        let grace = NOTICE_SECONDS + gateway.drain_seconds + GRACE_MARGIN;
        PodTemplateSpec {
            metadata: Some(ObjectMeta {
                labels: Some(labels),
                annotations: Some([(names::INPUTS_ANNOTATION.to_owned(), self.start.to_owned())].into()),
                ..ObjectMeta::default()
            }),
            spec: Some(PodSpec {
                service_account_name: Some(names::gateway(self.owner.name)),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                image_pull_secrets: self.platform.list_pull_secrets(),
                termination_grace_period_seconds: Some(i64::from(grace)),
                security_context: Some(build_pod_security(self.user())),
                containers: vec![self.build_container()],
                volumes: Some(self.build_volumes()),
                node_selector: non_empty(&gateway.node_selector, |all| all.is_empty()),
                tolerations: non_empty(&gateway.tolerations, Vec::is_empty),
                topology_spread_constraints: Some(SPREAD.map(|key| self.build_spread(key)).into()),
                ..PodSpec::default()
            }),
        }
    }

    fn user(&self) -> PodUser {
        self.gateway.user.unwrap_or(self.platform.pod_user)
    }

    fn build_spread(&self, key: &str) -> TopologySpreadConstraint {
        TopologySpreadConstraint {
            max_skew: 1,
            topology_key: key.into(),
            when_unsatisfiable: "ScheduleAnyway".into(),
            label_selector: Some(label_selector(self.owner.name, Component::Gateway)),
            ..TopologySpreadConstraint::default()
        }
    }

    fn build_container(&self) -> Container {
        let gateway = self.gateway;
        let probe = |path: &str, period: i32, failures: i32| Probe {
            period_seconds: Some(period),
            failure_threshold: Some(failures),
            ..build_probe(path)
        };
        Container {
            name: names::SIDECAR_CONTAINER.into(),
            image: Some(
                gateway
                    .image
                    .clone()
                    .unwrap_or_else(|| self.platform.sidecar_image.clone()),
            ),
            image_pull_policy: Some(self.platform.pull_policy.as_str().into()),
            args: Some(vec![
                "--config".into(),
                format!("{}/{}", files::CONFIG_FOLDER, files::SIDECAR_CONFIG),
            ]),
            ports: Some(vec![
                build_port(PORT, ports::SIDECAR),
                build_port("admin", ports::SIDECAR_ADMIN),
            ]),
            resources: Some(ResourceRequirements {
                requests: non_empty(&gateway.resources.requests, |all| all.is_empty()),
                limits: non_empty(&gateway.resources.limits, |all| all.is_empty()),
                claims: None,
            }),
            security_context: Some(build_container_security()),
            startup_probe: Some(probe(READYZ, 1, START_SECONDS)),
            readiness_probe: Some(probe(READYZ, 2, 2)),
            liveness_probe: Some(probe(LIVEZ, 10, 3)),
            termination_message_policy: Some("FallbackToLogsOnError".into()),
            volume_mounts: Some(self.build_mounts()),
            ..Container::default()
        }
    }

    fn build_mounts(&self) -> Vec<VolumeMount> {
        let mount = |volume: &Volume| VolumeMount {
            name: volume.name.clone(),
            mount_path: folder(&volume.name).into(),
            read_only: Some(true),
            ..VolumeMount::default()
        };
        self.build_volumes().iter().map(mount).collect()
    }

    fn build_volumes(&self) -> Vec<Volume> {
        let (name, gateway) = (self.owner.name, self.gateway);
        let mut volumes = vec![
            Volume {
                name: CONFIG.into(),
                config_map: Some(ConfigMapVolumeSource {
                    name: names::gateway(name),
                    ..ConfigMapVolumeSource::default()
                }),
                ..Volume::default()
            },
            self.build_secret(TLS, &names::sidecar_tls(name), None),
        ];
        if gateway.tls.enabled {
            let own = names::gateway_tls(name);
            let secret = gateway.tls.secret_name.as_ref().unwrap_or(&own);
            volumes.push(self.build_secret(LISTEN, secret, None));
        }
        if let Some(secret) = &gateway.clients.token_secret {
            volumes.push(self.build_secret(CLIENTS, secret, None));
        }
        if let Some(certificates) = &gateway.clients.certificates {
            let secret = &certificates.authority_secret;
            volumes.push(self.build_secret(CLIENT_AUTHORITIES, secret, Some(files::AUTHORITIES)));
        }
        let keys = self.proxy.spec.synthesis.iter();
        let keys: Vec<&SecretKey> = keys.flat_map(|synthesis| synthesis.list_secrets()).collect();
        if !keys.is_empty() {
            volumes.push(self.build_keys(&keys));
        }
        volumes
    }

    /// Builds the volume of a Secret: of all its keys, or of one.
    fn build_secret(&self, volume: &str, secret: &str, only: Option<&str>) -> Volume {
        let item = only.map(|key| KeyToPath {
            key: key.into(),
            path: key.into(),
            mode: None,
        });
        Volume {
            name: volume.into(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(secret.into()),
                default_mode: Some(secret_mode(self.user())),
                items: item.map(|item| vec![item]),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }
    }

    fn build_keys(&self, keys: &[&SecretKey]) -> Volume {
        let source = |key: &&SecretKey| VolumeProjection {
            secret: Some(SecretProjection {
                name: key.name.clone(),
                items: Some(vec![KeyToPath {
                    key: key.key.clone(),
                    path: format!("{}/{}", key.name, key.key),
                    mode: None,
                }]),
                optional: None,
            }),
            ..VolumeProjection::default()
        };
        Volume {
            name: KEYS.into(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(secret_mode(self.user())),
                sources: Some(keys.iter().map(source).collect()),
            }),
            ..Volume::default()
        }
    }
}

const CONFIG: &str = "config";
const TLS: &str = "tls";
const LISTEN: &str = "listen";
const CLIENTS: &str = "clients";
const CLIENT_AUTHORITIES: &str = "client-authorities";
const KEYS: &str = "keys";

/// Returns where a volume is mounted.
fn folder(volume: &str) -> &'static str {
    match volume {
        TLS => files::TLS_FOLDER,
        LISTEN => names::LISTEN_FOLDER,
        CLIENTS => names::CLIENTS_FOLDER,
        CLIENT_AUTHORITIES => names::CLIENT_AUTHORITIES_FOLDER,
        KEYS => names::KEYS_FOLDER,
        _ => files::CONFIG_FOLDER,
    }
}
