#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod conversations;
mod ends;
mod outputs;
mod prompts;
mod properties;
mod shapes;
mod systems;
mod templates;
mod words;

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Reading, SiteKind, read};
use crate::api::{Reason, Surface};
use crate::need::Need;
use crate::request::Request;

/// A chronicle of so many sentences, in paragraphs of six; about 15 words each.
fn chronicle(sentences: usize) -> String {
    let who = [
        "The harbour master",
        "A crew from the north quay",
        "The keeper of the light",
        "Two surveyors",
        "The rope maker",
    ];
    let did = [
        "entered the depth of the channel in the ledger",
        "mended the boom across the inner basin",
        "sold three barrels of tar",
        "counted the boats behind the breakwater",
    ];
    let mut text = String::new();
    for number in 0..sentences {
        let (who, did) = (who[number % 5], did[number % 4]);
        write!(
            text,
            "{who} {did} on the morning of day {} while the wind blew from sector {}.",
            number * 3,
            number % 16
        )
        .unwrap();
        text.push_str(if number % 6 == 5 { "\n\n" } else { " " });
    }
    text.trim_end().to_owned()
}

/// A site as a test sees it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    kind: SiteKind,
    document: String,
    passage: bool,
    keep: Option<Reason>,
}

/// A turn as a test sees it.
#[derive(Debug, Clone)]
struct SeenTurn {
    sites: Vec<Seen>,
    /// Text and weight of each ask.
    asks: Vec<(String, f32)>,
    need: Need,
    words: Option<String>,
}

impl SeenTurn {
    fn asked(&self) -> Vec<&str> {
        self.asks.iter().map(|(text, _)| text.as_str()).collect()
    }

    /// The weight with which something is asked; 0 if it is not.
    fn weight(&self, text: &str) -> f32 {
        self.asks
            .iter()
            .find(|(ask, _)| ask == text)
            .map_or(0.0, |(_, weight)| *weight)
    }

    fn document(&self) -> &str {
        match self.sites.as_slice() {
            [site] => &site.document,
            sites => panic!("{} sites: {:?}", sites.len(), self.asks),
        }
    }
}

fn see(reading: &Reading<'_>) -> Vec<SeenTurn> {
    let turns = reading.turns.iter().map(|turn| SeenTurn {
        sites: turn
            .sites
            .iter()
            .map(|site| Seen {
                kind: site.kind,
                document: site.text.as_str()[site.document.clone()].to_owned(),
                passage: site.passage,
                keep: site.keep,
            })
            .collect(),
        asks: turn
            .asks
            .iter()
            .map(|ask| (ask.text.clone(), ask.weight))
            .collect(),
        need: turn.need,
        words: turn
            .words
            .as_ref()
            .map(|words| words.text.as_str()[words.start..].to_owned()),
    });
    turns.collect()
}

fn turns_of(surface: Surface, body: &Value) -> Vec<SeenTurn> {
    let body = body.to_string();
    let request = Request::read(surface, body.as_bytes()).unwrap();
    see(&read(&request))
}

/// Reads a chat completion.
fn turns(messages: Value) -> Vec<SeenTurn> {
    turns_of(Surface::ChatCompletions, &json!({ "messages": messages }))
}

/// Reads a chat completion of one turn.
fn turn(messages: Value) -> SeenTurn {
    let mut turns = turns(messages);
    assert_eq!(turns.len(), 1);
    turns.remove(0)
}

fn say(role: &str, content: impl Into<Value>) -> Value {
    json!({"role": role, "content": content.into()})
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn call(id: &str, name: &str, arguments: Value) -> Value {
    json!({"role": "assistant", "content": null,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}}]})
}

fn result(id: &str, content: impl Into<Value>) -> Value {
    json!({"role": "tool", "tool_call_id": id, "content": content.into()})
}
