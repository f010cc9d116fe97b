//! Interception of TLS: the providers' names lead to the pod's loopback address, where the sidecar listens at the port of
//! `https`, and the containers trust the authority of its certificate.
//!
//! All of it passes Pod Security `restricted`: host aliases need no right, and that processes without privileges may take
//! the port is one of the sysctls that Kubernetes counts as safe.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use json_patch::jsonptr::Token;
use liquid_contract::InterceptedHost;
use liquid_contract::ports::HTTPS;
use serde_json::{Value, json};

use super::annotations::Overrides;
use super::outcome::{Denial, Note, Reason};
use super::patch_builder::PatchBuilder;
use super::pod::{Container, Pod, items, text};
use super::settings::{Proxy, SidecarDefaults};
use crate::api::InterceptedPods;
use crate::names::{INTERCEPTION_ANNOTATION, PORT_START};

/// What is intercepted in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interception {
    /// Where the sidecar listens.
    pub(super) address: SocketAddr,
    /// The hosts whose names lead there; at least one.
    pub(super) hosts: Vec<InterceptedHost>,
}

impl Interception {
    /// Decides whether a pod is intercepted; `notes` gets hosts that the pod itself leads elsewhere.
    ///
    /// # Errors
    /// The pod asks for what its proxy does not offer, or keeps the sidecar from the port.
    pub(super) fn decide(
        pod: &Pod<'_>,
        overrides: &Overrides,
        proxy: &Proxy,
        defaults: &SidecarDefaults,
        notes: &mut Vec<Note>,
    ) -> Result<Option<Self>, Denial> {
        if !is_wanted(overrides, proxy)? {
            return Ok(None);
        }
        check_port(pod)?;
        let address = choose_address(defaults);
        let (kept, hosts): (Vec<_>, Vec<_>) = InterceptedHost::ALL
            .into_iter()
            .partition(|host| leads_elsewhere(pod, *host, address.ip()));
        notes.extend(kept.into_iter().map(|host| {
            let text = format!(
                "spec.hostAliases names {}: its TLS is not intercepted; remove it there",
                host.name()
            );
            Note::new(Reason::HostAliasKept, text)
        }));
        Ok((!hosts.is_empty()).then_some(Self { address, hosts }))
    }

    /// Reads what is intercepted in a pod that has the sidecar.
    pub(super) fn read(pod: &Pod<'_>, address: SocketAddr) -> Option<Self> {
        let leads_here = |host: &InterceptedHost| {
            items(pod.spec, "hostAliases")
                .any(|alias| names_host(alias, *host) && is_for(alias, address.ip()))
        };
        let hosts: Vec<InterceptedHost> = InterceptedHost::ALL.into_iter().filter(leads_here).collect();
        (!hosts.is_empty()).then_some(Self { address, hosts })
    }

    /// Adds what the pod itself needs: names that lead to the sidecar, and the right to take the port.
    pub(super) fn patch_pod(&self, patch: &mut PatchBuilder, pod: &Pod<'_>) {
        self.add_aliases(patch, pod);
        add_sysctl(patch, pod);
    }

    fn add_aliases(&self, patch: &mut PatchBuilder, pod: &Pod<'_>) {
        let aliases: Vec<&Value> = items(pod.spec, "hostAliases").collect();
        let missing = self
            .hosts
            .iter()
            .filter(|host| !aliases.iter().any(|alias| names_host(alias, **host)))
            .map(|host| Value::from(host.name()));
        let missing: Vec<Value> = missing.collect();
        if missing.is_empty() {
            return;
        }
        let ip = self.address.ip();
        // The list is a map by address: a second entry for one could not be applied by whoever manages the pod.
        match aliases.iter().position(|alias| is_for(alias, ip)) {
            Some(index) => {
                let path = [Token::new("spec"), Token::new("hostAliases"), index.into()];
                patch.append(aliases[index], &path, "hostnames", missing);
            }
            None => {
                let alias = json!({ "ip": ip.to_string(), "hostnames": missing });
                patch.append(pod.spec, &[Token::new("spec")], "hostAliases", vec![alias]);
            }
        }
    }

    /// Lists the hosts for a sentence.
    pub(super) fn list_hosts(&self) -> String {
        let names: Vec<&str> = self.hosts.iter().map(|host| host.name()).collect();
        names.join(" and ")
    }
}

fn is_wanted(overrides: &Overrides, proxy: &Proxy) -> Result<bool, Denial> {
    match (overrides.tls_interception, proxy.tls_interception) {
        (Some(true), None) => Err(Denial::Annotation {
            name: INTERCEPTION_ANNOTATION.into(),
            value: "true".into(),
            remedy: format!(
                "LiquidMemoryProxy {} offers no interception; set its spec.injection.tlsInterception, for example to {{}}",
                proxy.name
            ),
        }),
        (Some(wanted), _) => Ok(wanted),
        (None, pods) => Ok(pods == Some(InterceptedPods::All)),
    }
}

/// Chooses the loopback address of the family that pods have here: resolvers of C libraries leave out the other one.
fn choose_address(defaults: &SidecarDefaults) -> SocketAddr {
    let loopback: IpAddr = match defaults.any_address {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, HTTPS)
}

fn leads_elsewhere(pod: &Pod<'_>, host: InterceptedHost, ip: IpAddr) -> bool {
    items(pod.spec, "hostAliases").any(|alias| names_host(alias, host) && !is_for(alias, ip))
}

fn names_host(alias: &Value, host: InterceptedHost) -> bool {
    items(alias, "hostnames").any(|name| name.as_str().and_then(InterceptedHost::named) == Some(host))
}

fn is_for(alias: &Value, ip: IpAddr) -> bool {
    text(alias, "ip").and_then(|text| text.parse().ok()) == Some(ip)
}

/// Checks that the sidecar may take the port and gets it.
fn check_port(pod: &Pod<'_>) -> Result<(), Denial> {
    let takes_port =
        |container: &Container<'_>| container.declared_ports().any(|port| port == u64::from(HTTPS));
    if let Some(container) = pod.all_containers().find(takes_port) {
        return Err(Denial::HttpsTaken {
            container: container.name.into(),
        });
    }
    match find_port_start(pod) {
        Some(value) if value.parse::<u16>().is_ok_and(|start| start <= HTTPS) => Ok(()),
        Some(value) => Err(Denial::Sysctl { value: value.into() }),
        None => Ok(()),
    }
}

fn find_port_start<'a>(pod: &Pod<'a>) -> Option<&'a str> {
    let mut sysctls = items(pod.spec.get("securityContext")?, "sysctls");
    let found = sysctls.find(|sysctl| text(sysctl, "name") == Some(PORT_START));
    found.map(|sysctl| text(sysctl, "value").unwrap_or_default())
}

fn add_sysctl(patch: &mut PatchBuilder, pod: &Pod<'_>) {
    if find_port_start(pod).is_some() {
        return;
    }
    let sysctl = json!({ "name": PORT_START, "value": HTTPS.to_string() });
    let path = [Token::new("spec"), Token::new("securityContext")];
    match pod
        .spec
        .get("securityContext")
        .filter(|context| context.is_object())
    {
        Some(context) => patch.append(context, &path, "sysctls", vec![sysctl]),
        None => patch.add(&path, json!({ "sysctls": [sysctl] })),
    }
}
