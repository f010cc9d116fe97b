//! What was read of a cluster, for rules that are pure: [`read`] makes it, `check` and the other commands look at it.

pub(crate) mod namespace;
pub(crate) mod operators;
pub(crate) mod reader;
#[cfg(test)]
pub(crate) mod samples;

use std::collections::BTreeMap;

use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::core::Selector;
use kube::core::crd::CustomResourceExt;
use liquid_operator::api::{GuardedProxy, LiquidMemoryProxy};
use liquid_operator::names::{INJECT_LABEL, OPERATOR_LABELS};
use liquid_operator::pki::Purpose;

use crate::session::Session;
use namespace::NamespaceState;
use operators::Operator;
use reader::{Gap, Reader, Sought};

/// A cluster at one moment, as far as this user may see it.
#[derive(Default)]
pub(crate) struct Snapshot {
    /// When it was read; none only in tests that do not ask.
    pub(crate) now: Timestamp,
    /// The definition of the resource type.
    pub(crate) definition: Sought<CustomResourceDefinition>,
    /// The operators; none if they may not be listed.
    pub(crate) operators: Option<Vec<Operator>>,
    /// Deployments that are labelled as the operator and whose settings cannot be read: name and cause.
    pub(crate) unreadable_operators: Vec<(String, String)>,
    /// What belongs to the first operator.
    pub(crate) installation: Installation,
    /// Whether proxies may be listed; a namespace without one says nothing where they may not.
    pub(crate) proxies_known: bool,
    /// Proxies that cannot be read: namespace, name and the reader's message.
    pub(crate) malformed: Vec<MalformedProxy>,
    /// The namespaces that have something to do with us.
    pub(crate) namespaces: Vec<NamespaceState>,
    /// What could not be read.
    pub(crate) gaps: Vec<Gap>,
}

/// A stored proxy that does not fit the types.
#[derive(Clone, Debug)]
pub(crate) struct MalformedProxy {
    /// Namespace of the proxy.
    pub(crate) namespace: String,
    /// Name of the proxy.
    pub(crate) name: String,
    /// The reader's message, which names the field.
    pub(crate) error: String,
}

/// The objects of an operator.
#[derive(Default)]
pub(crate) struct Installation {
    /// The webhook configuration.
    pub(crate) webhook: Sought<MutatingWebhookConfiguration>,
    /// The endpoints of the webhook's Service.
    pub(crate) endpoints: Option<Vec<EndpointSlice>>,
    /// The Lease of the election.
    pub(crate) lease: Sought<Lease>,
    /// The Secret with the certificate authority.
    pub(crate) authority: Sought<Secret>,
    /// That of the authority for interception; not read where no proxy offers interception.
    pub(crate) interception: Sought<Secret>,
    /// What grants rights to accounts.
    pub(crate) rights: Option<Rights>,
}

impl Installation {
    /// Returns the Secret with the certificate authority for a purpose.
    pub(crate) fn authority_for(&self, purpose: Purpose) -> &Sought<Secret> {
        match purpose {
            Purpose::Internal => &self.authority,
            Purpose::Interception => &self.interception,
        }
    }
}

/// Roles and their bindings: of the cluster, and of the operator's namespace.
pub(crate) struct Rights {
    pub(crate) cluster_roles: Vec<ClusterRole>,
    pub(crate) cluster_bindings: Vec<ClusterRoleBinding>,
    pub(crate) roles: Vec<Role>,
    pub(crate) bindings: Vec<RoleBinding>,
}

impl Snapshot {
    /// Returns the operator, where there is one.
    pub(crate) fn operator(&self) -> Option<&Operator> {
        self.operators.as_ref()?.first()
    }

    /// Iterates over all proxies that can be read.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = &LiquidMemoryProxy> {
        self.namespaces.iter().flat_map(|namespace| &namespace.proxies)
    }
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Proxies, pods and the operator.
    Workloads,
    /// All that `check` looks at.
    All,
}

