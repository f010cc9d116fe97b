//! `kubectl liquid support-bundle`: one archive with what someone needs who helps, and without secrets or texts.
//!
//! What is in it is chosen, not filtered: of Secrets the names of their keys, of containers that are not ours their names and
//! images. Logs are those of our programs, which write neither keys nor documents.

mod programs;
mod redact;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::check::inspect;
use crate::output;
use crate::session::Session;
use crate::snapshot::namespace::NamespaceState;
use crate::snapshot::operators::Operator;
use crate::snapshot::reader::Reader;
use crate::snapshot::{self, Depth, Snapshot};
use programs::{Program, program_of, read_programs};
use redact::{redact_object, redact_pod, redact_secret};

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
    let mut entries = list_installation(snapshot)?;
    for namespace in &snapshot.namespaces {
        entries.extend(list_namespace(snapshot, namespace)?);
    }
    Ok(entries)
}

fn list_installation(snapshot: &Snapshot) -> Result<Vec<Entry>> {
    let installation = &snapshot.installation;
    let operators = || snapshot.operators.iter().flatten();
    let versions = json!({
        "plugin": env!("CARGO_PKG_VERSION"),
        "operators": operators().map(Operator::version).collect::<Vec<_>>(),
    });
    let deployments = redact_all(operators().map(|operator| &operator.deployment))?;
    let pods: Vec<Value> = operators()
        .flat_map(|operator| &operator.pods)
        .map(redact_pod)
        .collect();
    let endpoints = redact_all(installation.endpoints.iter().flatten())?;
    Ok(vec![
        to_entry("versions.json", &versions)?,
        to_entry("operator/deployments.json", &deployments)?,
        to_entry("operator/pods.json", &pods)?,
        to_entry(
            "operator/webhook.json",
            &redact_all(installation.webhook.found())?,
        )?,
        to_entry("operator/lease.json", &redact_all(installation.lease.found())?)?,
        to_entry("operator/endpoints.json", &endpoints)?,
        to_entry(
            "operator/authority.json",
            &installation.authority.found().map(redact_secret),
        )?,
        to_entry(
            "operator/interception-authority.json",
            &installation.interception.found().map(redact_secret),
        )?,
    ])
}

fn list_namespace(snapshot: &Snapshot, namespace: &NamespaceState) -> Result<Vec<Entry>> {
    let secrets = namespace.secrets.values().filter_map(|secret| secret.found());
    let secrets: Vec<Value> = secrets.map(redact_secret).collect();
    let pods = namespace
        .pods
        .iter()
        .flatten()
        .filter(|pod| is_ours(snapshot, pod));
    let pods: Vec<Value> = pods.map(redact_pod).collect();
    let policies = redact_all(namespace.policies.iter().flatten())?;
    let file = |name: &str| format!("namespaces/{}/{name}.json", namespace.name);
    Ok(vec![
        to_entry(&file("labels"), &namespace.labels)?,
        to_entry(&file("proxies"), &redact_all(&namespace.proxies)?)?,
        to_entry(&file("pods"), &pods)?,
        to_entry(&file("policies"), &policies)?,
        to_entry(&file("limits"), &redact_all(&namespace.limits)?)?,
        to_entry(&file("secrets"), &secrets)?,
    ])
}

fn redact_all<'a, T: Serialize + 'a>(objects: impl IntoIterator<Item = &'a T>) -> Result<Vec<Value>> {
    let objects = objects.into_iter();
    let values = objects.map(|object| Ok(redact_object(serde_json::to_value(object)?)));
    values
        .collect::<Result<_, serde_json::Error>>()
        .context("an object cannot be written as JSON")
}

/// Returns whether a pod is a worker, is of a gateway or has the sidecar.
fn is_ours(snapshot: &Snapshot, pod: &Pod) -> bool {
    let program = program_of(snapshot, pod);
    matches!(
        program,
        Some(Program::Worker | Program::Gateway | Program::Sidecar)
    )
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::list_objects;
    use super::programs::{Program, program_of};
    use crate::snapshot::samples;

    #[test]
    fn pods_of_a_gateway_are_in_the_archive_and_pods_that_are_not_ours_are_not() {
        let snapshot = samples::with_gateway();
        let entries = list_objects(&snapshot).unwrap();
        let pods = entries
            .iter()
            .find(|entry| entry.path.ends_with("shop/pods.json"))
            .unwrap();
        assert!(pods.text.contains("docs-gateway-1"), "{}", pods.text);
        assert!(!pods.text.contains("web:1"), "{}", pods.text);
        let pods = snapshot.namespaces[0].pods.as_ref().unwrap();
        assert_eq!(program_of(&snapshot, &pods[0]), Some(Program::Gateway));
        assert_eq!(program_of(&snapshot, &pods[1]), None);
    }
}
