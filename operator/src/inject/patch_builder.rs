//! Collects the operations of a JSON Patch (RFC 6902) that only adds, but for the values that the rules name.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{AddOperation, Patch, PatchOperation, ReplaceOperation};
use serde_json::{Value, json};

use super::pod::ContainerList;

/// An annotation to set on the pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Annotation {
    pub(super) name: &'static str,
    pub(super) value: String,
}

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

    /// Sets annotations of a pod, and creates what would hold them.
    pub(super) fn annotate(&mut self, pod: &Value, annotations: Vec<Annotation>) {
        let metadata = pod.get("metadata").filter(|metadata| metadata.is_object());
        let present = metadata.and_then(|metadata| metadata.get("annotations"));
        let path = [Token::new("metadata"), Token::new("annotations")];
        if present.is_some_and(Value::is_object) {
            for annotation in annotations {
                let path = [&path[..], &[Token::new(annotation.name)]].concat();
                self.add(&path, annotation.value.into());
            }
            return;
        }
        let all = annotations
            .into_iter()
            .map(|annotation| (annotation.name.to_owned(), annotation.value.into()));
        let all = Value::Object(all.collect());
        match metadata {
            Some(_) => self.add(&path, all),
            None => self.add(&path[..1], json!({ "annotations": all })),
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
