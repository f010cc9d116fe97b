//! A pod's label and annotations: what its owner asks for. A value that cannot be used denies the pod,
//! because a pod that starts without what was asked for sends its documents where nobody expects it.

use std::collections::BTreeSet;

use liquid_contract::{Mode, Unread, Whole, ports};
use serde_json::Value;

use super::outcome::{Denial, Note, Reason};
use super::pod::Pod;
use super::quantity;
use super::settings::SidecarResources;
use crate::names::{INJECT_LABEL, INJECTED_ANNOTATION, INTERCEPTION_ANNOTATION, PROXY_ANNOTATION};

/// Prefix of the operator's annotations.
const GROUP: &str = "liquidmemory.dev/";

/// Returns true if the pod's own label opts it out. That it was opted in is the API server's finding: it
/// calls only for pods that the selectors of the webhook configuration match, and knows a label on a
/// namespace before we can.
///
/// # Errors
/// A label that says neither yes nor no.
pub fn is_opted_out(pod: &Pod<'_>) -> Result<bool, Denial> {
    match pod.meta("labels", INJECT_LABEL) {
        None | Some("enabled") => Ok(false),
        Some("disabled") => Ok(true),
        Some(value) => Err(Denial::Label { value: value.into() }),
    }
}

/// Settings that a pod's annotations change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Annotation `proxy`: the proxy to use.
    pub proxy: Option<String>,
    /// Annotations `cpu-request`, `cpu-limit`, `memory-request` and `memory-limit`.
    pub resources: SidecarResources,
    /// Annotation `port`: where the sidecar serves the application.
    pub port: Option<u16>,
    /// Annotation `admin-port`: where the sidecar serves probes and metrics.
    pub admin_port: Option<u16>,
    /// Annotation `mode`: `auto`, `off` or `force`.
    pub mode: Option<Mode>,
    /// Annotation `unread`: `forward` or `refuse`.
    pub unread: Option<Unread>,
    /// Annotation `whole`: `forward`, `coverage` or `refuse`.
    pub whole: Option<Whole>,
    /// Annotation `skip-containers`: containers that get no base URL.
    pub skip: BTreeSet<String>,
    /// Annotation `adopt-upstream`: take the base URL that a container sets itself as the sidecar's upstream.
    pub adopt: bool,
    /// Annotation `override-env-from`: set base URLs although an `envFrom` that cannot be read may hold them.
    pub override_env_from: bool,
    /// Annotation `tls-interception`: whether TLS to providers' hosts ends in the sidecar.
    pub tls_interception: Option<bool>,
    /// Annotations of our group that the operator does not know.
    pub unknown: Vec<String>,
}

impl Overrides {
    /// Reads and checks the annotations of a pod.
    ///
    /// # Errors
    /// The first value that cannot be used.
    pub fn read(pod: &Pod<'_>) -> Result<Self, Denial> {
        let mut overrides = Self::default();
        for (name, value) in pod.annotations() {
            let Some(short) = name.strip_prefix(GROUP) else {
                continue;
            };
            let Value::String(value) = value else {
                return Err(deny(name, &value.to_string(), "not a string"));
            };
            overrides.set(name, short, value)?;
        }
        if let (Some(port), true) = (overrides.port, overrides.port == overrides.admin_port) {
            let remedy = "the sidecar needs two ports; choose another one than liquidmemory.dev/admin-port";
            return Err(deny(&format!("{GROUP}port"), &port.to_string(), remedy));
        }
        Ok(overrides)
    }

    fn set(&mut self, name: &str, short: &str, value: &str) -> Result<(), Denial> {
        match short {
            _ if name == INJECTED_ANNOTATION => {}
            _ if name == PROXY_ANNOTATION => self.proxy = Some(value.into()),
            _ if name == INTERCEPTION_ANNOTATION => self.tls_interception = Some(parse_flag(name, value)?),
            "cpu-request" => self.resources.cpu_request = Some(check_quantity(name, value, "50m")?),
            "cpu-limit" => self.resources.cpu_limit = Some(check_quantity(name, value, "1")?),
            "memory-request" => self.resources.memory_request = Some(check_quantity(name, value, "64Mi")?),
            "memory-limit" => self.resources.memory_limit = Some(check_quantity(name, value, "512Mi")?),
            "port" => self.port = Some(parse_port(name, value, ports::SIDECAR)?),
            "admin-port" => self.admin_port = Some(parse_port(name, value, ports::SIDECAR_ADMIN)?),
            "mode" => self.mode = Some(parse_mode(name, value)?),
            "unread" => self.unread = Some(parse_unread(name, value)?),
            "whole" => self.whole = Some(parse_whole(name, value)?),
            "skip-containers" => self.skip = parse_containers(name, value)?,
            "adopt-upstream" => self.adopt = parse_flag(name, value)?,
            "override-env-from" => self.override_env_from = parse_flag(name, value)?,
            _ => self.unknown.push(name.into()),
        }
        Ok(())
    }

