//! The gateway: the sidecar as a Deployment behind a Service. Pods hold nothing, so they are replaced with each new image
//! and each change that they read at their start only, one more before one less, without a lost call.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::files;

use super::meta::{Component, ProxyRef, build_config_map, label_selector, selector};
use super::sidecar_config::{SidecarRole, render_sidecar_toml};
use super::{BuildError, Platform, deployment, network, service};
use crate::api::{Gateway, LiquidMemoryProxy};
use crate::names;

mod pod;

use pod::GatewayPod;

/// What a rollout may take beyond the drain of a pod, in seconds: scheduling, and pulling the image.
const PROGRESS_SECONDS: i32 = 300;

/// Everything that belongs to a proxy's gateway, but for its Secret, which is written with the proxy's certificates.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayObjects {
    /// Account of the gateway; it has no rights.
    pub service_account: ServiceAccount,
    /// ConfigMap with `sidecar.toml`.
    pub config: ConfigMap,
    /// Service of the gateway.
    pub service: Service,
    /// Disruption budget: drains of nodes stop one pod at a time.
    pub budget: PodDisruptionBudget,
    /// NetworkPolicy of the gateway; none if the resource does not want one.
    pub network: Option<NetworkPolicy>,
    /// Autoscaler of the gateway, if there is one.
    pub autoscaler: Option<HorizontalPodAutoscaler>,
    /// Deployment of the gateway.
    pub deployment: Deployment,
}

impl GatewayObjects {
    /// Builds the gateway's objects, if the resource has one.
    pub(super) fn build(
        proxy: &LiquidMemoryProxy,
        owner: &ProxyRef<'_>,
        platform: &Platform,
    ) -> Result<Option<Self>, BuildError> {
        let Some(gateway) = &proxy.spec.gateway else {
            return Ok(None);
        };
        let rendered = render_sidecar_toml(proxy, owner, platform, SidecarRole::Gateway(gateway))?;
        let pod = GatewayPod {
            proxy,
            gateway,
            owner,
            platform,
            start: &rendered.start,
        };
        Ok(Some(Self {
            service_account: service::build_account(owner, Component::Gateway),
            config: build_config_map(
                owner.build_meta(names::gateway(owner.name), Component::Gateway),
                files::SIDECAR_CONFIG,
                rendered.text,
            ),
            service: build_service(gateway, owner),
            budget: service::build_disruption_budget(owner, Component::Gateway),
            network: proxy
                .spec
                .network
                .policy
                .then(|| network::build_gateway_policy(proxy, gateway, owner)),
            autoscaler: build_autoscaler(gateway, owner),
            deployment: build_deployment(gateway, owner, &pod),
        }))
    }

    /// Takes the number of pods from the cluster, where an autoscaler decides it.
    pub fn keep_replicas(&mut self, live: Option<&Deployment>) {
        let scaler = self.autoscaler.as_ref().and_then(|scaler| scaler.spec.as_ref());
        if let Some(HorizontalPodAutoscalerSpec {
            min_replicas: Some(least),
            max_replicas: most,
            ..
        }) = scaler
        {
            deployment::keep_replicas(&mut self.deployment, live, *least..=*most);
        }
    }
}

/// Returns the protocol, as URLs have it.
fn scheme(gateway: &Gateway) -> &'static str {
    if gateway.tls.enabled { "https" } else { "http" }
}

/// Returns the port of the Service: that of its protocol, so that URLs need none.
fn service_port(gateway: &Gateway) -> u16 {
    if gateway.tls.enabled { 443 } else { 80 }
}

/// Returns the base URL of a proxy's gateway. It has no `/v1`: SDKs of Anthropic write it, and for those of OpenAI the
/// gateway needs none.
pub fn gateway_url(gateway: &Gateway, namespace: &str, proxy: &str, cluster_domain: &str) -> String {
    format!(
        "{}://{}",
        scheme(gateway),
        names::gateway_host(namespace, proxy, cluster_domain)
    )
}

fn build_service(gateway: &Gateway, owner: &ProxyRef<'_>) -> Service {
    let scheme = scheme(gateway);
    Service {
        metadata: owner.build_meta(names::gateway(owner.name), Component::Gateway),
        spec: Some(ServiceSpec {
            selector: Some(selector(owner.name, Component::Gateway)),
            ports: Some(vec![ServicePort {
                name: Some(scheme.into()),
                app_protocol: Some(scheme.into()),
                port: service_port(gateway).into(),
                target_port: Some(IntOrString::String(pod::PORT.into())),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

fn build_autoscaler(gateway: &Gateway, owner: &ProxyRef<'_>) -> Option<HorizontalPodAutoscaler> {
    let autoscaling = gateway.autoscaling.as_ref()?;
    Some(HorizontalPodAutoscaler {
        metadata: owner.build_meta(names::gateway(owner.name), Component::Gateway),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: CrossVersionObjectReference {
                api_version: Some("apps/v1".into()),
                kind: "Deployment".into(),
                name: names::gateway(owner.name),
            },
            min_replicas: Some(gateway.replicas),
            max_replicas: autoscaling.max_replicas,
            metrics: Some(vec![MetricSpec {
                type_: "Resource".into(),
                resource: Some(ResourceMetricSource {
                    name: "cpu".into(),
                    target: MetricTarget {
                        type_: "Utilization".into(),
                        average_utilization: Some(autoscaling.cpu_utilization),
                        ..MetricTarget::default()
                    },
                }),
                ..MetricSpec::default()
            }]),
            ..HorizontalPodAutoscalerSpec::default()
        }),
        ..HorizontalPodAutoscaler::default()
    })
}

fn build_deployment(gateway: &Gateway, owner: &ProxyRef<'_>, pod: &GatewayPod<'_>) -> Deployment {
    Deployment {
        metadata: owner.build_meta(names::gateway(owner.name), Component::Gateway),
        spec: Some(DeploymentSpec {
            replicas: Some(gateway.replicas),
            selector: label_selector(owner.name, Component::Gateway),
            // One more before one less: calls go on, also with a single pod.
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".into()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(1)),
                    max_unavailable: Some(IntOrString::Int(0)),
                }),
            }),
            template: pod.build_template(),
            revision_history_limit: Some(3),
            progress_deadline_seconds: Some(gateway.drain_seconds + PROGRESS_SECONDS),
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}
