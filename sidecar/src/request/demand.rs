//! Finds what the answer must have: the JSON schema that it must follow, or that of the one tool which the model
//! must call.

use serde_json::Value;

use super::json::{JsonError, Reader};
use super::schema::fields_of;
use super::tool::{Tool, read_tools};
use super::view::AnswerField;

/// Longer schemas are not read, in bytes of the body.
const MAX_SCHEMA: usize = 256 << 10;

/// So many fields of a kind are read: each interface has one, and one that it had before.
const MAX_FIELDS: usize = 4;

/// The fields of a request that demand something of the answer's form, in any order.
#[derive(Default)]
pub(super) struct Demand<'a> {
    tools: Vec<Tool<'a>>,
    /// `tool_choice`, and the legacy `function_call`.
    choices: Vec<&'a str>,
    /// `response_format`, `text`, `output_format`, `output_config`.
    formats: Vec<&'a str>,
}

impl<'a> Demand<'a> {
    /// Reads a field's value if the field demands something; false if it was not read.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>, key: &str) -> Result<bool, JsonError> {
        match key {
            "tools" | "functions" => read_tools(reader, &mut self.tools)?,
            "tool_choice" | "function_call" => push(&mut self.choices, reader.skip_text()?),
            "response_format" | "text" | "output_format" | "output_config" => {
                push(&mut self.formats, reader.skip_text()?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the fields that the answer must have, in the order of their schemas.
    pub(super) fn into_fields(self) -> Vec<AnswerField> {
        let formats = self.formats.iter().filter_map(|format| parse(format));
        let from_format = formats.filter_map(|format| {
            let (description, schema) = find_schema(&format)?;
            Some(fields_of(schema, description))
        });
        let called = self
            .choices
            .iter()
            .filter_map(|choice| self.find_tool(&parse(choice)?));
        let from_tool = called.map(|tool| {
            let description = tool.description.map(|description| description.decode_lossy());
            let schema = tool.schema.and_then(parse).unwrap_or_default();
            fields_of(&schema, &description.unwrap_or_default())
        });
        // One of them: a schema of the answer where both are given.
        from_format
            .chain(from_tool)
            .find(|fields| !fields.is_empty())
            .unwrap_or_default()
    }

    /// Returns the one tool that must be called, if there is one.
    fn find_tool(&self, choice: &Value) -> Option<&Tool<'a>> {
        let kind = choice.get("type").unwrap_or(choice).as_str().unwrap_or_default();
        match kind {
            "required" | "any" => match self.tools.as_slice() {
                [only] => Some(only),
                _ => None,
            },
            "allowed_tools" => {
                let allowed = choice.get("allowed_tools").unwrap_or(choice);
                let must = allowed.get("mode").and_then(Value::as_str) == Some("required");
                match allowed.get("tools").and_then(Value::as_array)?.as_slice() {
                    [only] if must => self.find_named(only),
                    _ => None,
                }
            }
            _ => self.find_named(choice),
        }
    }

    /// Finds a tool by the name that a choice has, as the interfaces spell it.
    fn find_named(&self, choice: &Value) -> Option<&Tool<'a>> {
        let named = [Some(choice), choice.get("function"), choice.get("custom")];
        let mut names = named.into_iter().flatten().filter_map(|place| place.get("name"));
        let name = names.find_map(Value::as_str)?;
        let is_named = |tool: &&Tool<'_>| tool.name.is_some_and(|literal| literal.decode_lossy() == name);
        self.tools.iter().find(is_named)
    }
}

fn push<'a>(fields: &mut Vec<&'a str>, value: &'a str) {
    if fields.len() < MAX_FIELDS {
        fields.push(value);
    }
}

/// Finds the schema in a format of the answer, with its own description.
fn find_schema(format: &Value) -> Option<(&str, &Value)> {
    let format = format.get("format").unwrap_or(format);
    let holder = format.get("json_schema").unwrap_or(format);
    let description = holder.get("description").and_then(Value::as_str);
    Some((description.unwrap_or_default(), holder.get("schema")?))
}

fn parse(json: &str) -> Option<Value> {
    let short = json.len() <= MAX_SCHEMA;
    short.then(|| serde_json::from_str(json).ok()).flatten()
}
