//! The definition of the resource type: is it there, and does it know what this version writes.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray,
};
use kube::core::crd::CustomResourceExt;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::definition;

use super::finding::{Fault, Finding, ObjectName};
use crate::snapshot::Snapshot;
use crate::snapshot::reader::Sought;

/// The chart of the definition.
const CHART: &str = "liquid-memory-crds";
/// Number of fields that a message names.
const NAMED: usize = 5;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let object = || ObjectName::cluster("CustomResourceDefinition", LiquidMemoryProxy::crd_name());
    let found = match &snapshot.definition {
        Sought::Unknown => return,
        Sought::Absent => {
            findings.push(Finding::new(
                Fault::DefinitionMissing,
                object(),
                "the cluster does not know the resource type: no proxy can be applied, and those that there were are deleted",
                format!("helm upgrade --install {CHART} deploy/charts/{CHART} --namespace liquid-memory --create-namespace"),
            ));
            return;
        }
        Sought::Found(found) => found,
    };
    let missing = list_missing(found, &definition::definition());
    if missing.is_empty() {
        return;
    }
    let named: Vec<&str> = missing.iter().take(NAMED).map(String::as_str).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    findings.push(Finding::new(
        Fault::DefinitionOutdated,
        object(),
        format!(
            "it lacks {}{more}, which version {} has: the API server drops them from every resource",
            named.join(", "),
            env!("CARGO_PKG_VERSION")
        ),
        format!("helm upgrade {CHART} deploy/charts/{CHART} --namespace liquid-memory, before the operator's chart; with --force-conflicts, if it was edited by hand"),
    ));
}

/// Lists the fields of `wanted` that `found` does not have, each by its path; one whose parent is missing is left out.
fn list_missing(found: &CustomResourceDefinition, wanted: &CustomResourceDefinition) -> Vec<String> {
    let mut missing = Vec::new();
    for version in &wanted.spec.versions {
        let same = found
            .spec
            .versions
            .iter()
            .find(|one| one.name == version.name && one.served);
        let Some(same) = same else {
            missing.push(format!("version {}", version.name));
            continue;
        };
        let schema = |version: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionVersion| {
            version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.clone())
        };
        let (Some(found), Some(wanted)) = (schema(same), schema(version)) else {
            continue;
        };
        let (mut has, mut needs) = (BTreeSet::new(), BTreeSet::new());
        collect_paths(&found, "", &mut has);
        collect_paths(&wanted, "", &mut needs);
        let absent: Vec<&String> = needs.difference(&has).collect();
        let below_absent = |path: &str| {
            absent
                .iter()
                .any(|parent| path.starts_with(&format!("{parent}.")))
        };
        missing.extend(
            absent
                .iter()
                .filter(|path| !below_absent(path))
                .map(|path| (*path).clone()),
        );
    }
    missing
}

fn collect_paths(schema: &JSONSchemaProps, path: &str, paths: &mut BTreeSet<String>) {
    for (name, field) in schema.properties.iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        collect_paths(field, &path, paths);
        paths.insert(path);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        collect_paths(items, path, paths);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_missing_field_is_named_by_its_topmost_path() {
        let wanted = definition::definition();
        assert!(list_missing(&wanted, &wanted).is_empty());
        let mut older = wanted.clone();
        let schema = older.spec.versions.first_mut().unwrap().schema.as_mut().unwrap();
        let root = schema.open_api_v3_schema.as_mut().unwrap();
        let spec = root.properties.as_mut().unwrap().get_mut("spec").unwrap();
        spec.properties.as_mut().unwrap().remove("decoder").unwrap();
        assert_eq!(list_missing(&older, &wanted), ["spec.decoder"]);
        assert!(
            list_missing(&wanted, &older).is_empty(),
            "a newer one lacks nothing"
        );
        older.spec.versions.clear();
        assert_eq!(list_missing(&older, &wanted), ["version v1alpha1"]);
    }
}
