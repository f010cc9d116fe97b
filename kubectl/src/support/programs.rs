//! Logs and metrics of our programs, for a support bundle.

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::LogParams;
use liquid_contract::ports;
use liquid_operator::names::SIDECAR_CONTAINER;

use super::Entry;
use crate::check::{admin_port_of, sidecar_of};
use crate::snapshot::Snapshot;
use crate::snapshot::reader::{PodPort, Reader};

/// Lines of each log.
const LINES: i64 = 500;
/// Pods of which logs and metrics are read: those that are not ready first.
const PODS: usize = 60;
/// Number of pods that are read at a time.
const AT_A_TIME: usize = 8;

/// One of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Operator,
    Worker,
    Gateway,
    Sidecar,
}

impl Program {
    /// Returns the folder of its files in the archive.
    fn folder(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Worker => "worker",
            Self::Gateway => "gateway",
            Self::Sidecar => "sidecar",
        }
    }
}

/// Returns which program of ours a pod runs.
pub(super) fn program_of(snapshot: &Snapshot, pod: &Pod) -> Option<Program> {
    if sidecar_of(pod).is_some() {
        return Some(Program::Sidecar);
    }
    let mut operators = snapshot.operators.iter().flatten();
    if operators.any(|operator| operator.pods.iter().any(|one| one.uid() == pod.uid())) {
        return Some(Program::Operator);
    }
    let namespace = snapshot
        .namespaces
        .iter()
        .find(|one| Some(&one.name) == pod.namespace().as_ref())?;
    if namespace.gateway_of(pod).is_some() {
        return Some(Program::Gateway);
    }
    let mut proxies = namespace.proxies.iter();
    proxies
        .any(|proxy| {
            namespace
                .workers(&proxy.name_any())
                .any(|one| one.uid() == pod.uid())
        })
        .then_some(Program::Worker)
}

/// Reads logs and metrics of our programs.
pub(super) async fn read_programs(reader: &Reader, snapshot: &Snapshot) -> Vec<Entry> {
    let operators = snapshot
        .operators
        .iter()
        .flatten()
        .flat_map(|operator| &operator.pods);
    let others = snapshot
        .namespaces
        .iter()
        .flat_map(|namespace| namespace.pods.iter().flatten());
    let pods = operators.chain(others);
    let mut pods: Vec<(Program, &Pod)> = pods
        .filter_map(|pod| Some((program_of(snapshot, pod)?, pod)))
        .collect();
    pods.sort_by_key(|(program, pod)| (*program == Program::Sidecar, is_ready(pod)));
    if let Some((_, first)) = pods.get(PODS) {
        let what = format!(
            "logs and metrics of {} pods, from {} on",
            pods.len() - PODS,
            first.name_any()
        );
        reader.note::<()>(what, &format!("of {PODS} they are read"));
        pods.truncate(PODS);
    }
    let reads = pods
        .into_iter()
        .map(|(program, pod)| read_program(reader, program, pod));
    let read: Vec<Vec<Entry>> = futures::stream::iter(reads).buffered(AT_A_TIME).collect().await;
    read.into_iter().flatten().collect()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// What is read of a pod.
struct Source<'a> {
    port: PodPort<'a>,
    container: Option<&'a str>,
    restarted: bool,
}

impl<'a> Source<'a> {
    fn of_pod(program: Program, pod: &'a Pod) -> Option<Self> {
        let main = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let main = main.map(|container| container.name.as_str());
        let (container, port) = match program {
            Program::Sidecar => (
                Some(SIDECAR_CONTAINER),
                sidecar_of(pod)
                    .and_then(admin_port_of)
                    .unwrap_or(ports::SIDECAR_ADMIN),
            ),
            Program::Worker => (main, ports::WORKER_ADMIN),
            Program::Gateway => (main, ports::SIDECAR_ADMIN),
            Program::Operator => (main, ports::OPERATOR_ADMIN),
        };
        Some(Self {
            port: PodPort {
                namespace: pod.metadata.namespace.as_deref()?,
                name: pod.metadata.name.as_deref()?,
                port,
            },
            container,
            restarted: restarts(pod, container) > 0,
        })
    }
}

async fn read_program(reader: &Reader, program: Program, pod: &Pod) -> Vec<Entry> {
    let Some(source) = Source::of_pod(program, pod) else {
        return Vec::new();
    };
    let params = |previous| LogParams {
        container: source.container.map(str::to_owned),
        tail_lines: Some(LINES),
        timestamps: true,
        previous,
        ..LogParams::default()
    };
    let previous = async {
        match source.restarted {
            true => reader.read_log(&source.port, params(true)).await,
            false => None,
        }
    };
    let (log, previous, metrics) = tokio::join!(
        reader.read_log(&source.port, params(false)),
        previous,
        reader.read_metrics(&source.port),
    );
    let PodPort { namespace, name, .. } = source.port;
    let folder = format!("namespaces/{namespace}/{}/{name}", program.folder());
    let files = [("log", log), ("previous.log", previous), ("metrics", metrics)].into_iter();
    files
        .filter_map(|(kind, text)| {
            Some(Entry {
                path: format!("{folder}.{kind}"),
                text: text?,
            })
        })
        .collect()
}

fn restarts(pod: &Pod, container: Option<&str>) -> i32 {
    let status = pod.status.as_ref();
    let statuses = status.into_iter().flat_map(|status| {
        status
            .init_container_statuses
            .iter()
            .chain(&status.container_statuses)
    });
    let mut own = statuses
        .flatten()
        .filter(|status| Some(status.name.as_str()) == container);
    own.next().map_or(0, |status| status.restart_count)
}
