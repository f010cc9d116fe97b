//! Which operating systems a pod's scheduling rules leave: nodes run Linux or Windows.
//!
//! `spec.os.name` is optional, and most Windows workloads select their nodes instead.

use serde_json::Value;

use super::pod::{items, text};

/// Labels with a node's operating system. The second is the name before Kubernetes 1.14, which is still selected.
const OS: [&str; 2] = ["kubernetes.io/os", "beta.kubernetes.io/os"];
/// Label that nodes with Windows have, and no others.
const WINDOWS_BUILD: &str = "node.kubernetes.io/windows-build";
/// Labels of clouds with the distribution of a node's system; those of Windows begin with its name.
const DISTRIBUTIONS: [&str; 2] = [
    "cloud.google.com/gke-os-distribution",
    "kubernetes.azure.com/os-sku",
];

const AFFINITY: &str = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";

/// The systems of the nodes on which a pod may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Systems {
    linux: bool,
    windows: bool,
}

impl Systems {
    const ALL: Self = Self {
        linux: true,
        windows: true,
    };
    const NONE: Self = Self {
        linux: false,
        windows: false,
    };
    const LINUX: Self = Self {
        windows: false,
        ..Self::ALL
    };
    const WINDOWS: Self = Self {
        linux: false,
        ..Self::ALL
    };

    fn and(self, other: Self) -> Self {
        Self {
            linux: self.linux && other.linux,
            windows: self.windows && other.windows,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            linux: self.linux || other.linux,
            windows: self.windows || other.windows,
        }
    }
}

/// Returns the field by which a pod runs on Windows and nowhere else; none if it may run on Linux. What is only
/// preferred does not count, and neither do rules that no node fulfils.
pub(super) fn find_windows_field(spec: &Value) -> Option<&'static str> {
    // Windows pods may not have what our container has (KEP-2802), so the field decides whatever else is selected.
    match spec.pointer("/os/name").and_then(Value::as_str) {
        Some("windows") => return Some("spec.os.name"),
        Some("linux") => return None,
        _ => {}
    }
    let (selector, affinity) = (read_selector(spec), read_affinity(spec));
    if selector.and(affinity) != Systems::WINDOWS {
        return None;
    }
    Some(match selector.linux {
        false => "spec.nodeSelector",
        true => AFFINITY,
    })
}

fn read_selector(spec: &Value) -> Systems {
    let labels = spec.get("nodeSelector").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    labels.fold(Systems::ALL, |left, (label, value)| {
        left.and(read_value(label, value.as_str().unwrap_or_default()))
    })
}

/// Returns the systems of nodes that have a label with this value.
fn read_value(label: &str, value: &str) -> Systems {
    if OS.contains(&label) {
        return match value {
            "linux" => Systems::LINUX,
            "windows" => Systems::WINDOWS,
            _ => Systems::NONE,
        };
    }
    let windows = value.to_ascii_lowercase().starts_with("windows");
    match label {
        WINDOWS_BUILD => Systems::WINDOWS,
        _ if !DISTRIBUTIONS.contains(&label) => Systems::ALL,
        _ if windows => Systems::WINDOWS,
        _ => Systems::LINUX,
    }
}

/// Reads the terms, of which a node has to fulfil one.
fn read_affinity(spec: &Value) -> Systems {
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    let Some(required) = spec.pointer(required).filter(|required| required.is_object()) else {
        return Systems::ALL;
    };
    let terms = items(required, "nodeSelectorTerms").map(read_term);
    terms.fold(Systems::NONE, Systems::or)
}

/// Reads the rules of a term, all of which a node has to fulfil; no node fulfils a term without rules.
fn read_term(term: &Value) -> Systems {
    // A field is the name of a node, which says nothing about its system.
    let fields = items(term, "matchFields").map(|_| Systems::ALL);
    let labels = items(term, "matchExpressions").map(read_expression);
    fields.chain(labels).reduce(Systems::and).unwrap_or(Systems::NONE)
}

