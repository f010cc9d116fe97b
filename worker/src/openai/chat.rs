//! `POST /v1/chat/completions`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use liquid_decoder::{Event, FinishReason, Tokenizer};
use serde::Serialize;

use super::answers::Answers;
use super::calls::{Call, CallParser, Marks, Piece};
use super::conversation;
use super::error::ApiError;
use super::events::{self, Chunks, EventWriter};
use super::fields::Fields;
use super::logprobs::{ChatLogprobs, Chosen};
use super::options::{Limit, Options};
use super::usage::UsageObject;
use super::{Gateway, Head, finish_name, json, with_name};
use crate::runtime::Decoder;

/// Fields that change the answer and are not served.
const UNSUPPORTED: [&str; 4] = ["audio", "continue_final_message", "function_call", "functions"];

/// Characters of a call's name, as many as Mistral's templates want.
const CALL_NAME: usize = 9;

/// A request that is read.
struct ChatRequest {
    options: Options,
    prompt: Vec<u32>,
    /// Names of the tools that may be called.
    tools: Vec<String>,
}

pub(super) async fn answer(State(gateway): State<Gateway>, body: Body) -> Result<Response, ApiError> {
    let admitted = gateway.admit()?;
    let decoder = Arc::clone(&admitted.decoder);
    let request = gateway.read(body, &decoder, ChatRequest::read).await?;
    let options = &request.options;
    let id = format!("chatcmpl-{}", gateway.0.names.next());
    let requests = options.requests(&request.prompt, decoder.context_tokens);
    let answers = Answers::submit(&gateway, admitted, requests, "messages").await?;
    let response = match options.stream {
        true => {
            let head = Head::new(&id, "chat.completion.chunk", &decoder);
            events::respond(answers, ChatChunks::new(head, &request, &decoder)).await?
        }
        false => {
            let head = Head::new(&id, "chat.completion", &decoder);
            whole(answers, head, &request, &decoder).await?
        }
    };
    Ok(with_name(response, &id))
}

impl ChatRequest {
    fn read(fields: &Fields<'_>, decoder: &Decoder) -> Result<Self, ApiError> {
        check_kinds(fields)?;
        let logprobs = match fields.flag("logprobs")? {
            true => Some(fields.count("top_logprobs", 0..=20)?.unwrap_or(0)),
            false
                if fields
                    .count("top_logprobs", 0..=20)?
                    .is_some_and(|count| count > 0) =>
            {
                return Err(fields.wrong("top_logprobs", "is only for logprobs = true"));
            }
            false => None,
        };
        let limit = Limit {
            names: &["max_completion_tokens", "max_tokens"],
            default: None,
        };
        let mut options = Options::read(fields, limit, logprobs)?;
        let conversation = conversation::read(fields)?;
        let demanded = conversation::demanded(fields, &conversation)?;
        if !demanded.is_empty() {
            options.demand_call(&demanded)?;
        }
        let tools = conversation.tools.iter().flatten();
        let tools = tools.filter_map(|tool| tool.pointer("/function/name")?.as_str());
        Ok(Self {
            tools: tools.map(str::to_owned).collect(),
            prompt: conversation::encode(&conversation, decoder)?,
            options,
        })
    }

    fn choice(&self, decoder: &Decoder) -> Choice {
        let parser = (!self.tools.is_empty()).then(|| CallParser::new(self.tools.clone()));
        Choice {
            marks: match parser {
                Some(_) => Marks::of(&decoder.tokenizer),
                None => Marks::default(),
            },
            parser,
            called: false,
            logprobs: self.options.logprobs(),
        }
    }
}

fn check_kinds(fields: &Fields<'_>) -> Result<(), ApiError> {
    if let Some(kinds) = fields.list("modalities")?
        && kinds.iter().any(|kind| kind != "text")
    {
        return Err(ApiError::unsupported("modalities", "may be text alone"));
    }
    fields.refuse(&UNSUPPORTED)
}

/// An answer as it is read.
struct Choice {
    /// None where no tool may be called.
    parser: Option<CallParser>,
    marks: Marks,
    called: bool,
    logprobs: bool,
}

