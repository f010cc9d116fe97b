//! Keeps calls to the sidecar away from the network's proxy, where a container uses one.
//!
//! Clients differ in which spelling they read first, so a list that exists is extended in place; only
//! where there is none, both spellings are added.

use super::find::{VariableSource, find_variable};
use super::plan::{EnvContext, Plan};
use crate::inject::outcome::{Note, Reason};
use crate::inject::pod::Container;

const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];
const LISTS: [&str; 2] = ["NO_PROXY", "no_proxy"];
const HOSTS: [&str; 2] = ["127.0.0.1", "localhost"];

/// Adds the sidecar's hosts to a container's exceptions where the container uses a proxy of the network.
pub(super) fn extend_no_proxy(plan: &mut Plan, container: &Container<'_>, context: &EnvContext<'_>) {
    let find = |variable| find_variable(container.value, variable, context.config_maps);
    let visible = PROXIES.iter().any(|variable| match find(*variable) {
        VariableSource::Literal { value, .. } | VariableSource::ConfigMap { value, .. } => !value.is_empty(),
        VariableSource::Reference => true,
        VariableSource::Absent | VariableSource::Unknown { .. } => false,
    });
    if !visible {
        return;
    }
    // A proxy of the network would be asked for an intercepted host by its name, and find the provider.
    let intercepted = context.intercepted.iter().map(|host| host.name());
    let hosts: Vec<&str> = HOSTS.into_iter().chain(intercepted).collect();
    let lists = LISTS.map(|variable| (variable, find(variable)));
    let none = lists.iter().all(|(_, found)| *found == VariableSource::Absent);
    for (variable, found) in lists {
        match found {
            VariableSource::Absent if none => plan.add.push((variable, hosts.join(","))),
            VariableSource::Absent => {}
            VariableSource::Literal { index, value } => {
                if let Some(value) = extend_list(value, &hosts) {
                    plan.replace.push((index, value));
                }
            }
            VariableSource::ConfigMap { value, .. } if extend_list(value, &hosts).is_none() => {}
            // The kubelet puts in what envFrom brings; if it brings nothing, a name that no host has stays.
            VariableSource::ConfigMap { .. } | VariableSource::Unknown { .. } => {
                let value = format!("$({variable}),{}", hosts.join(","));
                plan.add.push((variable, value));
            }
            VariableSource::Reference => {
                let text = format!(
                    "container {}: {variable} comes by valueFrom; make sure that it lists {}",
                    container.name,
                    hosts.join(" and ")
                );
                plan.notes.push(Note::new(Reason::NoProxyKept, text));
            }
        }
    }
}

/// Returns the list with the sidecar's hosts, unless it has them all.
fn extend_list(list: &str, hosts: &[&str]) -> Option<String> {
    let present: Vec<&str> = list.split(',').map(str::trim).collect();
    if present.contains(&"*") {
        return None;
    }
    let missing = hosts.iter().copied().filter(|host| !present.contains(host));
    let missing: Vec<&str> = missing.collect();
    if missing.is_empty() {
        return None;
    }
    let list = list.trim_end_matches([',', ' ']);
    Some(match list.is_empty() {
        true => missing.join(","),
        false => format!("{list},{}", missing.join(",")),
    })
}
