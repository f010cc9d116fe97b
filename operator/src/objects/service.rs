//! The workers' Service; the account and the disruption budget of workers and gateway.

use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use liquid_contract::ports;

use super::meta::{Component, ProxyRef, label_selector, selector};
use crate::names;

/// Builds the account of a component: it has no rights, and its token is not mounted.
pub(super) fn build_account(owner: &ProxyRef<'_>, component: Component) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.build_meta(component.object_name(owner.name), component),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Builds the workers' Service. It is headless: the sidecar chooses among the workers itself. What passes its port is TLS,
/// and the Service says so: Istio would read plain HTTP/2 from the port's name alone, and break every connection.
pub(super) fn build_service(owner: &ProxyRef<'_>) -> Service {
    Service {
        metadata: owner.build_meta(names::workers(owner.name), Component::Worker),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            selector: Some(selector(owner.name, Component::Worker)),
            ports: Some(vec![ServicePort {
                name: Some("grpc".into()),
                app_protocol: Some("tls".into()),
                port: ports::WORKER.into(),
                target_port: Some(IntOrString::String("grpc".into())),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// Builds the disruption budget: one pod at a time may be evicted, also the only one, so that a node can
/// always be drained.
pub(super) fn build_disruption_budget(owner: &ProxyRef<'_>, component: Component) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: owner.build_meta(component.object_name(owner.name), component),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(label_selector(owner.name, component)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
