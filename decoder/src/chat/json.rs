//! JSON in templates: values of a conversation, and the filter `tojson` as transformers has it: the spacing of Python's `json.dumps`, no escapes for HTML, and an indent if
//! one is asked for.

use minijinja::value::Kwargs;
use minijinja::{ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Makes a template's list of JSON values.
pub(super) fn values(values: &[serde_json::Value]) -> Value {
    values.iter().map(value).collect()
}

/// Makes a template's value. Not by way of serde: serde_json's numbers of any precision would arrive as objects.
fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, Some(number)) => Value::from(number),
            _ => Value::from(number.to_string()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => values(items),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(name, item)| (name.as_str(), value(item))))
        }
    }
}

/// Writes a value as JSON.
pub(super) fn tojson(value: Value, options: Kwargs) -> Result<Value, minijinja::Error> {
    let indent: Option<usize> = options.get("indent")?;
    // The others of json.dumps that templates give say what is done anyhow.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let text = match indent {
        None => write(&value, PythonFormatter),
        Some(width) => {
            let spaces = " ".repeat(width.min(16));
            write(&value, PrettyFormatter::with_indent(spaces.as_bytes()))
        }
    };
    text.map(Value::from_safe_string)
}

fn write(value: &Value, formatter: impl Formatter) -> Result<String, minijinja::Error> {
    let fails = |error: &dyn std::fmt::Display| {
        minijinja::Error::new(
            ErrorKind::BadSerialization,
            format!("cannot be written as JSON: {error}"),
        )
    };
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|error| fails(&error))?;
    String::from_utf8(bytes).map_err(|error| fails(&error))
}

/// A space after each comma and colon.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        separate(writer, first)
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

fn separate<W: std::io::Write + ?Sized>(writer: &mut W, first: bool) -> std::io::Result<()> {
    match first {
        true => Ok(()),
        false => writer.write_all(b", "),
    }
}