fn read_expression(expression: &Value) -> Systems {
    let label = text(expression, "key").unwrap_or_default();
    let values = || items(expression, "values").filter_map(Value::as_str);
    match text(expression, "operator") {
        Some("In") => values()
            .map(|value| read_value(label, value))
            .fold(Systems::NONE, Systems::or),
        Some("NotIn") if OS.contains(&label) => {
            let excluded = |system| values().any(|value| value == system);
            Systems {
                linux: !excluded("linux"),
                windows: !excluded("windows"),
            }
        }
        Some("Exists") if label == WINDOWS_BUILD => Systems::WINDOWS,
        Some("DoesNotExist") if label == WINDOWS_BUILD => Systems::LINUX,
        _ => Systems::ALL,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by_selector(label: &str, value: &str) -> Option<&'static str> {
        find_windows_field(&json!({ "nodeSelector": { label: value } }))
    }

    fn by_terms(terms: Value) -> Option<&'static str> {
        find_windows_field(&json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
        } } }))
    }

    fn rule(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] })
    }

    #[test]
    fn case_33_a_selector_of_windows_counts_under_every_label_that_says_so() {
        let field = Some("spec.nodeSelector");
        for (label, value, expected) in [
            ("kubernetes.io/os", "windows", field),
            ("beta.kubernetes.io/os", "windows", field),
            ("node.kubernetes.io/windows-build", "10.0.20348", field),
            ("kubernetes.azure.com/os-sku", "Windows2022", field),
            ("cloud.google.com/gke-os-distribution", "windows_ltsc", field),
            ("kubernetes.azure.com/os-sku", "Ubuntu", None),
            ("kubernetes.io/os", "linux", None),
            ("pool", "windows", None),
        ] {
            assert_eq!(by_selector(label, value), expected, "{label}={value}");
        }
        assert_eq!(find_windows_field(&json!({})), None);
    }

    #[test]
    fn case_33_required_terms_count_if_none_of_them_leaves_linux() {
        let os = "kubernetes.io/os";
        let windows = || rule(os, "In", &["windows"]);
        let node = json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["a"] }] });
        let mut both = windows();
        both["matchFields"] = node["matchFields"].clone();
        for terms in [
            json!([windows()]),
            json!([rule(os, "NotIn", &["linux"])]),
            json!([rule("beta.kubernetes.io/os", "In", &["windows"]), windows()]),
            json!([rule("node.kubernetes.io/windows-build", "Exists", &[])]),
            json!([both]),
            // No node fulfils a term without rules.
            json!([windows(), {}]),
        ] {
            assert_eq!(by_terms(terms.clone()), Some(AFFINITY), "{terms}");
        }
        for terms in [
            json!([rule(os, "In", &["linux", "windows"])]),
            json!([rule(os, "NotIn", &["windows"])]),
            json!([windows(), rule("zone", "In", &["a"])]),
            json!([windows(), node]),
            json!([rule(os, "Exists", &[])]),
            json!([rule(os, "In", &["darwin"])]),
            json!([rule("zone", "In", &["windows"])]),
        ] {
            assert_eq!(by_terms(terms.clone()), None, "{terms}");
        }
    }

    #[test]
    fn case_33_selector_and_terms_are_read_together_and_preferences_are_not() {
        let terms = |operator| rule("kubernetes.io/os", operator, &["windows"]);
        let pod = |os: &str, operator| {
            json!({
                "nodeSelector": { "kubernetes.io/os": os },
                "affinity": { "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [terms(operator)] },
                } },
            })
        };
        assert_eq!(
            find_windows_field(&pod("windows", "In")),
            Some("spec.nodeSelector")
        );
        // No node fulfils both.
        assert_eq!(find_windows_field(&pod("linux", "In")), None);
        assert_eq!(find_windows_field(&pod("windows", "NotIn")), None);
        let preferred = json!({ "affinity": { "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "preference": terms("In") }],
        } } });
        assert_eq!(find_windows_field(&preferred), None);
        let named = json!({ "os": { "name": "windows" }, "nodeSelector": { "kubernetes.io/os": "linux" } });
        assert_eq!(find_windows_field(&named), Some("spec.os.name"));
        let named = json!({ "os": { "name": "linux" }, "nodeSelector": { "kubernetes.io/os": "windows" } });
        assert_eq!(find_windows_field(&named), None);
    }
}
