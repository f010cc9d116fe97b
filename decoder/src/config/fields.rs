//! Fields of a JSON object by type, with errors that name them.

use std::fmt::Display;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::ConfigError;

/// Characters of a value that an error shows.
const SHOWN: usize = 60;

/// An object of a configuration.
pub(super) struct Fields {
    path: PathBuf,
    /// Path of the object in the file, with a dot at its end; empty for the whole file.
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Reads a text that is one JSON object.
    pub(super) fn parse(text: &str, path: PathBuf) -> Result<Self, ConfigError> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => Ok(Self {
                path,
                prefix: String::new(),
                map,
            }),
            Ok(_) => Err(ConfigError::Malformed {
                path,
                reason: "it is no JSON object".to_owned(),
            }),
            Err(error) => Err(ConfigError::Malformed {
                path,
                reason: error.to_string(),
            }),
        }
    }

    /// Returns the object that a field holds; none if it is missing or null.
    pub(super) fn object(&self, name: &str) -> Result<Option<Self>, ConfigError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self {
                path: self.path.clone(),
                prefix: format!("{}{name}.", self.prefix),
                map: map.clone(),
            })),
            Some(other) => Err(self.wrong(name, other, "an object")),
        }
    }

    /// Returns the value of a field; none if it is missing or null.
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// Returns the names of all fields.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// Whether a field is there and null.
    pub(super) fn is_null(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(Value::is_null)
    }

    pub(super) fn text(&self, name: &str) -> Result<String, ConfigError> {
        let value = self.value(name).ok_or_else(|| self.missing(name))?;
        let text = value
            .as_str()
            .ok_or_else(|| self.wrong(name, value, "a string"))?;
        Ok(text.to_owned())
    }

    /// Returns a list of strings; none if it is missing or null.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let texts = value.as_array().and_then(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<String>>>()
        });
        texts
            .map(Some)
            .ok_or_else(|| self.wrong(name, value, "a list of strings"))
    }

    /// Returns a whole number above 0.
    pub(super) fn count(&self, name: &str) -> Result<usize, ConfigError> {
        self.optional_count(name)?.ok_or_else(|| self.missing(name))
    }

    /// Returns a whole number above 0; none if it is missing or null.
    pub(super) fn optional_count(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        // What an array of floats can still address many times over.
        const MOST: u64 = 1 << 32;
        let count = value.as_u64().filter(|count| (1..=MOST).contains(count));
        match count.and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(self.wrong(name, value, "a whole number above 0")),
        }
    }

    /// Returns a finite number above 0.
    pub(super) fn positive(&self, name: &str) -> Result<f64, ConfigError> {
        self.optional_positive(name)?.ok_or_else(|| self.missing(name))
    }

    /// Returns a finite number above 0; none if it is missing or null.
    pub(super) fn optional_positive(&self, name: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value
            .as_f64()
            .filter(|number| number.is_finite() && *number > 0.0);
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, value, "a number above 0"))
    }

    pub(super) fn flag(&self, name: &str, otherwise: bool) -> Result<bool, ConfigError> {
        match self.value(name) {
            None => Ok(otherwise),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    /// Makes the error of a value that is not run.
    pub(super) fn wrong(&self, name: &str, value: impl Display, expected: impl Into<String>) -> ConfigError {
        ConfigError::Unsupported {
            path: self.path.clone(),
            field: format!("{}{name}", self.prefix),
            value: shown(value),
            expected: expected.into(),
        }
    }

    /// Makes the error of a feature that is not computed.
    pub(super) fn feature(
        &self,
        name: &str,
        value: &Value,
        feature: &'static str,
        remedy: &'static str,
    ) -> ConfigError {
        ConfigError::Feature {
            path: self.path.clone(),
            field: format!("{}{name}", self.prefix),
            value: shown(value),
            feature,
            remedy,
        }
    }

    /// Makes the error of a missing field.
    pub(super) fn missing(&self, name: &str) -> ConfigError {
        let model = self
            .map
            .get("model_type")
            .and_then(Value::as_str)
            .unwrap_or("decoder");
        ConfigError::Missing {
            path: self.path.clone(),
            field: format!("{}{name}", self.prefix),
            model: model.to_owned(),
        }
    }
}

fn shown(value: impl Display) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
