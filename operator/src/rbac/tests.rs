#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CLUSTER, EVICTION, OWN, Rule};

/// Group and resource, and what may be done with it.
type Verbs = BTreeMap<(String, String), Vec<String>>;

fn ours(rules: &[Rule]) -> Verbs {
    let one = |rule: &Rule| {
        let verbs = rule.verbs.iter().map(ToString::to_string).collect();
        ((rule.group.to_owned(), rule.resource.to_owned()), verbs)
    };
    rules.iter().map(one).collect()
}

/// The rules of the chart's role of this kind that its comment says is `about` this; what Helm fills in does not matter.
fn chart(kind: &str, about: &str) -> Verbs {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/charts/liquid-memory/templates/rbac.yaml"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let role = text
        .split("\n---\n")
        .find(|part| part.starts_with(about) && part.contains(&format!("\nkind: {kind}\n")))
        .unwrap();
    let lines = role.lines().skip_while(|line| *line != "rules:");
    let lines: Vec<String> = lines
        .filter(|line| !line.starts_with("{{"))
        .map(|line| line.split("[{{").next().unwrap().to_owned())
        .collect();
    let rules: Value = serde_saphyr::from_str(&lines.join("\n")).unwrap();
    let mut all = Verbs::new();
    for rule in rules["rules"].as_array().unwrap() {
        let strings = |field: &str| -> Vec<String> {
            let list = rule[field].as_array().unwrap();
            list.iter().map(|one| one.as_str().unwrap().to_owned()).collect()
        };
        for group in strings("apiGroups") {
            for resource in strings("resources") {
                // One kind may have several rules, for some names or for all.
                let verbs = all.entry((group.clone(), resource)).or_default();
                verbs.extend(strings("verbs"));
                verbs.sort();
            }
        }
    }
    all
}

#[test]
fn the_charts_roles_allow_what_is_used_and_no_more() {
    assert_eq!(chart("ClusterRole", "# In all namespaces: what a"), ours(CLUSTER));
    let eviction = chart("ClusterRole", "# In all namespaces, for watchdog.evict:");
    assert_eq!(eviction, ours(EVICTION));
    assert_eq!(chart("Role", "# In its own namespace:"), ours(OWN));
}

#[test]
fn verbs_are_sorted_and_say_what_for() {
    for rule in CLUSTER.iter().chain(EVICTION).chain(OWN) {
        assert!(
            rule.verbs.is_sorted() && !rule.verbs.contains(&"*") && !rule.why.is_empty(),
            "{rule:?}"
        );
    }
}
