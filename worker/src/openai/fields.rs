//! The fields of a request's JSON, each read with its path, so that an error names it. Null is as if it were not there;
//! fields that nothing reads are ignored.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::error::ApiError;

/// An object of a request.
pub(super) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
}

impl<'a> Fields<'a> {
    /// Takes the whole body.
    pub(super) fn root(value: &'a Value) -> Result<Self, ApiError> {
        Self::at(value, String::new())
    }

    /// Takes an object in it, which stands at `path`.
    pub(super) fn at(value: &'a Value, path: String) -> Result<Self, ApiError> {
        match value.as_object() {
            Some(object) => Ok(Self { object, path }),
            None if path.is_empty() => Err(ApiError::invalid("body", "must be an object")),
            None => Err(ApiError::invalid(path, "must be an object")),
        }
    }

    /// Returns the path of a field, such as `messages[0].role`.
    pub(super) fn path(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        }
    }

    /// Makes the error of a field.
    pub(super) fn wrong(&self, name: &str, remedy: &str) -> ApiError {
        ApiError::invalid(self.path(name), remedy)
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn read<T>(
        &self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let wrong = || self.wrong(name, &format!("must be {expected}"));
        read(value).ok_or_else(wrong).map(Some)
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        self.flag_or(name, false)
    }

    /// Reads a flag that is `default` where it is not there.
    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        let flag = self.read(name, "true or false", Value::as_bool)?;
        Ok(flag.unwrap_or(default))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.read(name, "a string", Value::as_str)
    }

    /// Reads a text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Result<&'a str, ApiError> {
        self.text(name)?
            .ok_or_else(|| self.wrong(name, "is missing; write a string"))
    }

    pub(super) fn list(&self, name: &str) -> Result<Option<&'a [Value]>, ApiError> {
        self.read(name, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    /// Reads an object within this one.
    pub(super) fn object(&self, name: &str) -> Result<Option<Fields<'a>>, ApiError> {
        self.get(name)
            .map(|value| Self::at(value, self.path(name)))
            .transpose()
    }

    /// Reads a whole number of a range.
    pub(super) fn count(&self, name: &str, range: RangeInclusive<usize>) -> Result<Option<usize>, ApiError> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(name, &expected, |value| {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.filter(|number| range.contains(number))
        })
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.read(name, "a whole number", Value::as_i64)
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f32>, ApiError> {
        let number = self.read(name, "a number", Value::as_f64)?;
        Ok(number.map(|number| number as f32))
    }

    /// Refuses fields that would change the answer and are not served. One that asks for nothing passes: false, 0, an
    /// empty text, list or object.
    pub(super) fn refuse(&self, names: &[&'static str]) -> Result<(), ApiError> {
        let asks = |value: &Value| match value {
            Value::Null => false,
            Value::Bool(flag) => *flag,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
        };
        match names
            .iter()
            .find(|name| self.object.get(**name).is_some_and(asks))
        {
            Some(name) => Err(ApiError::unsupported(
                self.path(name),
                "is not supported; leave it out",
            )),
            None => Ok(()),
        }
    }
}
