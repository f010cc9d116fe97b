//! Calls of tools in the text of an answer, in the forms that the served families are trained on:
//!
//! | family | form |
//! |---|---|
//! | Qwen, Hermes, SmolLM2 | `<tool_call>{"name": .., "arguments": {..}}</tool_call>`, a list within it too |
//! | Mistral | `[TOOL_CALLS][{"name": .., "arguments": {..}}]`, or `[TOOL_CALLS]name[ARGS]{..}` |
//! | Llama | the whole answer is `{"name": .., "parameters": {..}}`, several apart by `;` |
//!
//! What is not in one of them stays text, word for word. Linear in the text, in whatever pieces it comes.

use liquid_decoder::Tokenizer;
use memchr::memmem;
use serde_json::{Map, Value};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";
const MISTRAL: &str = "[TOOL_CALLS]";
const ARGUMENTS: &str = "[ARGS]";
const CALL_ID: &str = "[CALL_ID]";
const MARKS: [&str; 5] = [OPEN, CLOSE, MISTRAL, ARGUMENTS, CALL_ID];

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: String,
    /// The arguments, JSON.
    pub(super) arguments: String,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Call(Call),
}

/// The marks that are special tokens of a tokenizer, whose text an answer does not have.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks(Vec<(u32, &'static str)>);

impl Marks {
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let special = |mark: &&'static str| {
            let token = tokenizer.token(mark)?;
            tokenizer.bytes(token).is_none().then_some((token, *mark))
        };
        Self(MARKS.iter().filter_map(special).collect())
    }

    /// Returns the text of a token that is a mark.
    pub(super) fn text(&self, token: u32) -> Option<&'static str> {
        let found = self.0.iter().find(|(mark, _)| *mark == token)?;
        Some(found.1)
    }
}

/// Where the text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first character that is no space.
    Start,
    Text,
    /// Behind [`OPEN`].
    Hermes,
    /// Behind [`MISTRAL`].
    Mistral,
    /// Behind the first character, which is a brace.
    Bare,
}

/// Reads calls out of a text that comes in pieces.
#[derive(Clone, Debug)]
pub(super) struct CallParser {
    state: State,
    /// Text that is not decided yet.
    held: String,
    /// Bytes of it in which the end was looked for already.
    searched: usize,
    /// Names of the tools: what is marked by nothing is a call only of one of them.
    tools: Vec<String>,
}

impl CallParser {
    pub(super) fn new(tools: Vec<String>) -> Self {
        Self {
            state: State::Start,
            held: String::new(),
            searched: 0,
            tools,
        }
    }

    /// Takes a piece of text; returns what is decided now.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut pieces = Vec::new();
        while self.step(&mut pieces) {}
        pieces
    }

    /// Ends the text.
    pub(super) fn finish(mut self) -> Vec<Piece> {
        let held = std::mem::take(&mut self.held);
        let calls = match self.state {
            State::Start | State::Text => None,
            State::Hermes => parse_values(&held),
            State::Mistral => parse_mistral(&held),
            State::Bare => parse_bare(&held, &self.tools),
        };
        let mark = match self.state {
            State::Hermes => OPEN,
            State::Mistral => MISTRAL,
            _ => "",
        };
        or_text(calls, || format!("{mark}{held}"))
    }

    /// Decides a part of what is held; returns whether there may be another one.
    fn step(&mut self, pieces: &mut Vec<Piece>) -> bool {
        match self.state {
            State::Start => match self.held.trim_start().chars().next() {
                None => false,
                Some(first) => {
                    self.state = if first == '{' { State::Bare } else { State::Text };
                    true
                }
            },
            State::Text => self.step_text(pieces),
            State::Hermes => self.step_call(pieces),
            State::Mistral | State::Bare => false,
        }
    }

    /// Gives out text up to a mark, or up to what may be the beginning of one.
    fn step_text(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let marks = [(OPEN, State::Hermes), (MISTRAL, State::Mistral)];
        let places = marks
            .iter()
            .filter_map(|(mark, state)| Some((self.held.find(mark)?, *mark, *state)));
        if let Some((place, mark, state)) = places.min_by_key(|(place, ..)| *place) {
            let rest = self.held.split_off(place + mark.len());
            self.held.truncate(place);
            give_text(std::mem::replace(&mut self.held, rest), pieces);
            (self.state, self.searched) = (state, 0);
            return true;
        }
        let kept = marks.iter().map(|(mark, _)| overlap(&self.held, mark)).max();
        let rest = self
            .held
            .split_off(self.held.len() - kept.unwrap_or(0).min(self.held.len()));
        give_text(std::mem::replace(&mut self.held, rest), pieces);
        false
    }

    fn step_call(&mut self, pieces: &mut Vec<Piece>) -> bool {
        let unsearched = self.held.as_bytes().get(self.searched..).unwrap_or_default();
        let Some(place) = memmem::find(unsearched, CLOSE.as_bytes()) else {
            self.searched = self.held.len().saturating_sub(CLOSE.len() - 1);
            return false;
        };
        let place = self.searched + place;
        let rest = self.held.split_off(place + CLOSE.len());
        let held = std::mem::replace(&mut self.held, rest);
        let body = held.get(..place).unwrap_or_default();
        pieces.extend(or_text(parse_values(body), || format!("{OPEN}{held}")));
        self.state = State::Text;
        true
    }
}

