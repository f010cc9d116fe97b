//! The workers' addresses, account and disruption budget.

use k8s_openapi::api::core::v1::{Service, ServiceAccount, ServicePort, ServiceSpec};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::meta::{Of, label_selector, selector};
use crate::names;

/// May do nothing, and its token is not mounted.
pub(super) fn account(of: &Of<'_>) -> ServiceAccount {
    ServiceAccount {
        metadata: of.meta(names::workers(of.name)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}

/// Headless: the sidecar chooses among the workers itself.
pub(super) fn service(of: &Of<'_>) -> Service {
    Service {
        metadata: of.meta(names::workers(of.name)),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            selector: Some(selector(of.name)),
            ports: Some(vec![ServicePort {
                name: Some("grpc".into()),
                port: names::WORKER_PORT.into(),
                target_port: Some(IntOrString::String("grpc".into())),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// One worker at a time may be evicted. The only one may be too: a node can always be drained.
pub(super) fn budget(of: &Of<'_>) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: of.meta(names::workers(of.name)),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(label_selector(of.name)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".into()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
