//! Streams of Responses events as one: one `response.created`, events and output items numbered on, and an end that holds
//! the items that the client got of all streams, with the usage of all.
//!
//! All events have one response's id, as clients insist on it. `response.created` waits for the first item that the client
//! gets: where the model asks at once, the id is the last response's, whose input is the whole conversation, so that a
//! later request can follow on it.

use bytes::BytesMut;
use serde_json::Value;

use super::{Splice, pass, write};
use crate::api::Wire;
use crate::retrieval::answer::Context;
use crate::retrieval::{Turn, usage};
use crate::sse::Event;

#[derive(Debug)]
pub(super) struct ResponsesSplice {
    tool: String,
    may_ask: bool,
    /// Questions that were dropped.
    dropped: usize,
    /// The number of the next event that the client gets.
    next_event: u64,
    /// The items that the client got of the streams before.
    shown: Vec<Value>,
    /// The usage of the streams before.
    before: Value,
    /// The response's id for the client, once it has been said.
    id: Option<Value>,
    stream: Stream,
}

/// The state of one stream.
#[derive(Debug, Default)]
struct Stream {
    /// Events before the first item: that the response was created, is queued, is in progress.
    opening: Vec<(Vec<u8>, Value)>,
    items: Vec<Item>,
    /// What was asked, once the stream has ended with questions to us and nothing else.
    turn: Option<Turn>,
    usage: Value,
}

/// An output item.
#[derive(Debug)]
struct Item {
    /// Its number in its stream.
    index: u64,
    /// Its number for the client; none for a question to us.
    shown: Option<u64>,
    /// The item, as it was last said to be.
    value: Value,
}

impl ResponsesSplice {
    pub(super) fn new(tool: String, may_ask: bool) -> Self {
        Self {
            tool,
            may_ask,
            dropped: 0,
            next_event: 0,
            shown: Vec::new(),
            before: Value::Null,
            id: None,
            stream: Stream::default(),
        }
    }
}

impl Splice for ResponsesSplice {
    fn asks(&self) -> bool {
        self.stream.turn.is_some()
    }

    fn is_over(&self) -> bool {
        self.asks()
    }

    fn event(&mut self, event: Event<'_>, out: &mut BytesMut) {
        let Ok(mut data) = serde_json::from_slice::<Value>(event.data) else {
            // The end as chat completions have it, which some servers send here too.
            if !self.asks() {
                pass(event, out);
            }
            return;
        };
        let kind = data["type"].as_str().unwrap_or_default().to_owned();
        let (changed, shows) = match kind.as_str() {
            "response.created" | "response.queued" | "response.in_progress" => {
                self.drop_echo(&mut data["response"]);
                self.stream.opening.push((event.name.to_vec(), data));
                return;
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                (true, self.end(&mut data["response"]))
            }
            "response.output_item.added" => {
                self.add(&data);
                self.renumber(&mut data)
            }
            "response.output_item.done" => {
                self.stream.note(&data);
                self.renumber(&mut data)
            }
            _ => self.renumber(&mut data),
        };
        if shows {
            self.open(out);
            self.show(event, data, changed, out);
        }
    }

    fn take_turn(&mut self) -> Option<Turn> {
        let turn = self.stream.turn.take()?;
        let stream = std::mem::take(&mut self.stream);
        usage::add(&mut self.before, &stream.usage);
        let shown = stream.items.into_iter().filter(|item| item.shown.is_some());
        self.shown.extend(shown.map(|item| item.value));
        Some(turn)
    }

    fn set_may_ask(&mut self, may_ask: bool) {
        self.may_ask = may_ask;
    }

    fn take_dropped(&mut self) -> usize {
        std::mem::take(&mut self.dropped)
    }
}

impl ResponsesSplice {
    /// Writes what stands before the first item, once in all streams.
    fn open(&mut self, out: &mut BytesMut) {
        let opening = std::mem::take(&mut self.stream.opening);
        if self.id.is_some() {
            return;
        }
        for (name, data) in opening {
            self.id.get_or_insert_with(|| data["response"]["id"].clone());
            let event = Event {
                name: &name,
                data: &[],
            };
            self.show(event, data, true, out);
        }
    }

    /// Writes an event with its number for the client.
    fn show(&mut self, event: Event<'_>, mut data: Value, mut changed: bool, out: &mut BytesMut) {
        if let Some(number) = data["sequence_number"].as_u64() {
            if number != self.next_event {
                data["sequence_number"] = self.next_event.into();
                changed = true;
            }
            self.next_event += 1;
        }
        write(event, &data, changed, out);
    }

    fn context(&self) -> Context<'_> {
        Context {
            wire: Wire::Responses,
            tool: &self.tool,
            may_ask: self.may_ask,
        }
    }

    fn drop_echo(&self, response: &mut Value) {
        if response.is_object() {
            self.context().drop_echo(response);
        }
    }

    fn add(&mut self, data: &Value) {
        let value = data["item"].clone();
        let shown_here = self
            .stream
            .items
            .iter()
            .filter(|item| item.shown.is_some())
            .count();
        let number = self.shown.len() + shown_here;
        self.stream.items.push(Item {
            index: data["output_index"].as_u64().unwrap_or(0),
            shown: (!self.context().is_ours(&value)).then_some(number as u64),
            value,
        });
    }

    /// Gives an event of an item the item's number for the client; returns whether that is another one, and whether the
    /// client gets it.
    fn renumber(&self, data: &mut Value) -> (bool, bool) {
        let Some(index) = data["output_index"].as_u64() else {
            return (false, true);
        };
        let Some(item) = self.stream.items.iter().rfind(|item| item.index == index) else {
            return (false, true);
        };
        match item.shown {
            None => (false, false),
            Some(shown) if shown == index => (false, true),
            Some(shown) => {
                data["output_index"] = shown.into();
                (true, true)
            }
        }
    }

    /// Reads the end of a stream; returns whether the client gets it.
    fn end(&mut self, response: &mut Value) -> bool {
        if !response.is_object() {
            return true;
        }
        let items = self.stream.items.iter().map(|item| item.value.clone());
        let is_told = response["output"]
            .as_array()
            .is_some_and(|items| !items.is_empty());
        if !is_told {
            response["output"] = items.collect();
        }
        let context = self.context();
        if context.asks(response) {
            let questions = context.questions(response);
            let said = context.said(response.clone());
            self.stream.usage = response["usage"].take();
            self.stream.turn = Some(Turn { said, questions });
            return false;
        }
        if let Some(id) = &self.id {
            response["id"] = id.clone();
        }
        let dropped = context.questions(response).len();
        context.drop_questions(response);
        context.drop_echo(response);
        self.dropped += dropped;
        if let Some(output) = response["output"].as_array_mut() {
            output.splice(..0, self.shown.drain(..));
        }
        if self.before.is_object() {
            usage::add(&mut response["usage"], &self.before);
        }
        true
    }
}

impl Stream {
    /// Takes an item as it is at its end.
    fn note(&mut self, data: &Value) {
        let index = data["output_index"].as_u64().unwrap_or(0);
        if let Some(item) = self.items.iter_mut().rfind(|item| item.index == index) {
            item.value = data["item"].clone();
        }
    }
}
