//! `kubectl liquid support-bundle`: one archive with what someone needs who helps, and without secrets or texts.
//!
//! What is in it is chosen, not filtered: of Secrets the names of their keys, of containers that are not ours their names and
//! images. Logs are those of our programs, which write neither keys nor documents.

mod redact;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::LogParams;
use liquid_contract::{environment, ports};
use liquid_operator::names::SIDECAR_CONTAINER;
use serde::Serialize;
use serde_json::{Value, json};

use crate::check::{inspect, sidecar_of};
use crate::output;
use crate::session::Session;
use crate::snapshot::reader::{PodPort, Reader};
use crate::snapshot::{self, Depth, Snapshot};
use redact::{redact_object, redact_pod, redact_secret};

/// Lines of each log.
const LINES: i64 = 500;
/// Pods of which logs and metrics are read: those that are not ready first.
const PODS: usize = 60;
/// Number of pods that are read at a time.
const AT_A_TIME: usize = 8;

/// Options of `support-bundle`.
#[derive(Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// The archive to write [default: liquid-memory-support-TIME.tar.gz].
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// A file of the archive.
#[derive(Debug)]
struct Entry {
    path: String,
    text: String,
}

/// Writes the archive and prints its name.
///
/// # Errors
/// The cluster cannot be reached, or the archive cannot be written.
pub(crate) async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    session.require_cluster().await?;
    let snapshot = snapshot::read(session, Depth::All).await;
    let stamp = snapshot.now.strftime("%Y%m%d-%H%M%S").to_string();
    let folder = format!("liquid-memory-support-{stamp}");
    let path = arguments
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{folder}.tar.gz")));
    let (now, reader) = (snapshot.now, Reader::new(session.client.clone()));
    let mut entries = list_objects(&snapshot)?;
    entries.extend(read_programs(&reader, &snapshot).await);
    let mut gaps = snapshot.gaps.clone();
    gaps.extend(reader.into_gaps());
    entries.push(to_entry("check.json", &inspect(snapshot))?);
    entries.push(to_entry("not-read.json", &gaps)?);
    write_archive(&path, &folder, now, &entries)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    output::write(&format!("{}\n", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn to_entry(path: &str, value: &impl Serialize) -> Result<Entry> {
    Ok(Entry {
        path: path.into(),
        text: serde_json::to_string_pretty(value)
            .with_context(|| format!("{path} cannot be written as JSON"))?,
    })
}

/// Lists the objects of the installation and of every namespace.
fn list_objects(snapshot: &Snapshot) -> Result<Vec<Entry>> {
    let installation = &snapshot.installation;
    let operators = snapshot.operators.iter().flatten();
    let mut entries = vec![
        to_entry(
            "versions.json",
            &json!({"plugin": env!("CARGO_PKG_VERSION"), "operators": operators.clone().map(|one| one.version()).collect::<Vec<_>>()}),
        )?,
        to_entry(
            "operator/deployments.json",
            &redact_all(operators.clone().map(|one| &one.deployment))?,
        )?,
        to_entry(
            "operator/pods.json",
            &operators
                .flat_map(|one| &one.pods)
                .map(redact_pod)
                .collect::<Vec<_>>(),
        )?,
        to_entry(
            "operator/webhook.json",
            &redact_all(installation.webhook.found())?,
        )?,
        to_entry("operator/lease.json", &redact_all(installation.lease.found())?)?,
        to_entry(
            "operator/endpoints.json",
            &redact_all(installation.endpoints.iter().flatten())?,
        )?,
        to_entry(
            "operator/authority.json",
            &installation.authority.found().map(redact_secret),
        )?,
    ];
    for namespace in &snapshot.namespaces {
        let name = &namespace.name;
        let secrets = namespace.secrets.values().filter_map(|secret| secret.found());
        let pods = namespace
            .pods
            .iter()
            .flatten()
            .filter(|pod| is_ours(snapshot, pod));
        entries.extend([
            to_entry(&format!("namespaces/{name}/labels.json"), &namespace.labels)?,
            to_entry(
                &format!("namespaces/{name}/proxies.json"),
                &redact_all(&namespace.proxies)?,
            )?,
            to_entry(
                &format!("{name}/pods.json"),
                &pods.map(redact_pod).collect::<Vec<_>>(),
            )?,
            to_entry(
                &format!("{name}/policies.json"),
                &redact_all(namespace.policies.iter().flatten())?,
            )?,
            to_entry(
                &format!("namespaces/{name}/limits.json"),
                &redact_all(&namespace.limits)?,
            )?,
            to_entry(
                &format!("{name}/secrets.json"),
                &secrets.map(redact_secret).collect::<Vec<_>>(),
            )?,
        ]);
    }
    Ok(entries)
}

fn redact_all<'a, T: Serialize + 'a>(objects: impl IntoIterator<Item = &'a T>) -> Result<Vec<Value>> {
    let objects = objects.into_iter();
    let values = objects.map(|object| Ok(redact_object(serde_json::to_value(object)?)));
    values
        .collect::<Result<_, serde_json::Error>>()
        .context("an object cannot be written as JSON")
}

/// Returns whether a pod is a worker or has the sidecar.
fn is_ours(snapshot: &Snapshot, pod: &Pod) -> bool {
    sidecar_of(pod).is_some() || program_of(snapshot, pod) == Some(Program::Worker)
}

/// One of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    Operator,
    Worker,
    Sidecar,
}

impl Program {
    /// Returns the folder of its files in the archive.
    fn folder(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Worker => "worker",
            Self::Sidecar => "sidecar",
        }
    }
}

