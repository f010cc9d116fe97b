//! The gateway's pod template. It passes Pod Security "restricted".

use k8s_openapi::api::core::v1::{
    Container, KeyToPath, PodSpec, PodTemplateSpec, Probe, ProjectedVolumeSource, ResourceRequirements,
    SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use liquid_contract::endpoints::{LIVEZ, READYZ};
use liquid_contract::{files, ports};

use crate::api::synthesis::SecretKey;
use crate::api::{Gateway, LiquidMemoryProxy, PodUser};
use crate::names;
use crate::objects::Platform;
use crate::objects::meta::{Component, ProxyRef, labels};
use crate::objects::pod::{
    build_config_volume, build_container_security, build_mount, build_pod_security, build_port, build_probe,
    build_secret_volume, build_spread, build_zone_variable, non_empty, secret_mode,
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

/// A volume, and where the container has it.
struct MountedVolume {
    volume: Volume,
    folder: &'static str,
}

impl GatewayPod<'_> {
    pub(super) fn build_template(&self) -> PodTemplateSpec {
        let gateway = self.gateway;
        let mounted = self.list_volumes();
        let mounts = mounted
            .iter()
            .map(|one| build_mount(&one.volume.name, one.folder))
            .collect();
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
                containers: vec![self.build_container(mounts)],
                volumes: Some(mounted.into_iter().map(|one| one.volume).collect()),
                node_selector: non_empty(&gateway.node_selector, |all| all.is_empty()),
                tolerations: non_empty(&gateway.tolerations, Vec::is_empty),
                topology_spread_constraints: Some(
                    SPREAD
                        .map(|key| build_spread(self.owner, Component::Gateway, key))
                        .into(),
                ),
                ..PodSpec::default()
            }),
        }
    }

    fn user(&self) -> PodUser {
        self.gateway.user.unwrap_or(self.platform.pod_user)
    }

    fn build_container(&self, mounts: Vec<VolumeMount>) -> Container {
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
            env: Some(vec![build_zone_variable()]),
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
            volume_mounts: Some(mounts),
            ..Container::default()
        }
    }

    fn list_volumes(&self) -> Vec<MountedVolume> {
        let (name, gateway) = (self.owner.name, self.gateway);
        let secret = |volume: &str, secret: String, folder: &'static str| MountedVolume {
            volume: build_secret_volume(volume, secret, self.user()),
            folder,
        };
        let mut all = vec![
            MountedVolume {
                volume: build_config_volume(names::gateway(name)),
                folder: files::CONFIG_FOLDER,
            },
            secret("tls", names::sidecar_tls(name), files::TLS_FOLDER),
        ];
        if gateway.tls.enabled {
            let own = || names::gateway_tls(name);
            let named = gateway.tls.secret_name.clone().unwrap_or_else(own);
            all.push(secret("listen", named, names::LISTEN_FOLDER));
        }
        if let Some(named) = &gateway.clients.token_secret {
            all.push(secret("clients", named.clone(), names::CLIENTS_FOLDER));
        }
        if let Some(certificates) = &gateway.clients.certificates {
            let named = certificates.authority_secret.clone();
            let mut authorities = secret("client-authorities", named, names::CLIENT_AUTHORITIES_FOLDER);
            if let Some(source) = authorities.volume.secret.as_mut() {
                source.items = Some(vec![build_item(files::AUTHORITIES, files::AUTHORITIES.into())]);
            }
            all.push(authorities);
        }
        let keys = self.proxy.spec.synthesis.iter();
        let keys: Vec<&SecretKey> = keys.flat_map(|synthesis| synthesis.list_secrets()).collect();
        if !keys.is_empty() {
            all.push(MountedVolume {
                volume: self.build_keys(&keys),
                folder: names::KEYS_FOLDER,
            });
        }
        all
    }

    fn build_keys(&self, keys: &[&SecretKey]) -> Volume {
        let source = |key: &&SecretKey| VolumeProjection {
            secret: Some(SecretProjection {
                name: key.name.clone(),
                items: Some(vec![build_item(&key.key, format!("{}/{}", key.name, key.key))]),
                optional: None,
            }),
            ..VolumeProjection::default()
        };
        Volume {
            name: "keys".into(),
            projected: Some(ProjectedVolumeSource {
                default_mode: Some(secret_mode(self.user())),
                sources: Some(keys.iter().map(source).collect()),
            }),
            ..Volume::default()
        }
    }
}

/// Builds a key of a Secret as a file of its volume.
fn build_item(key: &str, path: String) -> KeyToPath {
    KeyToPath {
        key: key.into(),
        path,
        mode: None,
    }
}
