//! Reads an answer that is whole: a question of the model's to us, or the application's answer, without our tool in it
//! and with the usage of all rounds.

use bytes::Bytes;
use serde_json::{Value, json};

use super::tool::name_of;
use super::{Question, Turn, usage};
use crate::api::Wire;

/// What an answer is.
#[derive(Debug)]
pub enum Answer {
    /// The model asks for more, and nothing of the application.
    Asks(Turn),
    /// The answer is the application's.
    Final(Final),
}

/// An answer for the application.
#[derive(Debug, PartialEq, Eq)]
pub struct Final {
    /// The body, where it is not the upstream's.
    pub body: Option<Bytes>,
    /// Questions that are taken out of it.
    pub dropped: usize,
}

/// How an answer is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) wire: Wire,
    /// Our tool's name.
    pub(super) tool: &'a str,
    /// Whether a question is answered.
    pub(super) may_ask: bool,
}

/// What an output item may be that asks nothing of the application.
const ANSWERED_ITEMS: [&str; 8] = [
    "message",
    "reasoning",
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
];

impl Answer {
    /// Reads an answer. `before` is the usage of the rounds before, to which that of a question is added.
    pub(super) fn read(context: Context<'_>, body: &[u8], before: &mut Value) -> Self {
        let same = Self::Final(Final {
            body: None,
            dropped: 0,
        });
        let parsed = serde_json::from_slice::<Value>(body).ok();
        let Some(mut answer) = parsed.filter(Value::is_object) else {
            return same;
        };
        if context.asks(&answer) {
            usage::add(before, &answer["usage"]);
            let questions = context.questions(&answer);
            return Self::Asks(Turn {
                said: context.said(answer),
                questions,
            });
        }
        let dropped = context.questions(&answer).len();
        if dropped > 0 {
            context.drop_questions(&mut answer);
        }
        let echoes = context.drop_echo(&mut answer);
        if dropped == 0 && before.is_null() && !echoes {
            return same;
        }
        if !before.is_null() {
            usage::add(&mut answer["usage"], before);
        }
        Self::Final(Final {
            body: Some(answer.to_string().into()),
            dropped,
        })
    }
}

