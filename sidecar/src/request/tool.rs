//! Reads calls of tools, and the tools themselves: names, descriptions and where their schemas are.

use std::borrow::Cow;

use super::RequestError;
use super::json::{JsonError, Kind, Reader};
use super::literal::Literal;
use super::read::{MAX_PARTS, string};
use super::view::ToolCall;

/// Arguments of more bytes are not read: they are what the model wrote into a file, not what it asked.
const MAX_ARGUMENTS: usize = 64 << 10;
/// No interface takes longer names and ids.
const MAX_NAME: usize = 1 << 10;
/// More tools than any honest request has.
const MAX_TOOLS: usize = 4096;

/// A call of a tool while it is read.
#[derive(Default)]
pub(super) struct ToolUse<'a> {
    pub(super) id: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) arguments: Cow<'a, str>,
}

/// A tool that the model may call.
#[derive(Default)]
pub(super) struct Tool<'a> {
    pub(super) name: Option<Literal<'a>>,
    pub(super) description: Option<Literal<'a>>,
    /// The JSON schema of its arguments.
    pub(super) schema: Option<&'a str>,
}

impl<'a> ToolUse<'a> {
    /// Returns the call as part of a message.
    pub(super) fn in_message(self, message: usize) -> ToolCall<'a> {
        let name = self.name.unwrap_or_default();
        ToolCall {
            message,
            id: self.id.unwrap_or_else(|| name.clone()),
            name,
            arguments: self.arguments,
        }
    }
}

/// Reads the `tool_calls` of a chat message.
pub(super) fn read_tool_calls<'a>(reader: &mut Reader<'a>) -> Result<Vec<ToolUse<'a>>, RequestError> {
    let mut calls = Vec::new();
    if reader.kind()? != Kind::Array {
        reader.skip()?;
        return Ok(calls);
    }
    reader.array(|reader| {
        let mut call = ToolUse::default();
        read_call(reader, &mut call)?;
        if calls.len() < MAX_PARTS {
            calls.push(call);
        }
        Ok::<_, RequestError>(())
    })?;
    Ok(calls)
}

/// Reads a call of a chat message: `id`, and what is called in `function` or `custom`, or beside the id as the
/// legacy `function_call` has it.
pub(super) fn read_call<'a>(reader: &mut Reader<'a>, call: &mut ToolUse<'a>) -> Result<(), RequestError> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(());
    }
    reader.object(|reader, key| {
        match &*key.name {
            "id" => call.id = read_name(reader)?,
            "name" => call.name = read_name(reader)?,
            "arguments" | "input" => call.arguments = read_arguments(reader)?,
            "function" | "custom" => read_call(reader, call)?,
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    })
}

/// Reads the tools of a request: `tools` of every surface, or the legacy `functions`.
pub(super) fn read_tools<'a>(reader: &mut Reader<'a>, tools: &mut Vec<Tool<'a>>) -> Result<(), JsonError> {
    if reader.kind()? != Kind::Array {
        reader.skip()?;
        return Ok(());
    }
    reader.array(|reader| {
        let mut tool = Tool::default();
        read_tool(reader, &mut tool)?;
        if tools.len() < MAX_TOOLS {
            tools.push(tool);
        }
        Ok(())
    })
}

fn read_tool<'a>(reader: &mut Reader<'a>, tool: &mut Tool<'a>) -> Result<(), JsonError> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(());
    }
    reader.object(|reader, key| {
        match &*key.name {
            "name" => tool.name = string(reader)?,
            "description" => tool.description = string(reader)?,
            "parameters" | "input_schema" => tool.schema = Some(reader.skip_text()?),
            "function" | "custom" => read_tool(reader, tool)?,
            _ => {
                reader.skip()?;
            }
        }
        Ok(())
    })
}

/// Reads a name or an id; `None` for a value that is none.
pub(super) fn read_name<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, JsonError> {
    let name = string(reader)?.filter(|name| name.raw().len() <= MAX_NAME);
    Ok(name.map(|name| name.decode_lossy()))
}

/// Reads the arguments of a call: what a string says, or the JSON itself.
pub(super) fn read_arguments<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, JsonError> {
    if reader.kind()? == Kind::String {
        let said = reader.string()?;
        return Ok(match said.raw().len() {
            ..=MAX_ARGUMENTS => said.decode_lossy(),
            _ => Cow::default(),
        });
    }
    let json = reader.skip_text()?;
    let is_said = json.len() <= MAX_ARGUMENTS && json != "null";
    Ok(Cow::Borrowed(if is_said { json } else { "" }))
}
