//! The reference of the API in Markdown, generated from the definition's schema and the reasons.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::definition::definition;
use super::reasons::{ConditionReason, ConditionType, EventReason};

/// Kubernetes' own types are named, not unfolded.
const KNOWN: [(&str, &str); 7] = [
    ("affinity", "Affinity"),
    ("conditions", "[]Condition"),
    ("namespaceSelector", "LabelSelector"),
    ("podSelector", "LabelSelector"),
    ("resourceClaims", "[]PodResourceClaim"),
    ("tolerations", "[]Toleration"),
    ("topologySpreadConstraints", "[]TopologySpreadConstraint"),
];

/// Renders the reference: what `crds/README.md` holds.
pub fn markdown() -> String {
    let mut text = String::from(
        "# LiquidMemoryProxy\n\n\
         Generated from `operator/src/api` by `cargo xtask crds`; a test compares.\n\n\
         API `liquidmemory.dev/v1alpha1`, namespaced, short name `lmp`. Every field of `spec` has a default: \
         `spec: {}` is one worker on the CPU with the model of its image.\n",
    );
    for version in definition().spec.versions {
        let schema = version.schema.and_then(|schema| schema.open_api_v3_schema);
        let properties = schema.and_then(|schema| schema.properties).unwrap_or_default();
        for (name, part) in [
            ("spec", properties.get("spec")),
            ("status", properties.get("status")),
        ] {
            if let Some(part) = part {
                let _ = writeln!(text, "\n## {name}\n\n{}", lines(part));
                fields(&mut text, name, part);
                rules(&mut text, name, part);
            }
        }
    }
    reasons(&mut text);
    text
}

fn lines(schema: &JSONSchemaProps) -> String {
    schema
        .description
        .as_deref()
        .unwrap_or_default()
        .replace('\n', " ")
}

fn fields(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    text.push_str("\n| field | type | default | |\n|---|---|---|---|\n");
    rows(text, path, schema);
}

fn rows(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let below = if known(name).is_some() {
            None
        } else {
            unfolded(field)
        };
        let default = match &field.default {
            // The fields below have their own.
            Some(_) if below.is_some_and(|(_, below)| has_defaults(below)) => String::new(),
            Some(default) => format!("`{}`", default.0),
            None if required.contains(name) && !path.starts_with("status") => "required".into(),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "| `{path}` | {} | {default} | {} |",
            kind(name, field).replace('|', "\\|"),
            lines(field).replace('|', "\\|")
        );
        if let Some((suffix, below)) = below {
            rows(text, &format!("{path}{suffix}"), below);
        }
    }
}

fn has_defaults(schema: &JSONSchemaProps) -> bool {
    schema
        .properties
        .iter()
        .flatten()
        .any(|(_, field)| field.default.is_some())
}

fn known(name: &str) -> Option<&'static str> {
    KNOWN
        .iter()
        .find(|(field, _)| *field == name)
        .map(|(_, kind)| *kind)
}

/// Returns the schema of the fields below, and what the path says about the step.
fn unfolded(schema: &JSONSchemaProps) -> Option<(&'static str, &JSONSchemaProps)> {
    if schema.properties.is_some() {
        return Some(("", schema));
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) if item.properties.is_some() => Some(("[]", item)),
        _ => None,
    }
}

fn kind(name: &str, schema: &JSONSchemaProps) -> String {
    if let Some(known) = known(name) {
        return known.into();
    }
    if let Some(values) = &schema.enum_ {
        let values: Vec<String> = values
            .iter()
            .map(|value| value.0.as_str().unwrap_or_default().into())
            .collect();
        return values.join(" | ");
    }
    if schema.x_kubernetes_int_or_string == Some(true) {
        return "quantity".into();
    }
    match (&schema.items, &schema.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(item)), _) => format!("[]{}", kind("", item)),
        (_, Some(JSONSchemaPropsOrBool::Schema(value))) => format!("map of {}", kind("", value)),
        _ => schema.type_.clone().unwrap_or_default(),
    }
}

fn rules(text: &mut String, path: &str, schema: &JSONSchemaProps) {
    let mut found = Vec::new();
    collect(&mut found, path, schema);
    if found.is_empty() {
        return;
    }
    text.push_str(
        "\nWhat the API server refuses, and the message:\n\n| at | unless | message |\n|---|---|---|\n",
    );
    for (path, rule, message) in found {
        let _ = writeln!(text, "| `{path}` | `{}` | {message} |", rule.replace('|', "\\|"));
    }
}

fn collect(found: &mut Vec<(String, String, String)>, path: &str, schema: &JSONSchemaProps) {
    for rule in schema.x_kubernetes_validations.iter().flatten() {
        found.push((
            path.into(),
            rule.rule.clone(),
            rule.message.clone().unwrap_or_default(),
        ));
    }
    for (name, field) in schema.properties.iter().flatten() {
        if known(name).is_none() {
            collect(found, &format!("{path}.{name}"), field);
        }
    }
    if let Some(JSONSchemaPropsOrArray::Schema(item)) = &schema.items {
        collect(found, &format!("{path}[]"), item);
    }
}

fn reasons(text: &mut String) {
    let mut table = |title: &str, rows: Vec<[&str; 3]>| {
        let _ = writeln!(text, "\n## {title}\n\n| | means | do |\n|---|---|---|");
        for [name, meaning, remedy] in rows {
            let _ = writeln!(text, "| `{name}` | {meaning} | {remedy} |");
        }
    };
    let conditions = ConditionType::ALL.iter();
    table(
        "Conditions",
        conditions
            .map(|of| [of.as_str(), of.meaning(), of.remedy()])
            .collect(),
    );
    let reasons = ConditionReason::ALL.iter();
    table(
        "Reasons of conditions",
        reasons
            .map(|of| [of.as_str(), of.meaning(), of.remedy()])
            .collect(),
    );
    let events = EventReason::ALL.iter();
    table(
        "Reasons of Events",
        events
            .map(|of| [of.as_str(), of.meaning(), of.remedy()])
            .collect(),
    );
}
