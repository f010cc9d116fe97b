//! Keeps calls to the sidecar away from a proxy of the network that the container is told to use.
//!
//! Clients differ in which spelling they read first, so a list that exists is extended where it stands; only where
//! there is none, both spellings are added.

use super::env::{Found, Plan, find};
use super::outcome::{Note, Reason};
use super::pod::Container;
use super::settings::ConfigMaps;

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

/// Adds our hosts to a container's list where a proxy is visible.
pub(super) fn plan(plan: &mut Plan, container: &Container<'_>, config_maps: &ConfigMaps) {
    let find = |variable| find(container.value, variable, config_maps);
    let visible = PROXIES.iter().any(|variable| match find(*variable) {
        Found::Literal { value, .. } | Found::ConfigMap { value, .. } => !value.is_empty(),
        Found::Reference => true,
        Found::Absent | Found::Unknown { .. } => false,
    });
    if !visible {
        return;
    }
    let lists = LISTS.map(|variable| (variable, find(variable)));
    let none = lists.iter().all(|(_, found)| *found == Found::Absent);
    for (variable, found) in lists {
        match found {
            Found::Absent if none => plan.add.push((variable, HOSTS.join(","))),
            Found::Absent => {}
            Found::Literal { index, value } => {
                if let Some(value) = extended(value) {
                    plan.replace.push((index, value));
                }
            }
            Found::ConfigMap { value, .. } if extended(value).is_none() => {}
            // The kubelet puts in what envFrom brings; if it brings nothing, a name that no host has stays.
            Found::ConfigMap { .. } | Found::Unknown { .. } => {
                let value = format!("$({variable}),{}", HOSTS.join(","));
                plan.add.push((variable, value));
            }
            Found::Reference => {
                let text = format!(
                    "container {}: {variable} comes by valueFrom; make sure that it lists {}",
                    container.name,
                    HOSTS.join(" and ")
                );
                plan.notes.push(Note::new(Reason::NoProxyKept, text));
            }
        }
    }
}

/// The list with our hosts, if one is missing.
fn extended(list: &str) -> Option<String> {
    let present: Vec<&str> = list.split(',').map(str::trim).collect();
    if present.contains(&"*") {
        return None;
    }
    let missing: Vec<&str> = HOSTS.into_iter().filter(|host| !present.contains(host)).collect();
    if missing.is_empty() {
        return None;
    }
    let list = list.trim_end_matches([',', ' ']);
    Some(match list.is_empty() {
        true => missing.join(","),
        false => format!("{list},{}", missing.join(",")),
    })
}
