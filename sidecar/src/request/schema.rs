//! Lists the fields that a JSON schema describes.

use serde_json::{Map, Value};

use super::view::AnswerField;

/// More fields than these are not asked for.
const MAX_FIELDS: usize = 64;
/// Objects in objects.
const MAX_DEPTH: usize = 8;
/// Steps from one schema to the next, references and alternatives included, one below the other.
const MAX_STEPS: usize = 32;
/// Schemas that are visited: references can make a small text a large tree.
const MAX_VISITS: usize = 2048;
/// So many elements of an array of alternatives are looked at.
const MAX_ALTERNATIVES: usize = 256;
/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 4 << 10;
/// So many values of an enumeration, of so many bytes together, say what a field is about.
const MAX_VALUES: usize = 8;
const MAX_VALUE_BYTES: usize = 160;

/// Lists the fields of a schema, in its order; first, with an empty name, what `description` and the schema say
/// of the whole. Objects have a field of their own where they are described.
pub(super) fn fields_of(schema: &Value, description: &str) -> Vec<AnswerField> {
    let mut walk = Walk {
        root: schema,
        fields: Vec::new(),
        open: vec!["#"],
        visits: 0,
    };
    walk.visit(
        schema,
        &Place {
            name: "",
            described: description.to_owned(),
            title: "",
            depth: 0,
            steps: 0,
        },
    );
    walk.fields
}

struct Walk<'s> {
    root: &'s Value,
    fields: Vec<AnswerField>,
    /// The references that are being followed.
    open: Vec<&'s str>,
    visits: usize,
}

/// Where a schema stands.
struct Place<'n> {
    name: &'n str,
    /// What was said of it on the way there.
    described: String,
    /// What it was called on the way there.
    title: &'n str,
    depth: usize,
    steps: usize,
}

impl<'s> Walk<'s> {
    fn visit(&mut self, schema: &'s Value, place: &Place<'_>) {
        self.visits += 1;
        if self.is_done() || place.depth > MAX_DEPTH || place.steps > MAX_STEPS {
            return;
        }
        let described = join(&place.described, text(schema, "description"));
        let properties = schema.get("properties").and_then(Value::as_object);
        let properties = properties.filter(|properties| !properties.is_empty());
        if let Some(properties) = properties {
            self.visit_properties(properties, place, described.clone());
        }
        let reference = text(schema, "$ref");
        let target = self.resolve(reference);
        let inner = inner_schemas(schema);
        let title = match place.title {
            "" => text(schema, "title"),
            title => title,
        };
        if properties.is_none() && inner.is_empty() && target.is_none() {
            return self.push_leaf(
                schema,
                &Place {
                    described,
                    title,
                    ..*place
                },
            );
        }
        // What was said of an object is said; its alternatives add fields to it.
        let described = if properties.is_some() {
            String::new()
        } else {
            described
        };
        let below = Place {
            described,
            title,
            steps: place.steps + 1,
            ..*place
        };
        for schema in inner {
            self.visit(schema, &below);
        }
        if let Some(target) = target {
            self.open.push(reference);
            self.visit(target, &below);
            self.open.pop();
        }
    }

    fn is_done(&self) -> bool {
        self.fields.len() >= MAX_FIELDS || self.visits > MAX_VISITS
    }

    fn visit_properties(&mut self, properties: &'s Map<String, Value>, place: &Place<'_>, described: String) {
        if !described.is_empty() {
            self.push(place.name, described);
        }
        for (key, schema) in properties {
            if self.is_done() {
                break;
            }
            let name = match place.name {
                "" => key.clone(),
                name => format!("{name}.{key}"),
            };
            let below = Place {
                name: &name,
                described: String::new(),
                title: "",
                depth: place.depth + 1,
                steps: place.steps + 1,
            };
            self.visit(schema, &below);
        }
    }

    /// Adds a field without fields of its own; none that can have one value alone, which no document decides.
    fn push_leaf(&mut self, schema: &Value, place: &Place<'_>) {
        let values = schema.get("enum").and_then(Value::as_array);
        if schema.get("const").is_some() || values.is_some_and(|values| values.len() == 1) {
            return;
        }
        if place.name.is_empty() && place.described.is_empty() {
            return;
        }
        let said = match place.described.as_str() {
            "" => clip(place.title),
            described => described,
        };
        let values = values.map(|values| list_values(values)).unwrap_or_default();
        let description = match (said, values.as_str()) {
            (_, "") => said.to_owned(),
            ("", _) => values,
            _ => format!("{said} ({values})"),
        };
        self.push(place.name, description);
    }

    /// Adds a field, unless another way to it has said as much.
    fn push(&mut self, name: &str, description: String) {
        let mut same = self.fields.iter().filter(|field| field.name == name);
        let is_known = same.any(|field| description.is_empty() || field.description == description);
        if !is_known && self.fields.len() < MAX_FIELDS {
            self.fields.push(AnswerField {
                name: name.to_owned(),
                description,
            });
        }
    }

    /// Finds what a reference into this schema leads to; none while it is being followed, so that it ends.
    fn resolve(&self, reference: &str) -> Option<&'s Value> {
        let pointer = reference.strip_prefix('#')?;
        let target = self.root.pointer(pointer)?;
        (!self.open.contains(&reference)).then_some(target)
    }
}

/// Returns the schemas of an array's elements, of a map's values, and of alternatives that say anything.
fn inner_schemas(schema: &Value) -> Vec<&Value> {
    let mut inner = Vec::new();
    for key in [
        "items",
        "prefixItems",
        "additionalProperties",
        "anyOf",
        "oneOf",
        "allOf",
    ] {
        match schema.get(key) {
            Some(Value::Array(several)) => {
                let several = several.iter().take(MAX_ALTERNATIVES);
                inner.extend(several.filter(|one| says_anything(one)));
            }
            Some(one) if says_anything(one) => inner.push(one),
            _ => {}
        }
    }
    inner
}

fn says_anything(schema: &Value) -> bool {
    let keys = [
        "type",
        "properties",
        "items",
        "enum",
        "const",
        "description",
        "$ref",
        "anyOf",
        "oneOf",
        "allOf",
    ];
    text(schema, "type") != "null" && keys.iter().any(|key| schema.get(key).is_some())
}

/// Returns the values of an enumeration in one line; empty if they are many or long.
fn list_values(values: &[Value]) -> String {
    if values.len() > MAX_VALUES {
        return String::new();
    }
    let words = values.iter().map(|value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    let words: Vec<_> = words.flatten().collect();
    let list = words.join(", ");
    if list.len() <= MAX_VALUE_BYTES {
        list
    } else {
        String::new()
    }
}

/// Returns both texts, or one of equals, no longer than a description may be.
fn join(first: &str, second: &str) -> String {
    let joined = match (first.trim(), clip(second.trim())) {
        (first, second) if second.is_empty() || first.contains(second) => first.to_owned(),
        ("", second) => second.to_owned(),
        (first, second) => format!("{first}; {second}"),
    };
    clip(&joined).to_owned()
}

fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_DESCRIPTION)]
}

fn text<'s>(schema: &'s Value, key: &str) -> &'s str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}
