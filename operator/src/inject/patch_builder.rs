//! Collects the operations of a JSON Patch (RFC 6902) that only adds, but for the values that the rules name.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation};
use serde_json::Value;

use super::pod::ContainerList;

/// A JSON Patch in the making: the operations so far, in the order in which they are applied.
#[derive(Debug, Default)]
pub(super) struct PatchBuilder {
    operations: Vec<PatchOperation>,
}

impl PatchBuilder {
    /// Adds at a path. An index moves what is there; `-` is the end of an array.
    pub(super) fn add(&mut self, path: &[Token<'_>], value: Value) {
        self.operations.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(path),
            value,
        }));
    }

    /// Replaces the value at a path.
    pub(super) fn replace(&mut self, path: &[Token<'_>], value: Value) {
        self.operations.push(PatchOperation::Replace(ReplaceOperation {
            path: PointerBuf::from_tokens(path),
            value,
        }));
    }

    /// Appends to an array, or creates it: `parent` is the object that holds it, `path` the path of that
    /// object.
    pub(super) fn append(&mut self, parent: &Value, path: &[Token<'_>], field: &str, values: Vec<Value>) {
        if values.is_empty() {
            return;
        }
        let mut path = path.to_vec();
        path.push(Token::new(field));
        if parent.get(field).is_some_and(Value::is_array) {
            path.push(Token::new("-"));
            for value in values {
                self.add(&path, value);
            }
        } else {
            self.add(&path, Value::Array(values));
        }
    }

    /// Sets a key of a map of strings, or creates the map: `parent` and `path` as for [`Self::append`].
    pub(super) fn set(&mut self, parent: &Value, path: &[Token<'_>], field: &str, key: &str, value: &str) {
        let mut path = path.to_vec();
        path.push(Token::new(field));
        if parent.get(field).is_some_and(Value::is_object) {
            path.push(Token::new(key));
            self.add(&path, value.into());
        } else {
            self.add(&path, serde_json::json!({ key: value }));
        }
    }

    /// Returns the finished patch.
    pub(super) fn finish(self) -> Patch {
        Patch(self.operations)
    }
}

/// Returns the path of a container.
pub(super) fn container_path(list: ContainerList, index: usize) -> Vec<Token<'static>> {
    vec![Token::new("spec"), Token::new(list.field()), index.into()]
}