fn program_of(snapshot: &Snapshot, pod: &Pod) -> Option<Program> {
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
async fn read_programs(reader: &Reader, snapshot: &Snapshot) -> Vec<Entry> {
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

async fn read_program(reader: &Reader, program: Program, pod: &Pod) -> Vec<Entry> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let containers = pod
        .spec
        .as_ref()
        .map(|spec| spec.containers.as_slice())
        .unwrap_or_default();
    let (container, port) = match program {
        Program::Sidecar => (
            Some(SIDECAR_CONTAINER),
            admin_port(pod).unwrap_or(ports::SIDECAR_ADMIN),
        ),
        Program::Worker => (
            containers.first().map(|one| one.name.as_str()),
            ports::WORKER_ADMIN,
        ),
        Program::Operator => (
            containers.first().map(|one| one.name.as_str()),
            ports::OPERATOR_ADMIN,
        ),
    };
    let file = |kind: &str| format!("namespaces/{namespace}/{}/{name}.{kind}", program.folder());
    let port = PodPort {
        namespace: &namespace,
        name: &name,
        port,
    };
    let params = LogParams {
        container: container.map(str::to_owned),
        tail_lines: Some(LINES),
        timestamps: true,
        ..LogParams::default()
    };
    let (log, before, metrics) = tokio::join!(
        reader.read_log(&port, params.clone()),
        async {
            match restarts(pod, container) {
                0 => None,
                _ => {
                    reader
                        .read_log(
                            &port,
                            LogParams {
                                previous: true,
                                ..params.clone()
                            },
                        )
                        .await
                }
            }
        },
        reader.read_metrics(&port),
    );
    let files = [("log", log), ("previous.log", before), ("metrics", metrics)];
    let files = files.into_iter();
    files
        .filter_map(|(kind, text)| {
            Some(Entry {
                path: file(kind),
                text: text?,
            })
        })
        .collect()
}

fn admin_port(pod: &Pod) -> Option<u16> {
    let mut entries = sidecar_of(pod)?.env.iter().flatten();
    let admin = entries.find(|entry| entry.name == environment::SIDECAR_ADMIN)?;
    let address: std::net::SocketAddr = admin.value.as_deref()?.parse().ok()?;
    Some(address.port())
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

fn write_archive(path: &Path, folder: &str, now: Timestamp, entries: &[Entry]) -> Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(File::create(path)?, Compression::default()));
    for Entry { path, text } in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len().try_into()?);
        header.set_mode(0o600);
        header.set_mtime(now.as_second().try_into()?);
        archive.append_data(&mut header, format!("{folder}/{path}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()?.flush()?;
    Ok(())
}
