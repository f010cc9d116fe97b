//! Reads the parts of a raw pod that decisions need.

use serde_json::{Map, Value};

use super::outcome::Denial;

/// A pod whose shape was checked: the rest of the code can index without asking again.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a> {
    /// The pod's `metadata`, if it has any.
    pub metadata: Option<&'a Map<String, Value>>,
    /// The pod's `spec`.
    pub spec: &'a Value,
}

/// A list of containers in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerList {
    /// `spec.initContainers`.
    Init,
    /// `spec.containers`.
    Main,
}

impl ContainerList {
    /// Returns the name of the field.
    pub fn field(self) -> &'static str {
        match self {
            Self::Init => "initContainers",
            Self::Main => "containers",
        }
    }
}

/// A container, and its place in the pod.
#[derive(Clone, Copy, Debug)]
pub struct Container<'a> {
    /// The list that holds it.
    pub list: ContainerList,
    /// Its index in that list.
    pub index: usize,
    /// Name of the container.
    pub name: &'a str,
    /// The container as JSON.
    pub value: &'a Value,
}

impl Container<'_> {
    /// Returns true for an init container that runs beside the others.
    pub fn is_native_sidecar(&self) -> bool {
        self.list == ContainerList::Init && text(self.value, "restartPolicy") == Some("Always")
    }

    /// Iterates over the ports that it says it listens on.
    pub fn declared_ports(&self) -> impl Iterator<Item = u64> {
        items(self.value, "ports").filter_map(|port| port.get("containerPort")?.as_u64())
    }
}

impl<'a> Pod<'a> {
    /// Checks the shape of a pod.
    ///
    /// # Errors
    /// The object has no `spec.containers`.
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

    /// Returns the value of a label or an annotation: `map` is `labels` or `annotations`.
    pub fn meta(&self, map: &str, key: &str) -> Option<&'a str> {
        self.metadata?.get(map)?.get(key)?.as_str()
    }

    /// Iterates over all annotations: name and value.
    pub fn annotations(&self) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let map = self.metadata.and_then(|metadata| metadata.get("annotations"));
        let pairs = map.and_then(Value::as_object).into_iter().flatten();
        pairs.map(|(key, value)| (key.as_str(), value))
    }

    /// Iterates over the containers of one list. Entries without a name are the API server's to refuse.
    pub fn containers(&self, list: ContainerList) -> impl Iterator<Item = Container<'a>> {
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

    /// Iterates over the containers of both lists, in the order in which they start.
    pub fn all_containers(&self) -> impl Iterator<Item = Container<'a>> {
        self.containers(ContainerList::Init)
            .chain(self.containers(ContainerList::Main))
    }
}

/// Returns the string in a field.
pub fn text<'a>(value: &'a Value, field: &str) -> Option<&'a str> {
    value.get(field)?.as_str()
}

/// Iterates over the items of an array in a field; over none where it is absent or null.
pub fn items<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value.get(field).and_then(Value::as_array).into_iter().flatten()
}

/// Iterates over the entries of a container's `env`.
pub fn env_entries(container: &Value) -> impl Iterator<Item = &Value> {
    items(container, "env")
}
