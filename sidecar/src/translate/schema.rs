//! A function's `parameters` as an `input_schema` that Anthropic takes.
//!
//! Rules: "Define tools" (an object with `"type": "object"`, valid by JSON Schema 2020-12) and "Self-hosted
//! sandboxes" (no `oneOf`, `anyOf`, `allOf` at the root, property names of 1 to 64 letters, digits, `_`, `.`,
//! `-`) of Anthropic's documentation.

use serde_json::{Map, Value, json};

/// Longest chain of references at the root of a schema.
const MAX_REFERENCES: usize = 8;

const UNIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// A schema, and what it cannot say in the provider's form.
#[derive(Debug)]
pub(super) struct InputSchema {
    /// The schema.
    pub(super) schema: Value,
    /// Unions of the root, as a sentence for the tool's description.
    pub(super) note: Option<String>,
}

impl InputSchema {
    /// Translates a schema. All of its members stay, but for those that the provider refuses: a reference at the
    /// root is replaced by what it refers to, members that are null are left out, and of a union the properties
    /// move to the root while its text goes into the note.
    ///
    /// # Errors
    /// The reason, without the function's name, where no object can satisfy the schema or the provider cannot be
    /// told of it.
    pub(super) fn translate(parameters: Option<&Value>) -> Result<Self, String> {
        let mut schema = match parameters {
            None | Some(Value::Null | Value::Bool(true)) => Map::new(),
            // How languages without a type for maps write an empty object.
            Some(Value::Array(list)) if list.is_empty() => Map::new(),
            Some(Value::Object(schema)) => schema.clone(),
            Some(_) => return Err("is no JSON schema of an object".into()),
        };
        if schema.is_empty() {
            schema.insert("properties".into(), json!({}));
        }
        resolve(&mut schema)?;
        // Only these may be null in a valid schema.
        schema.retain(|name, value| !value.is_null() || name == "const" || name == "default");
        let note = lift_unions(&mut schema)?;
        set_type(&mut schema)?;
        check_properties(&mut schema)?;
        let schema = Value::Object(schema);
        Ok(Self { schema, note })
    }
}

/// Puts what a reference at the root refers to in its place.
fn resolve(schema: &mut Map<String, Value>) -> Result<(), String> {
    let root = Value::Object(schema.clone());
    for _ in 0..MAX_REFERENCES {
        let Some(reference) = schema.shift_remove("$ref") else {
            return Ok(());
        };
        let path = reference.as_str().and_then(|path| path.strip_prefix('#'));
        let found = path
            .filter(|path| !path.is_empty())
            .and_then(|path| root.pointer(path));
        let Some(Value::Object(found)) = found else {
            return Err("has a $ref at its root that leads to no object in it".into());
        };
        for (name, value) in found {
            schema.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    Err("has a $ref at its root that leads to itself".into())
}

fn set_type(schema: &mut Map<String, Value>) -> Result<(), String> {
    let is_object = |kind: &Value| {
        kind.as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("object"))
    };
    match schema.get("type") {
        None => {}
        Some(Value::Array(kinds)) if kinds.iter().any(is_object) => {}
        Some(kind) if is_object(kind) => {}
        Some(_) => return Err("is the schema of something else than an object".into()),
    }
    schema.insert("type".into(), "object".into());
    Ok(())
}

/// Moves the properties of the branches to the root.
fn lift_unions(schema: &mut Map<String, Value>) -> Result<Option<String>, String> {
    let root = schema.clone();
    let mut unions = Map::new();
    for name in UNIONS {
        let Some(union) = schema.shift_remove(name) else {
            continue;
        };
        for branch in union
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_object)
        {
            let mut branch = branch.clone();
            for definitions in ["$defs", "definitions"] {
                if let Some(definitions_of_root) = root.get(definitions) {
                    branch
                        .entry(definitions)
                        .or_insert_with(|| definitions_of_root.clone());
                }
            }
            resolve(&mut branch)?;
            lift_branch(schema, &branch, name == "allOf");
        }
        unions.insert(name.into(), union);
    }
    Ok((!unions.is_empty()).then(|| {
        let unions = Value::Object(unions);
        format!("The input must also be valid against this JSON schema: {unions}")
    }))
}

fn lift_branch(schema: &mut Map<String, Value>, branch: &Map<String, Value>, binding: bool) {
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let (Some(all), Some(more)) = (
        properties.as_object_mut(),
        branch.get("properties").and_then(Value::as_object),
    ) {
        for (name, value) in more {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    let Some(more) = branch
        .get("required")
        .and_then(Value::as_array)
        .filter(|_| binding)
    else {
        return;
    };
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for name in more {
            if !required.contains(name) {
                required.push(name.clone());
            }
        }
    }
}

fn check_properties(schema: &mut Map<String, Value>) -> Result<(), String> {
    let Some(properties) = schema.get_mut("properties") else {
        return Ok(());
    };
    if properties.as_array().is_some_and(Vec::is_empty) {
        *properties = json!({});
    }
    let Some(properties) = properties.as_object() else {
        return Err("has properties that are no object".into());
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_valid = |name: &String| (1..=64).contains(&name.len()) && name.bytes().all(allowed);
    match properties.keys().find(|name| !is_valid(name)) {
        Some(name) => Err(format!(
            "has the property {name:?}: Anthropic takes 1 to 64 letters, digits, _, . and -"
        )),
        None => Ok(()),
    }
}
