//! The operator's rights: each one that the chart grants was used by some case before this one, and nothing that the
//! operator asked for was denied. What it asked for is in the API server's audit log.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Case;
use super::charts::template;
use crate::kubectl::{as_objects, text};
use crate::world::{OPERATOR, RELEASE, SYSTEM, World};

pub(super) const CASES: &[(&str, Case)] = &[("rights::each_is_used_and_none_is_missing", used)];

/// One verb on one kind of object, as the chart grants it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    verb: String,
    group: String,
    /// With the subresource, if there is one.
    resource: String,
    /// The only names that it holds for; none: it holds for all.
    names: Vec<String>,
    /// In the operator's namespace only.
    own: bool,
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.own { SYSTEM } else { "every namespace" };
        write!(
            f,
            "{} {} of '{}' {:?} in {place}",
            self.verb, self.resource, self.group, self.names
        )
    }
}

/// What the operator asked for once.
#[derive(Debug)]
struct Request {
    verb: String,
    group: String,
    resource: String,
    name: String,
    namespace: String,
    allowed: bool,
    /// A server-side apply that made the object needs the right to create it.
    created: bool,
}

impl Right {
    fn covers(&self, request: &Request) -> bool {
        let verb = self.verb == request.verb || self.verb == "create" && request.created;
        verb && self.group == request.group
            && self.resource == request.resource
            && (self.names.is_empty() || self.names.contains(&request.name))
            && (!self.own || request.namespace == SYSTEM)
    }
}

fn used(world: &World) -> Result<()> {
    // With what is granted only where a value asks for it, too: other cases set each of them.
    let rights = granted(&template(world, RELEASE, &["watchdog.evict=true"])?)?;
    let requests = asked(world)?;
    ensure!(rights.len() > 30, "only {} rights were read", rights.len());
    let denied = requests.iter().filter(|request| !request.allowed);
    let denied = denied.collect::<Vec<_>>();
    ensure!(denied.is_empty(), "the operator was denied {denied:?}");
    let unused = rights
        .iter()
        .filter(|right| !requests.iter().any(|request| right.covers(request)));
    let unused = unused.map(Right::to_string).collect::<Vec<_>>();
    println!(
        "\n    {} requests of the operator, none denied; {} of {} rights used",
        requests.len(),
        rights.len() - unused.len(),
        rights.len()
    );
    ensure!(
        unused.is_empty(),
        "granted and never used:\n{}",
        unused.join("\n")
    );
    Ok(())
}

/// Returns whether a role is one of users, which the cluster's own roles take in.
fn is_of_users(role: &Value) -> bool {
    let labels = role.pointer("/metadata/labels").and_then(Value::as_object);
    let mut names = labels.into_iter().flatten().map(|(name, _)| name);
    names.any(|name| name.starts_with("rbac.authorization.k8s.io/aggregate-to-"))
}

/// The rights in the chart's roles for the operator.
fn granted(manifests: &str) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for role in as_objects(manifests)? {
        let kind = text(&role, "/kind");
        if !["ClusterRole", "Role"].contains(&kind) || is_of_users(&role) {
            continue;
        }
        let rules = role.pointer("/rules").and_then(Value::as_array);
        for rule in rules.context("a role without rules")? {
            let strings = |field: &str| {
                let list = rule.get(field).and_then(Value::as_array);
                let all = list.into_iter().flatten().filter_map(Value::as_str);
                all.map(str::to_owned).collect::<Vec<_>>()
            };
            for group in strings("apiGroups") {
                for resource in strings("resources") {
                    rights.extend(strings("verbs").into_iter().map(|verb| Right {
                        verb,
                        group: group.clone(),
                        resource: resource.clone(),
                        names: strings("resourceNames"),
                        own: kind == "Role",
                    }));
                }
            }
        }
    }
    Ok(rights)
}

/// What the operator's account has asked for.
fn asked(world: &World) -> Result<Vec<Request>> {
    let log = std::fs::read_to_string(&world.audit)
        .with_context(|| format!("cannot read {}", world.audit.display()))?;
    let account = format!("system:serviceaccount:{SYSTEM}:{OPERATOR}");
    let entries = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let requests = entries.filter(|entry| text(entry, "/user/username") == account);
    let requests = requests.filter_map(|entry| request(&entry)).collect::<Vec<_>>();
    ensure!(!requests.is_empty(), "the audit log has nothing of {account}");
    Ok(requests)
}

/// Nothing for requests that are about no object, such as looking up the server's version.
fn request(entry: &Value) -> Option<Request> {
    let object = entry.get("objectRef")?;
    let field = |name: &str| {
        object
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let resource = match field("subresource") {
        subresource if subresource.is_empty() => field("resource"),
        subresource => format!("{}/{subresource}", field("resource")),
    };
    let code = entry.pointer("/responseStatus/code").and_then(Value::as_u64);
    Some(Request {
        verb: text(entry, "/verb").to_owned(),
        group: field("apiGroup"),
        resource,
        name: field("name"),
        namespace: field("namespace"),
        allowed: text(entry, "/annotations/authorization.k8s.io~1decision") != "forbid",
        created: code == Some(201),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn right(verb: &str, names: &[&str], own: bool) -> Right {
        Right {
            verb: verb.to_owned(),
            group: String::new(),
            resource: "secrets".to_owned(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            own,
        }
    }

    fn made(verb: &str, code: u64, decision: &str) -> Option<Request> {
        request(&json!({
            "verb": verb, "responseStatus": {"code": code},
            "annotations": {"authorization.k8s.io/decision": decision},
            "objectRef": {"resource": "secrets", "namespace": "shop", "name": "a", "apiVersion": "v1"},
        }))
    }

    #[test]
    fn a_right_is_used_by_what_it_allows_only() {
        let patched = made("patch", 200, "allow");
        let covers = |right: Right, request: &Option<Request>| {
            request.as_ref().is_some_and(|request| right.covers(request))
        };
        assert!(covers(right("patch", &[], false), &patched));
        assert!(covers(right("patch", &["a"], false), &patched));
        assert!(!covers(right("patch", &["b"], false), &patched));
        assert!(!covers(right("patch", &[], true), &patched));
        assert!(!covers(right("create", &[], false), &patched));
        assert!(covers(right("create", &[], false), &made("patch", 201, "allow")));
        assert!(made("get", 403, "forbid").is_some_and(|request| !request.allowed));
        assert!(request(&json!({"verb": "get", "requestURI": "/version"})).is_none());
    }
}