/// Reads the cluster.
pub(crate) async fn read(session: &Session, depth: Depth) -> Snapshot {
    let reader = Reader::new(session.client.clone());
    let mut snapshot = Snapshot {
        now: Timestamp::now(),
        ..Snapshot::default()
    };
    let definition = async {
        match depth {
            Depth::All => {
                reader
                    .get(reader.cluster_api(), LiquidMemoryProxy::crd_name())
                    .await
            }
            Depth::Workloads => Sought::Unknown,
        }
    };
    let ((), definition, scope) = tokio::join!(
        read_operators(
            &reader,
            &mut snapshot.operators,
            &mut snapshot.unreadable_operators
        ),
        definition,
        read_scope(&reader, session)
    );
    snapshot.definition = definition;
    snapshot.malformed = scope.malformed;
    snapshot.proxies_known = scope.proxies_known;
    if let (Depth::All, Some(operator)) = (depth, snapshot.operators.as_ref().and_then(|all| all.first())) {
        let intercepts = scope.namespaces.iter().any(NamespaceState::intercepts);
        snapshot.installation = read_installation(&reader, operator, intercepts).await;
    }
    let states = scope.namespaces.into_iter();
    snapshot.namespaces = join_all(states.map(|state| namespace::read(&reader, state, depth))).await;
    snapshot.gaps = reader.into_gaps();
    snapshot
}

/// Reads the operators and their pods: in all namespaces, or in those that this user may see.
async fn read_operators(
    reader: &Reader,
    operators: &mut Option<Vec<Operator>>,
    unreadable: &mut Vec<(String, String)>,
) {
    let labels = OPERATOR_LABELS.into_iter().collect::<Selector>().to_string();
    let deployments: Option<Vec<Deployment>> = reader.list(reader.api(None), Some(&labels)).await;
    // A user who may not look into the operator's namespace.
    let Some(deployments) = deployments else {
        return;
    };
    let pods: Vec<Pod> = reader
        .list(reader.api(None), Some(&labels))
        .await
        .unwrap_or_default();
    let mut found = Vec::new();
    for deployment in deployments {
        let name = format!(
            "{}/{}",
            deployment.namespace().unwrap_or_default(),
            deployment.name_any()
        );
        match Operator::read(deployment) {
            Ok(mut operator) => {
                let own = pods.iter().filter(|pod| is_of(pod, &operator.deployment));
                operator.pods = own.cloned().collect();
                found.push(operator);
            }
            Err(error) => unreadable.push((name, error)),
        }
    }
    // The one that runs is the installation; others are said beside it.
    found.sort_by_key(|operator| operator.replicas().ready == 0);
    *operators = Some(found);
}

/// Returns whether a pod is one of a Deployment's, by the labels that it selects.
pub(crate) fn is_of(pod: &Pod, deployment: &Deployment) -> bool {
    let selector = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.match_labels.as_ref());
    pod.namespace() == deployment.namespace()
        && selector.is_some_and(|wanted| {
            wanted
                .iter()
                .all(|(name, value)| pod.labels().get(name) == Some(value))
        })
}

/// The namespaces to look at, with what is known of them already.
#[derive(Default)]
struct Scope {
    namespaces: Vec<NamespaceState>,
    malformed: Vec<MalformedProxy>,
    proxies_known: bool,
}

