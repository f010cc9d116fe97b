//! Reads the parts of a raw pod that decisions need.

use serde_json::{Map, Value};

use super::outcome::Denial;

/// A pod whose shape was checked: the rest of the code can index without asking again.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// `metadata`, if there is any.
    pub metadata: Option<&'a Map<String, Value>>,
    /// `spec`.
    pub spec: &'a Value,
}

/// Which list of containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    Main,
}

impl List {
    /// The field's name.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
        }
    }
}

/// One container and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The list.
    pub list: List,
    /// The place in it.
    pub index: usize,
    /// Its name.
    pub name: &'a str,
    /// All of it.
    pub value: &'a Value,
}

impl Container<'_> {
    /// Whether it is an init container that runs beside the others.
    pub fn is_native_sidecar(&self) -> bool {
        self.list == List::Init && text(self.value, "restartPolicy") == Some("Always")
    }
}

impl<'a> Pod<'a> {
    /// Checks the shape.
    ///
    /// # Errors
    /// No `spec.containers`.
    pub fn read(pod: &'a Value) -> Result<Self, Denial> {
        let spec = pod.get("spec").filter(|spec| spec.is_object());
        let spec = spec.ok_or(Denial::Shape { field: "spec" })?;
        if !spec.get("containers").is_some_and(Value::is_array) {
            return Err(Denial::Shape {
                field: "spec.containers",
            });
        }
        Ok(Self {
            metadata: pod.get("metadata").and_then(Value::as_object),
            spec,
        })
    }

    /// A label or an annotation.
    pub fn meta(&self, map: &str, key: &str) -> Option<&'a str> {
        self.metadata?.get(map)?.get(key)?.as_str()
    }

    /// All annotations.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.metadata.and_then(|metadata| metadata.get("annotations"));
        let pairs = map.and_then(Value::as_object).into_iter().flatten();
        pairs.map(|(key, value)| (key.as_str(), value))
    }

    /// The containers of one list. Entries without a name are the API server's to refuse.
    pub fn containers(&self, list: List) -> impl Iterator<Item = Container<'a>> {
        items(self.spec, list.field())
            .enumerate()
            .filter_map(move |(index, value)| {
                let name = text(value, "name")?;
                Some(Container {
                    list,
                    index,
                    name,
                    value,
                })
            })
    }

    /// The containers of both lists, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = Container<'a>> {
        self.containers(List::Init).chain(self.containers(List::Main))
    }
}

/// The string in a field.
pub fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// The items of an array in a field; nothing where it is absent or null.
pub fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}
