//! `POST /v1/chat/completions`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use liquid_decoder::{Event, FinishReason, Tokenizer};
use serde::Serialize;

use super::answers::Answers;
use super::calls::{CallParser, Marks, Piece};
use super::conversation;
use super::error::ApiError;
use super::fields::Fields;
use super::logprobs::{ChatLogprobs, Chosen};
use super::options::{Limit, Options};
use super::reply::{Choice, Reply};
use super::{Gateway, Head, finish_name, with_name};
use crate::runtime::Decoder;

/// Fields that change the answer and are not served.
const UNSUPPORTED: [&str; 4] = ["audio", "continue_final_message", "function_call", "functions"];

/// Characters of a call's name, as many as Mistral's templates want.
const CALL_NAME: usize = 9;

/// Who answers.
const ROLE: &str = "assistant";

/// A request that is read.
struct ChatRequest {
    options: Options,
    prompt: Vec<u32>,
    /// Names of the tools that may be called.
    tools: Vec<String>,
}

pub(super) async fn answer(
    State(gateway): State<Gateway>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (admitted, request) = gateway.open(&headers, body, ChatRequest::read).await?;
    let decoder = Arc::clone(&admitted.decoder);
    let options = &request.options;
    let id = format!("chatcmpl-{}", gateway.0.names.next());
    let requests = options.requests(&request.prompt, decoder.context_tokens);
    let answers = Answers::submit(&gateway, admitted, requests, "messages").await?;
    let object = match options.stream {
        true => "chat.completion.chunk",
        false => "chat.completion",
    };
    let choices = (0..options.n).map(|index| request.choice(index, &id, &decoder));
    let reply = Reply::new(Head::new(&id, object, &decoder), choices.collect(), options);
    Ok(with_name(reply.respond(answers).await?, &id))
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

    fn choice(&self, index: usize, id: &str, decoder: &Decoder) -> ChatChoice {
        let parser = (!self.tools.is_empty()).then(|| CallParser::new(self.tools.clone()));
        ChatChoice {
            index,
            id: id.to_owned(),
            tokenizer: Arc::clone(&decoder.tokenizer),
            marks: match parser {
                Some(_) => Marks::of(&decoder.tokenizer),
                None => Marks::default(),
            },
            parser,
            logprobs: self.options.logprobs(),
            begun: false,
            calls: 0,
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
struct ChatChoice {
    index: usize,
    /// Name of the answer, of which the names of calls are made.
    id: String,
    tokenizer: Arc<Tokenizer>,
    /// None where no tool may be called.
    parser: Option<CallParser>,
    marks: Marks,
    logprobs: bool,
    /// Whether the chunk with the role is out.
    begun: bool,
    /// Calls so far.
    calls: usize,
}

#[derive(Serialize)]
struct ChatChunk {
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

impl Choice for ChatChoice {
    type Chunk = ChatChunk;
    type Whole = WholeChoice;

    fn read(&mut self, event: Event) -> Vec<ChatChunk> {
        let mut chunks = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            chunks.push(self.chunk(Delta {
                role: Some(ROLE),
                ..Delta::text(String::new())
            }));
        }
        match event {
            Event::Token {
                token,
                text,
                logprob,
                top,
            } => {
                let text = format!("{text}{}", self.marks.text(token).unwrap_or_default());
                let mut read: Vec<ChatChunk> = self.read_text(text);
                if self.logprobs {
                    let chosen = Chosen { token, logprob, top };
                    // Where the token has no text of its own, its logarithm needs a chunk.
                    if read.is_empty() {
                        read.push(self.chunk(Delta::text(String::new())));
                    }
                    if let Some(first) = read.first_mut() {
                        let logprobs = first.logprobs.get_or_insert_default();
                        logprobs.push(&chosen, &self.tokenizer);
                    }
                }
                chunks.append(&mut read);
            }
            Event::Finished { text, reason, .. } => {
                chunks.append(&mut self.read_text(text));
                let rest = self.parser.take().map(CallParser::finish).unwrap_or_default();
                chunks.extend(rest.into_iter().map(|piece| self.piece(piece)));
                chunks.push(ChatChunk {
                    finish_reason: Some(match reason {
                        FinishReason::Stop if self.calls > 0 => "tool_calls",
                        other => finish_name(other),
                    }),
                    ..self.chunk(Delta::default())
                });
            }
        }
        chunks
    }

    fn begin(&self) -> WholeChoice {
        WholeChoice {
            index: self.index,
            message: Message {
                role: ROLE,
                content: Some(String::new()),
                refusal: None,
                tool_calls: Vec::new(),
            },
            logprobs: self.logprobs.then(ChatLogprobs::default),
            finish_reason: finish_name(FinishReason::Length),
        }
    }

    fn add(whole: &mut WholeChoice, chunk: ChatChunk) {
        let message = &mut whole.message;
        if let Some(text) = chunk.delta.content {
            message.content.get_or_insert_default().push_str(&text);
        }
        let calls = chunk.delta.tool_calls.into_iter();
        message
            .tool_calls
            .extend(calls.map(|call| ToolCall { index: None, ..call }));
        if let (Some(all), Some(more)) = (whole.logprobs.as_mut(), chunk.logprobs) {
            all.append(more);
        }
        whole.finish_reason = chunk.finish_reason.unwrap_or(whole.finish_reason);
    }

    /// White space around calls is no content.
    fn finish(whole: &mut WholeChoice) {
        let message = &mut whole.message;
        let empty = |text: &mut String| text.trim().is_empty();
        if !message.tool_calls.is_empty() {
            message.content.take_if(empty);
        }
    }
}

impl ChatChoice {
    fn chunk(&self, delta: Delta) -> ChatChunk {
        ChatChunk {
            index: self.index,
            delta,
            logprobs: None,
            finish_reason: None,
        }
    }

    fn read_text(&mut self, text: String) -> Vec<ChatChunk> {
        let pieces = match self.parser.as_mut() {
            Some(parser) => parser.push(&text),
            None if text.is_empty() => Vec::new(),
            None => vec![Piece::Text(text)],
        };
        pieces.into_iter().map(|piece| self.piece(piece)).collect()
    }

    fn piece(&mut self, piece: Piece) -> ChatChunk {
        let delta = match piece {
            Piece::Text(text) => Delta::text(text),
            Piece::Call(call) => {
                let number = self.calls;
                self.calls += 1;
                let call = ToolCall {
                    index: Some(number),
                    id: call_id(&self.id, self.index, number),
                    kind: "function",
                    function: Function {
                        name: call.name,
                        arguments: call.arguments,
                    },
                };
                Delta {
                    tool_calls: vec![call],
                    ..Delta::default()
                }
            }
        };
        self.chunk(delta)
    }
}

impl Delta {
    fn text(text: String) -> Self {
        Self {
            content: Some(text),
            ..Self::default()
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
