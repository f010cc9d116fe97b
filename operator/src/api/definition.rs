//! The CustomResourceDefinition as YAML, generated from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::LiquidMemoryProxy;

/// An error in writing the definition.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// The definition cannot be written as JSON.
    #[error("the definition cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The definition cannot be written as YAML.
    #[error("the definition cannot be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::ser::Error),
}

/// Returns the definition of `LiquidMemoryProxy`.
pub fn definition() -> CustomResourceDefinition {
    LiquidMemoryProxy::crd()
}

/// Renders the definition as YAML: what `crds/liquidmemoryproxies.yaml` holds.
///
/// # Errors
/// [`YamlError`], which would be a fault of the serialiser.
pub fn yaml() -> Result<String, YamlError> {
    let head = "# Generated from operator/src/api by `cargo xtask crds`; a test compares.\n";
    let value = serde_json::to_value(definition())?;
    Ok(format!("{head}{}", to_yaml(&value)?))
}

/// Renders an object as YAML.
///
/// # Errors
/// [`YamlError`], which would be a fault of the serialiser.
pub fn to_yaml(value: &Value) -> Result<String, YamlError> {
    Ok(serde_saphyr::to_string(&Plain(value))?)
}

/// Writes numbers as numbers: with `arbitrary_precision`, a [`Value`] does so in JSON only.
struct Plain<'a>(&'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => serializer.serialize_i64(whole),
                (None, Some(fraction)) => serializer.serialize_f64(fraction),
                (None, None) => serializer.serialize_str(&number.to_string()),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Plain(value))))
            }
            other => other.serialize(serializer),
        }
    }
}
