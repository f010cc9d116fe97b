//! Members of a request, read one by one, so that an error names the one that is wrong and never quotes it.

use serde_json::{Map, Value};

use super::RequestError;

/// A request's members. Each is taken out once; one that is null counts as absent.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a request's body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, RequestError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(RequestError::Body("it is not a JSON object".into())),
            Err(error) => Err(RequestError::Body(error.to_string())),
        }
    }

    /// Returns a member of any type, and leaves it in.
    pub(super) fn peek(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// Takes a member of any type.
    pub(super) fn value(&mut self, field: &str) -> Option<Value> {
        self.0.shift_remove(field).filter(|value| !value.is_null())
    }

    /// Takes a string.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Option<String>, RequestError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(RequestError::invalid(field, "give a string")),
        }
    }

    /// Takes a list.
    pub(super) fn list(&mut self, field: &'static str) -> Result<Option<Vec<Value>>, RequestError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(RequestError::invalid(field, "give a list")),
        }
    }

    /// Takes a switch.
    pub(super) fn switch(&mut self, field: &'static str) -> Result<bool, RequestError> {
        match self.value(field) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(on),
            Some(_) => Err(RequestError::invalid(field, "give true or false")),
        }
    }

    /// Takes a whole number of at least 1.
    pub(super) fn count(&mut self, field: &'static str) -> Result<Option<u64>, RequestError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        let count = value.as_u64().filter(|count| *count > 0);
        let error = || RequestError::invalid(field, "give a whole number of at least 1");
        count.map(Some).ok_or_else(error)
    }

    /// Takes a number between 0 and `most`.
    pub(super) fn number(&mut self, field: &'static str, most: f64) -> Result<Option<f64>, RequestError> {
        let Some(value) = self.value(field) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| (0.0..=most).contains(number));
        let error = || RequestError::invalid(field, format!("give a number between 0 and {most}"));
        number.map(Some).ok_or_else(error)
    }

    /// Takes a string or a list of strings.
    pub(super) fn texts(&mut self, field: &'static str) -> Result<Vec<String>, RequestError> {
        let error = || RequestError::invalid(field, "give a string or a list of strings");
        match self.value(field) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(many)) => {
                let texts = many.into_iter().map(|text| match text {
                    Value::String(text) => Ok(text),
                    _ => Err(error()),
                });
                texts.collect()
            }
            Some(_) => Err(error()),
        }
    }
}