impl Context<'_> {
    /// Returns where an answer lists what the model says and calls.
    fn path(&self) -> &'static str {
        match self.wire {
            Wire::Chat | Wire::Completions => "/choices/0/message/tool_calls",
            Wire::Messages => "/content",
            Wire::Responses => "/output",
        }
    }

    fn listed<'v>(&self, answer: &'v Value) -> &'v [Value] {
        let listed = answer.pointer(self.path()).and_then(Value::as_array);
        listed.map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns whether an element of the list calls our tool.
    pub(super) fn is_ours(&self, element: &Value) -> bool {
        let is_call = match self.wire {
            Wire::Chat | Wire::Completions => true,
            Wire::Messages => element["type"] == "tool_use",
            Wire::Responses => element["type"] == "function_call",
        };
        is_call && name_of(element) == Some(self.tool)
    }

    /// Returns whether an element of the list asks something of the application.
    fn is_theirs(&self, element: &Value) -> bool {
        let kind = element["type"].as_str().unwrap_or_default();
        !self.is_ours(element)
            && match self.wire {
                Wire::Chat | Wire::Completions => true,
                Wire::Messages => kind == "tool_use",
                Wire::Responses => !ANSWERED_ITEMS.contains(&kind),
            }
    }

    /// Returns whether the answer is questions to us, and nothing that the application has to answer.
    pub(super) fn asks(&self, answer: &Value) -> bool {
        let listed = self.listed(answer);
        let is_alone = listed.iter().any(|element| self.is_ours(element))
            && !listed.iter().any(|element| self.is_theirs(element));
        self.may_ask && is_alone && self.ends_with_calls(answer)
    }

    /// Returns whether the model has ended its turn, so that what it calls is all there.
    fn ends_with_calls(&self, answer: &Value) -> bool {
        let text = |path| answer.pointer(path).and_then(Value::as_str).unwrap_or_default();
        match self.wire {
            Wire::Chat | Wire::Completions => {
                answer["choices"]
                    .as_array()
                    .is_some_and(|choices| choices.len() == 1)
                    && is_end_of_turn(text("/choices/0/finish_reason"))
            }
            Wire::Messages => is_end_of_turn(text("/stop_reason")),
            Wire::Responses => text("/status") == "completed",
        }
    }

    pub(super) fn questions(&self, answer: &Value) -> Vec<Question> {
        let ours = self.listed(answer).iter().filter(|element| self.is_ours(element));
        ours.map(|call| {
            let (id, arguments) = match self.wire {
                Wire::Chat | Wire::Completions => (&call["id"], &call["function"]["arguments"]),
                Wire::Messages => (&call["id"], &call["input"]),
                Wire::Responses => (&call["call_id"], &call["arguments"]),
            };
            Question {
                id: id.as_str().unwrap_or_default().to_owned(),
                arguments: arguments
                    .as_str()
                    .map_or_else(|| arguments.to_string(), str::to_owned),
            }
        })
        .collect()
    }

    /// Returns what the model said as it is sent back to it.
    pub(super) fn said(&self, mut answer: Value) -> Vec<Value> {
        match self.wire {
            Wire::Chat | Wire::Completions => {
                let message = answer.pointer_mut("/choices/0/message").map(Value::take);
                vec![sent_back(message.unwrap_or_default())]
            }
            Wire::Messages => {
                let content = answer["content"].take();
                vec![assistant(content)]
            }
            Wire::Responses => {
                let stays = answer["store"] != false;
                let items = answer["output"].take();
                let items = items.as_array().into_iter().flatten().cloned();
                items.filter_map(|item| item_sent_back(item, stays)).collect()
            }
        }
    }

    /// Takes our calls out of an answer.
    pub(super) fn drop_questions(&self, answer: &mut Value) {
        if let Some(listed) = answer.pointer_mut(self.path()).and_then(Value::as_array_mut) {
            listed.retain(|element| !self.is_ours(element));
        }
        let is_theirs = self.listed(answer).iter().any(|element| self.is_theirs(element));
        match self.wire {
            Wire::Chat | Wire::Completions if !is_theirs => {
                let Some(choice) = answer.pointer_mut("/choices/0") else {
                    return;
                };
                if choice["finish_reason"] == "tool_calls" {
                    choice["finish_reason"] = "stop".into();
                }
                if let Some(message) = choice["message"].as_object_mut() {
                    message.remove("tool_calls");
                    let content = message.entry("content").or_insert_with(|| "".into());
                    if content.is_null() {
                        *content = "".into();
                    }
                }
            }
            Wire::Messages if !is_theirs && answer["stop_reason"] == "tool_use" => {
                answer["stop_reason"] = "end_turn".into();
            }
            _ => {}
        }
    }

    /// Takes our tool out of the request's tools that an answer repeats; returns whether it was there.
    pub(super) fn drop_echo(&self, answer: &mut Value) -> bool {
        let echoed = (self.wire == Wire::Responses).then(|| answer.get_mut("tools")?.as_array_mut());
        let Some(tools) = echoed.flatten() else {
            return false;
        };
        let before = tools.len();
        tools.retain(|tool| name_of(tool) != Some(self.tool));
        tools.len() < before
    }
}

/// Returns whether a `finish_reason` or `stop_reason` says that the model has said all it wanted to say. Some servers
/// say `stop` where they call, and some nothing.
pub(super) fn is_end_of_turn(reason: &str) -> bool {
    matches!(reason, "tool_calls" | "stop" | "tool_use" | "end_turn" | "")
}

/// Returns a chat message without what a request does not take.
pub(super) fn sent_back(mut message: Value) -> Value {
    if let Some(fields) = message.as_object_mut() {
        fields.retain(|name, value| name == "content" || !value.is_null());
        for answer_only in ["annotations", "audio", "refusal"] {
            fields.remove(answer_only);
        }
    }
    message
}

/// Makes a turn of the model's of content blocks; a request does not take empty texts.
pub(super) fn assistant(mut content: Value) -> Value {
    if let Some(blocks) = content.as_array_mut() {
        blocks.retain(|block| block["type"] != "text" || block["text"] != "");
    }
    json!({"role": "assistant", "content": content})
}

/// Returns an output item as an input item. Where the provider does not keep items (`store: false`), an id means
/// nothing to it, and reasoning that is not in the item is gone.
fn item_sent_back(mut item: Value, is_kept: bool) -> Option<Value> {
    if is_kept {
        return Some(item);
    }
    if item["type"] == "reasoning" {
        return item["encrypted_content"].is_string().then_some(item);
    }
    if let Some(fields) = item.as_object_mut() {
        fields.remove("id");
    }
    Some(item)
}