/// What an event brings.
struct Step {
    pieces: Vec<Piece>,
    chosen: Option<Chosen>,
    end: Option<End>,
}

struct End {
    reason: &'static str,
    usage: liquid_decoder::Usage,
}

impl Choice {
    fn take(&mut self, event: Event) -> Step {
        let mut step = match event {
            Event::Token {
                token,
                text,
                logprob,
                top,
            } => {
                let text = format!("{text}{}", self.marks.text(token).unwrap_or_default());
                let chosen = Chosen { token, logprob, top };
                Step {
                    pieces: self.read(text),
                    chosen: self.logprobs.then_some(chosen),
                    end: None,
                }
            }
            Event::Finished { text, reason, usage } => {
                let mut pieces = self.read(text);
                pieces.extend(self.parser.take().map(CallParser::finish).unwrap_or_default());
                let reason = finish_name(reason);
                Step {
                    pieces,
                    chosen: None,
                    end: Some(End { reason, usage }),
                }
            }
        };
        self.called |= step.pieces.iter().any(|piece| matches!(piece, Piece::Call(_)));
        if let Some(end) = step.end.as_mut()
            && self.called
            && end.reason == finish_name(FinishReason::Stop)
        {
            end.reason = "tool_calls";
        }
        step
    }

    fn read(&mut self, text: String) -> Vec<Piece> {
        match self.parser.as_mut() {
            Some(parser) => parser.push(&text),
            None if text.is_empty() => Vec::new(),
            None => vec![Piece::Text(text)],
        }
    }
}

#[derive(Serialize)]
struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: Vec<WholeChoice>,
    usage: UsageObject,
}

#[derive(Serialize)]
struct WholeChoice {
    index: usize,
    message: Message,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: Option<String>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

#[derive(Serialize)]
struct ToolCall {
    /// Only in chunks.
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function,
}

#[derive(Serialize)]
struct Function {
    name: String,
    arguments: String,
}

impl ToolCall {
    fn new(call: Call, id: String, index: Option<usize>) -> Self {
        Self {
            index,
            id,
            kind: "function",
            function: Function {
                name: call.name,
                arguments: call.arguments,
            },
        }
    }
}

/// Names a call: letters and digits, others for other calls.
fn call_id(answer: &str, choice: usize, call: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (answer, choice, call).hash(&mut hasher);
    let mut rest = hasher.finish();
    let digit = |_| {
        let digit = char::from_digit((rest % 36) as u32, 36).unwrap_or('0');
        rest /= 36;
        digit
    };
    (0..CALL_NAME).map(digit).collect()
}

/// Waits for all answers.
async fn whole(
    mut answers: Answers,
    head: Head,
    request: &ChatRequest,
    decoder: &Decoder,
) -> Result<Response, ApiError> {
    let count = request.options.n;
    let mut readers: Vec<Choice> = (0..count).map(|_| request.choice(decoder)).collect();
    let mut choices: Vec<WholeChoice> = (0..count).map(|index| WholeChoice::new(index, request)).collect();
    let mut usage = UsageObject::default();
    while let Some(event) = answers.next().await {
        let (index, event) = event?;
        let (Some(reader), Some(choice)) = (readers.get_mut(index), choices.get_mut(index)) else {
            continue;
        };
        let step = reader.take(event);
        if let Some(end) = &step.end {
            usage.add(end.usage, index == 0);
        }
        choice.add(step, &head.id, &decoder.tokenizer);
    }
    choices.iter_mut().for_each(WholeChoice::finish);
    Ok(json(&Completion { head, choices, usage }))
}

impl WholeChoice {
    fn new(index: usize, request: &ChatRequest) -> Self {
        Self {
            index,
            message: Message {
                role: "assistant",
                content: Some(String::new()),
                refusal: None,
                tool_calls: Vec::new(),
            },
            logprobs: request.options.logprobs().then(ChatLogprobs::default),
            finish_reason: finish_name(FinishReason::Length),
        }
    }

