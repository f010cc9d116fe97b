//! Reads objects, and keeps account of what may not be read: a user with few rights gets an answer about the rest.

use std::cell::RefCell;
use std::fmt::Debug;
use std::time::Duration;

use http::Request;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};
use kube::{Api, Client, Resource};
use liquid_contract::endpoints::METRICS;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

/// Longest time for one answer of the API server.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest time for the metrics of one pod, through the API server.
const POD_LIMIT: Duration = Duration::from_secs(3);

/// Something that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Gap {
    /// The objects.
    pub(crate) what: String,
    /// The API server's answer.
    pub(crate) why: String,
}

/// An object that was looked for.
#[derive(Clone, Debug, Default)]
pub(crate) enum Sought<T> {
    /// It is there.
    Found(T),
    /// It is not there.
    Absent,
    /// It may not be read, or was not looked for.
    #[default]
    Unknown,
}

impl<T> Sought<T> {
    /// Returns the object, if it was found.
    pub(crate) fn found(&self) -> Option<&T> {
        match self {
            Self::Found(object) => Some(object),
            Self::Absent | Self::Unknown => None,
        }
    }
}

/// A client that notes what it may not read.
pub(crate) struct Reader {
    client: Client,
    gaps: RefCell<Vec<Gap>>,
}

impl Reader {
    /// Creates a reader without gaps.
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            gaps: RefCell::default(),
        }
    }

    /// Returns what could not be read, each once.
    pub(crate) fn into_gaps(self) -> Vec<Gap> {
        let mut gaps = self.gaps.into_inner();
        gaps.sort();
        gaps.dedup();
        gaps
    }

    /// Returns access to the objects of a namespace; of all for none.
    pub(crate) fn api<K>(&self, namespace: Option<&str>) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// Returns access to objects of the cluster.
    pub(crate) fn cluster_api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Lists objects; none, and a gap, if they may not be listed.
    pub(crate) async fn list<K>(&self, api: Api<K>, labels: Option<&str>) -> Option<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let what = || describe::<K>(api.namespace(), None);
        let params = ListParams {
            label_selector: labels.map(str::to_owned),
            ..ListParams::default()
        };
        match timeout(LIMIT, api.list(&params)).await {
            Ok(Ok(list)) => Some(list.items),
            Ok(Err(error)) => self.note(what(), &explain(&error)),
            Err(_) => self.note(what(), &format!("no answer in {} s", LIMIT.as_secs())),
        }
    }

    /// Reads one object; a gap if it may not be read.
    pub(crate) async fn get<K>(&self, api: Api<K>, name: &str) -> Sought<K>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let what = || describe::<K>(api.namespace(), Some(name));
        let why = match timeout(LIMIT, api.get_opt(name)).await {
            Ok(Ok(Some(object))) => return Sought::Found(object),
            Ok(Ok(None)) => return Sought::Absent,
            Ok(Err(error)) => explain(&error),
            Err(_) => format!("no answer in {} s", LIMIT.as_secs()),
        };
        self.note::<()>(what(), &why);
        Sought::Unknown
    }

    /// Reads a pod's metrics through the API server; none, and a gap, if they cannot be read.
    pub(crate) async fn read_metrics(&self, pod: &PodPort<'_>) -> Option<String> {
        let PodPort {
            namespace,
            name,
            port,
        } = pod;
        let what = format!("metrics of pod {namespace}/{name}");
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy{METRICS}");
        let request = match Request::get(path).body(Vec::new()) {
            Ok(request) => request,
            Err(error) => return self.note(what, &error.to_string()),
        };
        match timeout(POD_LIMIT, self.client.request_text(request)).await {
            Ok(Ok(text)) => Some(text),
            Ok(Err(error)) => self.note(what, &explain(&error)),
            Err(_) => self.note(what, &format!("no answer in {} s", POD_LIMIT.as_secs())),
        }
    }

    /// Reads a container's log; none, and a gap, if it cannot be read.
    pub(crate) async fn read_log(&self, pod: &PodPort<'_>, params: LogParams) -> Option<String> {
        let what = format!("log of pod {}/{}", pod.namespace, pod.name);
        let pods: Api<Pod> = self.api(Some(pod.namespace));
        match timeout(LIMIT, pods.logs(pod.name, &params)).await {
            Ok(Ok(text)) => Some(text),
            Ok(Err(error)) => self.note(what, &explain(&error)),
            Err(_) => self.note(what, &format!("no answer in {} s", LIMIT.as_secs())),
        }
    }

    /// Notes a gap. Returns none, for whoever wanted something else.
    pub(crate) fn note<T>(&self, what: String, why: &str) -> Option<T> {
        self.gaps.borrow_mut().push(Gap {
            what,
            why: why.into(),
        });
        None
    }
}

/// A port of a pod.
pub(crate) struct PodPort<'a> {
    /// Namespace of the pod.
    pub(crate) namespace: &'a str,
    /// Name of the pod.
    pub(crate) name: &'a str,
    /// The port.
    pub(crate) port: u16,
}

fn describe<K: Resource<DynamicType = ()>>(namespace: Option<&str>, name: Option<&str>) -> String {
    let kind = match name {
        Some(name) => format!("{} {name}", K::kind(&())),
        None => K::plural(&()).into_owned(),
    };
    match namespace {
        Some(namespace) => format!("{kind} of namespace {namespace}"),
        None => kind,
    }
}

/// Returns the API server's words, or those of the connection.
pub(crate) fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => "you may not".into(),
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
