//! The rights of the operator's account, compared with every verb that it uses.

use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use kube::ResourceExt;
use liquid_operator::rbac::{CLUSTER, EVICTION, OWN, Rule};

use super::finding::{Fault, Finding, ObjectName};
use crate::snapshot::operators::Operator;
use crate::snapshot::{Rights, Snapshot};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let (Some(operator), Some(rights)) = (snapshot.operator(), &snapshot.installation.rights) else {
        return;
    };
    let pod = operator
        .deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let account = pod
        .and_then(|pod| pod.service_account_name.as_deref())
        .unwrap_or("default");
    let everywhere = rights.granted_everywhere(account, operator);
    let here = rights.granted_here(account, operator);
    let lacks = |rule: &Rule, granted: &[&PolicyRule]| {
        let verbs = rule
            .verbs
            .iter()
            .filter(|verb| !granted.iter().any(|one| grants(one, rule, verb)));
        let verbs: Vec<&str> = verbs.copied().collect();
        (!verbs.is_empty()).then(|| format!("{} {} ({})", verbs.join(", "), rule.resource, rule.why))
    };
    let all: Vec<&PolicyRule> = everywhere.iter().chain(&here).copied().collect();
    // Only where the settings ask for it.
    let eviction = EVICTION.iter().filter(|_| operator.settings.evict_pods);
    let cluster = CLUSTER.iter().chain(eviction);
    let cluster = cluster.filter_map(|rule| lacks(rule, &everywhere));
    let own = OWN.iter().filter_map(|rule| lacks(rule, &all));
    let missing: Vec<String> = cluster.chain(own).collect();
    if missing.is_empty() {
        return;
    }
    findings.push(Finding::new(
        Fault::RightsMissing,
        ObjectName::new("ServiceAccount", &operator.namespace, account),
        format!("it may not {}", missing.join("; ")),
        "install the chart liquid-memory again, as a user who may grant these rights: helm upgrade liquid-memory \
         deploy/charts/liquid-memory --reuse-values",
    ));
}

impl Rights {
    /// Returns the rules that an account has in all namespaces.
    fn granted_everywhere(&self, account: &str, operator: &Operator) -> Vec<&PolicyRule> {
        let bindings = self
            .cluster_bindings
            .iter()
            .filter(|binding| names_account(binding.subjects.as_deref(), account, &operator.namespace));
        bindings
            .flat_map(|binding| self.rules_of(&binding.role_ref))
            .collect()
    }

    /// Returns the rules that an account has in the operator's namespace alone.
    fn granted_here(&self, account: &str, operator: &Operator) -> Vec<&PolicyRule> {
        let bindings = self
            .bindings
            .iter()
            .filter(|binding| names_account(binding.subjects.as_deref(), account, &operator.namespace));
        bindings
            .flat_map(|binding| self.rules_of(&binding.role_ref))
            .collect()
    }

    fn rules_of(&self, role: &RoleRef) -> Vec<&PolicyRule> {
        let cluster = self
            .cluster_roles
            .iter()
            .filter(|one| role.kind == "ClusterRole" && one.name_any() == role.name);
        let own = self
            .roles
            .iter()
            .filter(|one| role.kind == "Role" && one.name_any() == role.name);
        let rules = cluster
            .filter_map(|role| role.rules.as_ref())
            .chain(own.filter_map(|role| role.rules.as_ref()));
        rules.flatten().collect()
    }
}

/// Returns whether a binding is for this account: by its name, or by a group that it is in.
fn names_account(subjects: Option<&[Subject]>, account: &str, namespace: &str) -> bool {
    let groups = [
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".into(),
    ];
    subjects
        .unwrap_or_default()
        .iter()
        .any(|subject| match subject.kind.as_str() {
            "ServiceAccount" => subject.name == account && subject.namespace.as_deref() == Some(namespace),
            "Group" => groups.contains(&subject.name),
            "User" => subject.name == format!("system:serviceaccount:{namespace}:{account}"),
            _ => false,
        })
}

/// Returns whether a rule allows a verb. Names of objects are not compared: the chart's are those of the release.
fn grants(rule: &PolicyRule, wanted: &Rule, verb: &str) -> bool {
    let has = |list: Option<&Vec<String>>, word: &str| {
        list.is_some_and(|list| list.iter().any(|one| one == word || one == "*"))
    };
    has(rule.api_groups.as_ref(), wanted.group)
        && has(rule.resources.as_ref(), wanted.resource)
        && has(Some(&rule.verbs), verb)
}