    fn add(&mut self, step: Step, id: &str, tokenizer: &Tokenizer) {
        if let (Some(logprobs), Some(chosen)) = (self.logprobs.as_mut(), &step.chosen) {
            logprobs.push(chosen, tokenizer);
        }
        for piece in step.pieces {
            match piece {
                Piece::Text(text) => self.message.content.get_or_insert_default().push_str(&text),
                Piece::Call(call) => {
                    let calls = &mut self.message.tool_calls;
                    calls.push(ToolCall::new(call, call_id(id, self.index, calls.len()), None));
                }
            }
        }
        if let Some(end) = step.end {
            self.finish_reason = end.reason;
        }
    }

    /// White space around calls is no content.
    fn finish(&mut self) {
        let message = &mut self.message;
        let empty = |text: &mut String| text.trim().is_empty();
        if !message.tool_calls.is_empty() {
            message.content.take_if(empty);
        }
    }
}

#[derive(Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [ChunkChoice],
    /// Null in all chunks but the last one, if the usage is asked for; else not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
}

#[derive(Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall>,
}

/// The chunks of a streamed answer.
struct ChatChunks {
    head: Head,
    tokenizer: Arc<Tokenizer>,
    choices: Vec<StreamedChoice>,
    include_usage: bool,
    usage: UsageObject,
}

struct StreamedChoice {
    reader: Choice,
    begun: bool,
    calls: usize,
}

impl ChatChunks {
    fn new(head: Head, request: &ChatRequest, decoder: &Decoder) -> Self {
        let choice = |_| StreamedChoice {
            reader: request.choice(decoder),
            begun: false,
            calls: 0,
        };
        Self {
            head,
            tokenizer: Arc::clone(&decoder.tokenizer),
            choices: (0..request.options.n).map(choice).collect(),
            include_usage: request.options.include_usage,
            usage: UsageObject::default(),
        }
    }

    fn write(&self, choices: &[ChunkChoice], usage: Option<UsageObject>, out: &mut EventWriter) {
        out.write(&Chunk {
            head: &self.head,
            choices,
            usage: self.include_usage.then_some(usage),
        });
    }
}

impl Chunks for ChatChunks {
    fn event(&mut self, index: usize, event: Event, out: &mut EventWriter) {
        let Some(choice) = self.choices.get_mut(index) else {
            return;
        };
        let step = choice.reader.take(event);
        let mut deltas = choice.deltas(step.pieces, &self.head.id, index);
        let logprobs = step.chosen.map(|chosen| {
            let mut logprobs = ChatLogprobs::default();
            logprobs.push(&chosen, &self.tokenizer);
            logprobs
        });
        let begins = !std::mem::replace(&mut choice.begun, true);
        if let (Some(_), true) = (&logprobs, deltas.is_empty()) {
            deltas.push(Delta {
                content: Some(String::new()),
                ..Delta::default()
            });
        }
        let chunk = |delta, logprobs, finish_reason| ChunkChoice {
            index,
            delta,
            logprobs,
            finish_reason,
        };
        let role = Delta {
            role: Some("assistant"),
            content: Some(String::new()),
            ..Delta::default()
        };
        let mut chunks: Vec<ChunkChoice> = begins.then(|| chunk(role, None, None)).into_iter().collect();
        let mut logprobs = logprobs;
        chunks.extend(
            deltas
                .into_iter()
                .map(|delta| chunk(delta, logprobs.take(), None)),
        );
        if let Some(end) = step.end {
            self.usage.add(end.usage, index == 0);
            chunks.push(chunk(Delta::default(), None, Some(end.reason)));
        }
        for chunk in chunks {
            self.write(&[chunk], None, out);
        }
    }

    fn end(&mut self, out: &mut EventWriter) {
        if self.include_usage {
            self.write(&[], Some(self.usage), out);
        }
    }
}

impl StreamedChoice {
    fn deltas(&mut self, pieces: Vec<Piece>, id: &str, index: usize) -> Vec<Delta> {
        let delta = |piece| match piece {
            Piece::Text(text) => Delta {
                content: Some(text),
                ..Delta::default()
            },
            Piece::Call(call) => {
                let id = call_id(id, index, self.calls);
                let call = ToolCall::new(call, id, Some(self.calls));
                self.calls += 1;
                Delta {
                    tool_calls: vec![call],
                    ..Delta::default()
                }
            }
        };
        pieces.into_iter().map(delta).collect()
    }
}