    /// Merges the sidecar's requests and limits: the proxy's, changed by the annotations.
    ///
    /// # Errors
    /// A request above its limit.
    pub fn merge_resources(&self, defaults: &SidecarResources) -> Result<SidecarResources, Denial> {
        let pick = |own: &Option<String>, default: &Option<String>| own.clone().or_else(|| default.clone());
        let own = &self.resources;
        let resources = SidecarResources {
            cpu_request: pick(&own.cpu_request, &defaults.cpu_request),
            cpu_limit: pick(&own.cpu_limit, &defaults.cpu_limit),
            memory_request: pick(&own.memory_request, &defaults.memory_request),
            memory_limit: pick(&own.memory_limit, &defaults.memory_limit),
        };
        for (kind, request, limit) in [
            ("cpu", &resources.cpu_request, &resources.cpu_limit),
            ("memory", &resources.memory_request, &resources.memory_limit),
        ] {
            let (Some(request), Some(limit)) = (request, limit) else {
                continue;
            };
            if quantity::parse_quantity(request) > quantity::parse_quantity(limit) {
                let remedy = format!(
                    "above the limit of {limit}; lower it, or raise the limit with {GROUP}{kind}-limit"
                );
                return Err(deny(&format!("{GROUP}{kind}-request"), request, &remedy));
            }
        }
        Ok(resources)
    }

    /// Lists notes about annotations that have no effect.
    pub(super) fn list_notes(&self, pod: &Pod<'_>) -> Vec<Note> {
        let mut notes = Vec::new();
        if !self.unknown.is_empty() {
            notes.push(format!("{}: nobody reads it", self.unknown.join(", ")));
        }
        let present: BTreeSet<&str> = pod.all_containers().map(|container| container.name).collect();
        let absent: Vec<&str> = self.skip.iter().map(String::as_str).collect();
        let absent: Vec<&str> = absent
            .into_iter()
            .filter(|name| !present.contains(name))
            .collect();
        if !absent.is_empty() {
            let names = absent.join(", ");
            notes.push(format!(
                "{GROUP}skip-containers: the pod has no container {names}"
            ));
        }
        let note = |text| Note::new(Reason::AnnotationUnknown, format!("{text}; check the spelling"));
        notes.into_iter().map(note).collect()
    }
}

fn deny(name: &str, value: &str, remedy: &str) -> Denial {
    Denial::Annotation {
        name: name.into(),
        value: value.into(),
        remedy: remedy.into(),
    }
}

fn check_quantity(name: &str, value: &str, example: &str) -> Result<String, Denial> {
    match quantity::parse_quantity(value) {
        Some(_) => Ok(value.into()),
        None => Err(deny(
            name,
            value,
            &format!("not a quantity above zero; write for example \"{example}\""),
        )),
    }
}

fn parse_port(name: &str, value: &str, example: u16) -> Result<u16, Denial> {
    let port = value.parse().ok().filter(|port| *port >= 1024);
    port.ok_or_else(|| {
        let remedy = format!("not a port from 1024 to 65535; write for example \"{example}\"");
        deny(name, value, &remedy)
    })
}

fn parse_mode(name: &str, value: &str) -> Result<Mode, Denial> {
    Mode::named(value).ok_or_else(|| deny(name, value, "write \"auto\", \"off\" or \"force\""))
}

fn parse_unread(name: &str, value: &str) -> Result<Unread, Denial> {
    Unread::named(value).ok_or_else(|| deny(name, value, "write \"forward\" or \"refuse\""))
}

fn parse_whole(name: &str, value: &str) -> Result<Whole, Denial> {
    let remedy = "write \"forward\", \"coverage\" or \"refuse\"";
    Whole::named(value).ok_or_else(|| deny(name, value, remedy))
}

fn parse_flag(name: &str, value: &str) -> Result<bool, Denial> {
    value
        .parse()
        .map_err(|_| deny(name, value, "write \"true\" or \"false\""))
}

fn parse_containers(name: &str, value: &str) -> Result<BTreeSet<String>, Denial> {
    let names: BTreeSet<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    match names.contains("") {
        true => Err(deny(
            name,
            value,
            "write names of containers, separated by commas",
        )),
        false => Ok(names),
    }
}
