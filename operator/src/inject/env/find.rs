//! Where a container has a variable from, by Kubernetes' rules: `env` beats `envFrom`, later entries beat earlier
//! ones, and a prefix stands before the keys of its source (kubelet, `makeEnvironmentVariables`).

use serde_json::Value;

use super::entries;
use crate::inject::pod::{items, text};
use crate::inject::settings::{ConfigMaps, Keys};

/// Where a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::inject) enum Found<'a> {
    /// Nowhere, as far as the pod says. The image may set it; ours wins over that.
    Absent,
    /// `env[index].value`; absent there means the empty text.
    Literal { index: usize, value: &'a str },
    /// `env[].valueFrom`.
    Reference,
    /// A ConfigMap in `envFrom`.
    ConfigMap { name: &'a str, value: &'a str },
    /// A source in `envFrom` that may hold it and cannot be read.
    Unknown { kind: &'static str, name: &'a str },
}

/// Finds a variable.
pub(in crate::inject) fn find<'a>(
    container: &'a Value,
    variable: &str,
    config_maps: &'a ConfigMaps,
) -> Found<'a> {
    let entry = entries(container)
        .enumerate()
        .filter(|(_, entry)| text(entry, "name") == Some(variable))
        .last();
    if let Some((index, entry)) = entry {
        return match entry.get("valueFrom") {
            Some(from) if !from.is_null() => Found::Reference,
            _ => Found::Literal {
                index,
                value: text(entry, "value").unwrap_or_default(),
            },
        };
    }
    let sources: Vec<&Value> = items(container, "envFrom").collect();
    sources
        .into_iter()
        .rev()
        .find_map(|source| from_source(source, variable, config_maps))
        .unwrap_or(Found::Absent)
}

fn from_source<'a>(source: &'a Value, variable: &str, config_maps: &'a ConfigMaps) -> Option<Found<'a>> {
    let key = variable.strip_prefix(text(source, "prefix").unwrap_or_default())?;
    if let Some(name) = source.get("secretRef").and_then(|secret| text(secret, "name")) {
        return Some(Found::Unknown { kind: "Secret", name });
    }
    let name = text(source.get("configMapRef")?, "name")?;
    match config_maps.get(name) {
        Some(Keys::Known(data)) => {
            let value = data.get(key)?;
            Some(Found::ConfigMap { name, value })
        }
        Some(Keys::Unknown) | None => Some(Found::Unknown {
            kind: "ConfigMap",
            name,
        }),
    }
}
