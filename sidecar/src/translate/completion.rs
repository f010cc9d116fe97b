//! Chat completions of the workers' language model, for clients of other APIs: what the translations of requests, answers
//! and streams have in common.

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::RequestError;
use super::events::{EventWriter, StreamTranslator};
use super::fields::Fields;
use crate::api::{Usage, Wire};
use crate::sse::{Event, StreamState, is_error, usage_of_body};

/// Takes how long and how varied the answer may be; `limit` is the API's name for its most tokens.
pub(super) fn write_sampling(
    request: &mut Fields,
    limit: &'static str,
    max_temperature: f64,
    out: &mut Map<String, Value>,
) -> Result<(), RequestError> {
    if let Some(most) = request.count(limit)? {
        out.insert("max_completion_tokens".into(), most.into());
    }
    for (field, most) in [("temperature", max_temperature), ("top_p", 1.0)] {
        if let Some(value) = request.number(field, most)? {
            out.insert(field.into(), value.into());
        }
    }
    Ok(())
}

/// Takes the tools, each of which becomes a function by `translate`.
pub(super) fn read_tools(
    request: &mut Fields,
    translate: impl Fn(Value) -> Result<Value, RequestError>,
) -> Result<Vec<Value>, RequestError> {
    let tools = request.list("tools")?.unwrap_or_default();
    let tools = tools.into_iter().enumerate();
    let functions = tools.map(|(index, tool)| {
        let function = translate(tool).map_err(|error| error.at(index))?;
        Ok(json!({"type": "function", "function": function}))
    });
    functions.collect()
}

/// Takes whether the answer is a stream, which then tells its usage, and returns it.
pub(super) fn write_stream(request: &mut Fields, out: &mut Map<String, Value>) -> Result<bool, RequestError> {
    let stream = request.switch("stream")?;
    if stream {
        out.insert("stream".into(), true.into());
        out.insert("stream_options".into(), json!({"include_usage": true}));
    }
    Ok(stream)
}

/// Reads the completion and the usage in a whole answer.
///
/// # Errors
/// The body, if it holds no completion, and the status that says so.
pub(super) fn read_completion(
    status: StatusCode,
    body: &[u8],
) -> Result<(Value, Usage), (StatusCode, Value)> {
    let whole: Value = serde_json::from_slice(body).unwrap_or_default();
    let completion = whole.pointer("/choices/0/message").is_some() && !is_error(&whole["error"]);
    match (status.is_success(), completion) {
        (true, true) => Ok((whole, usage_of_body(body))),
        (true, false) => Err((StatusCode::BAD_GATEWAY, whole)),
        (false, _) => Err((status, whole)),
    }
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Text,
    /// The call with this number in the upstream's chunks.
    Call(u64),
}

/// Writes in the client's API what chunks of a chat completion say.
pub(super) trait AnswerWriter: Debug + Send + Sync {
    /// Begins the answer, by its first chunk.
    fn start(&mut self, chunk: &Value);

    /// Opens a part, unless it is open already; another one is closed before. `call` is what the chunk says of a call.
    fn open(&mut self, part: Part, call: &Value);

    /// Adds to the open part: text, or a call's arguments.
    fn add(&mut self, text: &str);

    /// Notes why the model stopped.
    fn stop(&mut self, reason: &str);

    /// Closes the open part, and ends the answer.
    fn end(&mut self, usage: Usage);

    /// Ends the stream with the error in a chunk.
    fn fail(&mut self, chunk: &Value);

    /// Returns what is written and not sent yet.
    fn out(&mut self) -> &mut BytesMut;
}

/// Reads chunks, and has an answer written of them that begins and ends once.
#[derive(Debug)]
pub(super) struct ChunkReader<W> {
    writer: W,
    started: bool,
    ended: bool,
}

impl<W: AnswerWriter> ChunkReader<W> {
    pub(super) fn new(writer: W) -> Self {
        Self {
            writer,
            started: false,
            ended: false,
        }
    }

    /// Writes a completion that came in one piece, but for its end.
    pub(super) fn write_completion(writer: W, completion: &Value) -> W {
        let mut reader = Self::new(writer);
        reader.read(&as_chunk(completion));
        reader.writer
    }

    /// Translates a completion that came in one piece into the events of a stream.
    pub(super) fn translate_completion(writer: W, completion: &Value, usage: Usage) -> Bytes {
        let mut writer = Self::write_completion(writer, completion);
        writer.end(usage);
        writer.out().split().freeze()
    }

    fn read(&mut self, chunk: &Value) {
        if !std::mem::replace(&mut self.started, true) {
            self.writer.start(chunk);
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        if let Some(text) = some_text(&delta["content"]) {
            self.writer.open(Part::Text, &Value::Null);
            self.writer.add(text);
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let number = call["index"].as_u64().unwrap_or(0);
            self.writer.open(Part::Call(number), call);
            if let Some(arguments) = some_text(&call["function"]["arguments"]) {
                self.writer.add(arguments);
            }
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.writer.stop(reason);
        }
    }
}

impl<W: AnswerWriter> EventWriter for ChunkReader<W> {
    fn event(&mut self, event: Event<'_>, state: &StreamState) {
        if event.data == b"[DONE]" {
            return self.finish(state.usage());
        }
        if self.ended {
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Value>(event.data) else {
            return;
        };
        if is_error(&chunk["error"]) {
            self.ended = true;
            self.writer.fail(&chunk);
        } else {
            self.read(&chunk);
        }
    }

    fn finish(&mut self, usage: Usage) {
        if self.started && !std::mem::replace(&mut self.ended, true) {
            self.writer.end(usage);
        }
    }

    fn out(&mut self) -> &mut BytesMut {
        self.writer.out()
    }
}

impl<W: AnswerWriter + 'static> From<ChunkReader<W>> for StreamTranslator {
    fn from(reader: ChunkReader<W>) -> Self {
        Self::new(Wire::Chat, reader)
    }
}

fn some_text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// Writes a chat completion that came in one piece as the one chunk of a stream.
fn as_chunk(completion: &Value) -> Value {
    let mut chunk = completion.clone();
    if let Some(choice) = chunk.pointer_mut("/choices/0") {
        let mut message = choice["message"].take();
        let calls = message["tool_calls"].as_array_mut().into_iter().flatten();
        for (index, call) in calls.enumerate() {
            call["index"] = index.into();
        }
        choice["delta"] = message;
    }
    chunk
}
