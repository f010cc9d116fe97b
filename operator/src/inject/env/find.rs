//! Where a container has a variable from, by Kubernetes' rules: `env` beats `envFrom`, later entries beat
//! earlier ones, and a prefix comes before the keys of its source (kubelet, `makeEnvironmentVariables`).

use serde_json::Value;

use crate::inject::pod::{env_entries, items, text};
use crate::inject::settings::{ConfigMapData, ConfigMaps};

/// The place that a container has a variable from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VariableSource<'a> {
    /// The pod does not set it. The image may; `env` wins over that.
    Absent,
    /// `env[index].value`; the empty text if that is absent.
    Literal { index: usize, value: &'a str },
    /// `env[].valueFrom`.
    Reference,
    /// A ConfigMap in `envFrom`.
    ConfigMap { name: &'a str, value: &'a str },
    /// A source in `envFrom` that may hold the variable and cannot be read.
    Unknown { kind: &'static str, name: &'a str },
}

/// Finds where a container has a variable from.
pub(super) fn find_variable<'a>(
    container: &'a Value,
    variable: &str,
    config_maps: &'a ConfigMaps,
) -> VariableSource<'a> {
    let entry = env_entries(container)
        .enumerate()
        .filter(|(_, entry)| text(entry, "name") == Some(variable))
        .last();
    if let Some((index, entry)) = entry {
        return match entry.get("valueFrom") {
            Some(from) if !from.is_null() => VariableSource::Reference,
            _ => VariableSource::Literal {
                index,
                value: text(entry, "value").unwrap_or_default(),
            },
        };
    }
    let sources: Vec<&Value> = items(container, "envFrom").collect();
    sources
        .into_iter()
        .rev()
        .find_map(|source| find_in_source(source, variable, config_maps))
        .unwrap_or(VariableSource::Absent)
}

fn find_in_source<'a>(
    source: &'a Value,
    variable: &str,
    config_maps: &'a ConfigMaps,
) -> Option<VariableSource<'a>> {
    let key = variable.strip_prefix(text(source, "prefix").unwrap_or_default())?;
    if let Some(name) = source.get("secretRef").and_then(|secret| text(secret, "name")) {
        return Some(VariableSource::Unknown { kind: "Secret", name });
    }
    let name = text(source.get("configMapRef")?, "name")?;
    match config_maps.get(name) {
        Some(ConfigMapData::Known(data)) => {
            let value = data.get(key)?;
            Some(VariableSource::ConfigMap { name, value })
        }
        Some(ConfigMapData::Unknown) | None => Some(VariableSource::Unknown {
            kind: "ConfigMap",
            name,
        }),
    }
}