/// Finds the namespaces that have a proxy, a label of ours, or a pod with one.
async fn read_scope(reader: &Reader, session: &Session) -> Scope {
    let asked = session.namespace.as_deref();
    let (namespaces, labelled) = tokio::join!(
        read_namespaces(reader, asked),
        reader.list(reader.api::<Pod>(asked), Some(INJECT_LABEL)),
    );
    // Who may not list namespaces, and has named none, means that of the context.
    let within = match (asked, &namespaces) {
        (None, None) => Some(session.default_namespace.as_str()),
        _ => asked,
    };
    let proxies: Option<Vec<GuardedProxy>> = reader.list(reader.api(within), None).await;
    let proxies_known = proxies.is_some();
    let mut states = States::default();
    for namespace in namespaces.into_iter().flatten() {
        states.add(&namespace);
    }
    if let Some(name) = within {
        states.want(name);
    }
    for pod in labelled.iter().flatten() {
        // Workers carry the label too: it keeps sidecars from them.
        if pod
            .labels()
            .get(INJECT_LABEL)
            .is_some_and(|value| value != "disabled")
        {
            states.want(&pod.namespace().unwrap_or_default());
        }
    }
    let mut malformed = Vec::new();
    for proxy in proxies.into_iter().flatten() {
        let (namespace, name) = (proxy.namespace().unwrap_or_default(), proxy.name_any());
        let state = states.want(&namespace);
        match proxy.0 {
            Ok(proxy) => state.proxies.push(proxy),
            Err(error) => malformed.push(MalformedProxy {
                namespace,
                name,
                error: error.error,
            }),
        }
    }
    Scope {
        namespaces: states.into_wanted(),
        malformed,
        proxies_known,
    }
}

/// Reads the namespace that was asked for, or all; none if that is not allowed.
async fn read_namespaces(reader: &Reader, asked: Option<&str>) -> Option<Vec<Namespace>> {
    let api = reader.cluster_api::<Namespace>();
    match asked {
        Some(name) => reader
            .get(api, name)
            .await
            .found()
            .cloned()
            .map(|namespace| vec![namespace]),
        None => reader.list(api, None).await,
    }
}

/// Namespaces by name, with their labels, and which of them are looked at.
#[derive(Default)]
struct States {
    labels: BTreeMap<String, BTreeMap<String, String>>,
    wanted: BTreeMap<String, NamespaceState>,
}

impl States {
    /// Adds a namespace that is there; one with a label of ours is looked at.
    fn add(&mut self, namespace: &Namespace) {
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        let wanted = labels.contains_key(INJECT_LABEL);
        self.labels.insert(namespace.name_any(), labels);
        if wanted {
            self.want(&namespace.name_any());
        }
    }

    /// Has a namespace looked at.
    fn want(&mut self, name: &str) -> &mut NamespaceState {
        let labels = self.labels.get(name).cloned();
        let state = self.wanted.entry(name.to_owned());
        state.or_insert_with(|| NamespaceState::named(name, labels))
    }

    fn into_wanted(self) -> Vec<NamespaceState> {
        self.wanted.into_values().collect()
    }
}

async fn read_installation(reader: &Reader, operator: &Operator, intercepts: bool) -> Installation {
    let settings = &operator.settings;
    let own = Some(operator.namespace.as_str());
    let service = format!("kubernetes.io/service-name={}", settings.webhook_service);
    let interception = async {
        match intercepts {
            true => reader.get(reader.api(own), Purpose::Interception.secret()).await,
            false => Sought::Unknown,
        }
    };
    let (webhook, endpoints, lease, authority, interception, rights) = tokio::join!(
        reader.get(reader.cluster_api(), &settings.webhook_name),
        reader.list(reader.api(own), Some(&service)),
        reader.get(reader.api(own), &settings.lease_name),
        reader.get(reader.api(own), Purpose::Internal.secret()),
        interception,
        read_rights(reader, own),
    );
    Installation {
        webhook,
        endpoints,
        lease,
        authority,
        interception,
        rights,
    }
}

async fn read_rights(reader: &Reader, own: Option<&str>) -> Option<Rights> {
    let (cluster_roles, cluster_bindings, roles, bindings) = tokio::join!(
        reader.list(reader.cluster_api(), None),
        reader.list(reader.cluster_api(), None),
        reader.list(reader.api(own), None),
        reader.list(reader.api(own), None),
    );
    Some(Rights {
        cluster_roles: cluster_roles?,
        cluster_bindings: cluster_bindings?,
        roles: roles?,
        bindings: bindings?,
    })
}
