//! Every case by name, in the order in which they run.

mod bundle;
mod charts;
mod crd;
mod disasters;
mod faults;
mod field;
mod gateway;
mod gpu;
mod injection;
mod intercept;
mod load;
mod mesh;
mod models;
mod operator;
mod path;
mod plugin;
mod policies;
mod registry;
mod rights;
mod savings;
mod scheduling;
mod security;
mod synthesis;
mod uninstall;
mod watchdog;

use anyhow::Result;

use crate::world::World;

pub(crate) type Case = fn(&'static World) -> Result<()>;

/// Cases that make what later ones use: the first two for every group that follows, the others for their own group.
/// Each may run again where it has run before.
const SETUPS: &[&str] = &[
    charts::INSTALL,
    path::PROVIDER_STARTS,
    "crd::takes_the_smallest_and_the_largest_proxy",
    "injection::namespace_and_proxy",
    intercept::PREPARE,
    "security::two_namespaces",
    plugin::PREPARE,
    "operator::a_proxy_to_disturb",
    "faults::traffic_starts",
    disasters::PREPARE,
    "gateway::starts_and_names_its_url",
    "load::nobody_asks_and_no_worker_is_left",
    watchdog::PREPARE,
    policies::PREPARE,
];

/// Groups that begin without a release, or install it themselves.
const WITHOUT_RELEASE: [&str; 2] = ["charts", "bundle"];

/// Cases that run only when they are named: they need more than a cluster, or minutes each.
pub(crate) fn named() -> Vec<(&'static str, Case)> {
    [mesh::CASES, policies::CASES, disasters::CASES].concat()
}

/// Name and case.
pub(crate) fn all() -> Vec<(&'static str, Case)> {
    let groups: &[&[(&'static str, Case)]] = &[
        charts::CASES,
        crd::CASES,
        path::CASES,
        injection::CASES,
        intercept::CASES,
        security::CASES,
        models::CASES,
        synthesis::CASES,
        scheduling::CASES,
        gpu::CASES,
        field::CASES,
        plugin::CASES,
        operator::CASES,
        gateway::CASES,
        load::CASES,
        savings::CASES,
        watchdog::CASES,
        faults::CASES,
        uninstall::CASES,
        bundle::CASES,
        rights::CASES,
    ];
    groups.concat()
}

/// The cases whose names contain this, in their order, with those before them that make what they use.
pub(crate) fn selected(part: &str) -> Vec<(&'static str, Case)> {
    let wanted = |name: &str| name.contains(part);
    let all = [all(), named()].concat();
    let groups = all
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, _)| group(name));
    let groups = groups.collect::<Vec<_>>();
    let beyond_charts = groups.iter().any(|found| *found != group(charts::INSTALL));
    let with_release = groups.iter().any(|found| !WITHOUT_RELEASE.contains(found));
    let needed = |name: &str| {
        let shared = match name {
            charts::INSTALL => with_release,
            path::PROVIDER_STARTS => beyond_charts,
            _ => false,
        };
        SETUPS.contains(&name) && (shared || groups.contains(&group(name)) && beyond_charts)
    };
    let chosen = all.into_iter().filter(|(name, _)| wanted(name) || needed(name));
    chosen
        .map(|(name, case)| match name {
            charts::INSTALL if !wanted(name) => (name, charts::install_or_restart as Case),
            _ => (name, case),
        })
        .collect()
}

fn group(name: &str) -> &str {
    name.split("::").next().unwrap_or(name)
}

/// Whether a case needs what this machine does not have; asked before there is a cluster.
pub(crate) fn is_skipped(name: &str) -> bool {
    let client = intercept::CLIENTS.iter().find(|(case, _)| *case == name);
    name == synthesis::NEEDS_DECODER && !World::has_decoder()
        || client.is_some_and(|(_, language)| !World::has_client(language))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(part: &str) -> Vec<&'static str> {
        selected(part).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_selected_case_brings_what_it_uses() {
        assert_eq!(names("charts::lint"), ["charts::lint"]);
        assert_eq!(
            names("injection::labels"),
            [
                charts::INSTALL,
                path::PROVIDER_STARTS,
                "injection::namespace_and_proxy",
                "injection::labels_decide"
            ]
        );
        assert!(names("no such case").is_empty());
        let carried = names("bundle::");
        assert!(carried.contains(&path::PROVIDER_STARTS) && !carried.contains(&charts::INSTALL));
        assert_eq!(
            names("mesh::"),
            [charts::INSTALL, path::PROVIDER_STARTS, "mesh::istio_strict"]
        );
    }

    #[test]
    fn every_setup_is_a_case() {
        let all = [all(), named()].concat();
        assert!(
            SETUPS
                .iter()
                .all(|setup| all.iter().any(|(name, _)| name == setup))
        );
    }
}