fn give_text(text: String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
}

fn or_text(calls: Option<Vec<Call>>, text: impl FnOnce() -> String) -> Vec<Piece> {
    match calls {
        Some(calls) => calls.into_iter().map(Piece::Call).collect(),
        None => {
            let mut pieces = Vec::new();
            give_text(text(), &mut pieces);
            pieces
        }
    }
}

/// Returns how many bytes at the end of a text are the beginning of a mark.
fn overlap(text: &str, mark: &str) -> usize {
    let most = mark.len().min(text.len() + 1) - 1;
    let ends = |count: &usize| {
        text.as_bytes()
            .ends_with(mark.as_bytes().get(..*count).unwrap_or_default())
    };
    (1..=most).rev().find(ends).unwrap_or(0)
}

/// Reads one call or a list of calls.
fn parse_values(text: &str) -> Option<Vec<Call>> {
    match serde_json::from_str(text.trim()).ok()? {
        Value::Array(items) if !items.is_empty() => items.iter().map(parse_object).collect(),
        value => Some(vec![parse_object(&value)?]),
    }
}

fn parse_object(value: &Value) -> Option<Call> {
    let object = value.as_object()?;
    // Some write the form of the API that they were shown.
    let object = object
        .get("function")
        .and_then(Value::as_object)
        .unwrap_or(object);
    let name = object.get("name")?.as_str()?;
    let arguments = object.get("arguments").or_else(|| object.get("parameters"));
    call(name, arguments.unwrap_or(&Value::Object(Map::new())))
}

fn call(name: &str, arguments: &Value) -> Option<Call> {
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        object @ Value::Object(_) => object.to_string(),
        _ => return None,
    };
    Some(Call {
        name: name.to_owned(),
        arguments,
    })
}

/// Reads what follows Mistral's mark.
fn parse_mistral(text: &str) -> Option<Vec<Call>> {
    let one = |text: &str| match parse_values(text) {
        Some(calls) => Some(calls),
        None => {
            let brace = text.find('{')?;
            let (name, arguments) = text.split_at_checked(brace)?;
            let end = [ARGUMENTS, CALL_ID]
                .iter()
                .filter_map(|mark| name.find(mark))
                .min();
            let name = name.get(..end.unwrap_or(name.len()))?.trim();
            let arguments: Value = serde_json::from_str(arguments.trim()).ok()?;
            (!name.is_empty()).then_some(())?;
            Some(vec![call(name, &arguments)?])
        }
    };
    let calls: Option<Vec<Vec<Call>>> = text.split(MISTRAL).map(one).collect();
    Some(calls?.concat())
}

/// Reads an answer that is nothing but calls.
fn parse_bare(text: &str, tools: &[String]) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let call = parse_object(&values.next()?.ok()?)?;
        tools.contains(&call.name).then_some(())?;
        calls.push(call);
        let read = values.byte_offset();
        rest = rest
            .get(read..)?
            .trim_start_matches(|c: char| c == ';' || c.is_whitespace());
    }
    (!calls.is_empty()).then_some(calls)
}

#[cfg(test)]
mod tests;
