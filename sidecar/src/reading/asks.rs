//! All that is asked of a turn's documents, put together: without repetitions, the weightiest first, long lists joined so
//! that none of them is lost.

use std::collections::HashSet;

use super::phrases::only_points;
use super::speech::transforms;
use super::view::{Ask, AskSource};
use super::words::{LITTLE, Said};
use crate::need::{Need, QUESTION_MARKS};
use crate::request::AnswerField;

/// Most asks of a turn.
pub const MAX_ASKS: usize = 16;
/// Most items of one kind that are asks of their own; more are joined.
const ITEMS: usize = 12;
/// The longest ask, and the longest description of a field, in bytes.
const LONGEST: usize = 4 << 10;
const DESCRIPTION: usize = 600;
/// Weight of fields beside words of the user.
const FIELD_BESIDE: f32 = 0.7;

/// Asks as they are found.
#[derive(Debug, Default)]
pub(super) struct Asks {
    asks: Vec<Ask>,
}

impl Asks {
    /// Adds words that ask; those of a long list in groups.
    pub(super) fn say(&mut self, said: &[Said]) {
        let (items, others): (Vec<_>, Vec<_>) =
            said.iter().partition(|said| said.source == AskSource::Numbered);
        for said in others {
            self.add(&said.text, said.weight, said.source);
        }
        let weight = |items: &[&Said]| items.iter().map(|said| said.weight).fold(0.0, f32::max);
        for group in items.chunks(items.len().div_ceil(ITEMS).max(1)) {
            let texts: Vec<_> = group.iter().map(|said| said.text.as_str()).collect();
            self.add(&texts.join("\n"), weight(group), AskSource::Numbered);
        }
    }

    /// Adds something that is asked.
    pub(super) fn add(&mut self, text: &str, weight: f32, source: AskSource) {
        let text = clip(text, LONGEST);
        if text.contains(char::is_alphanumeric) {
            self.asks.push(Ask {
                text: text.to_owned(),
                weight: weight.clamp(0.01, 1.0),
                source,
            });
        }
    }

    /// Adds the fields that the answer must have: what is asked where the user asks nothing.
    pub(super) fn add_fields(&mut self, fields: &[AnswerField]) {
        let (whole, fields): (Vec<_>, Vec<_>) = fields.iter().partition(|field| field.name.is_empty());
        let fields: Vec<_> = fields.into_iter().filter_map(ask_of_field).collect();
        if fields.is_empty() {
            // What a schema says of the answer as a whole is often generated, and asks little.
            for answer in whole {
                self.add(&answer.description, LITTLE, AskSource::Field);
            }
            return;
        }
        let asks = |ask: &Ask| {
            let words = ask.source.is_said_now() || ask.source == AskSource::Goal;
            let labelled = matches!(ask.source, AskSource::Label | AskSource::Numbered);
            words && ask.weight > LITTLE && (labelled || ask.text.contains(QUESTION_MARKS))
        };
        let asked = self.asks.iter().any(asks);
        if !asked {
            // Orders of a template: "Extract the terms."
            for ask in &mut self.asks {
                let ordered = matches!(ask.source, AskSource::Words | AskSource::Task);
                if ordered && !transforms(&ask.text) {
                    ask.weight = ask.weight.min(LITTLE);
                }
            }
        }
        for group in fields.chunks(fields.len().div_ceil(ITEMS).max(1)) {
            self.asks.push(Ask {
                text: group.join("\n"),
                weight: if asked { FIELD_BESIDE } else { 1.0 },
                source: AskSource::Field,
            });
        }
    }

    /// Returns true if the model said before its call what it looks for: something that passages answer.
    pub(super) fn said_to_look_up(&self) -> bool {
        let mut said = self.asks.iter().filter(|ask| ask.source == AskSource::Said);
        said.any(|ask| matches!(ask.need(), Need::Evidence | Need::Aspect))
    }

    /// Returns true if there is an ask of such a source that counts.
    pub(super) fn has(&self, source: impl Fn(AskSource) -> bool) -> bool {
        self.asks
            .iter()
            .any(|ask| ask.weight > LITTLE && source(ask.source))
    }

    /// Returns the asks: each once, the weightiest first, at most [`MAX_ASKS`]. Words that count little are asked in
    /// earnest if there are no others.
    pub(super) fn finish(mut self) -> Vec<Ask> {
        self.asks
            .sort_by(|one, other| other.weight.total_cmp(&one.weight));
        let mut known = HashSet::new();
        self.asks.retain(|ask| {
            let words: Vec<_> = ask.text.split_whitespace().collect();
            known.insert(words.join(" ").to_lowercase())
        });
        self.asks.truncate(MAX_ASKS);
        let most = self.asks.first().map_or(1.0, |ask| ask.weight);
        if most <= LITTLE {
            for ask in &mut self.asks {
                ask.weight = (ask.weight / most).min(1.0);
            }
        }
        self.asks
    }
}

/// Names of fields that say nothing of what they are to hold.
#[rustfmt::skip]
const BARE_NAMES: &[&str] = &[
    "answer", "answers", "response", "responses", "reasoning", "explanation", "summary", "result", "results", "output", "confidence", "citation",
    "citations", "source", "sources", "quote", "quotes", "rationale", "thought", "thoughts", "text", "content", "message", "reply", "value", "values",
    "reason", "page", "pages", "page number", "verdict", "justification", "evidence", "comment", "note", "notes", "name", "type", "id", "data", "items", "fields", "score", "completed", "steps", "final answer", "antwort", "réponse", "respuesta",
];

/// Names that say nothing beside a description.
#[rustfmt::skip]
const GENERAL_NAMES: &[&str] = &[
    "finding", "findings", "conclusion", "conclusions", "decision", "outcome", "assessment", "analysis", "detail", "details", "information", "info",
    "fact", "facts", "excerpt", "excerpts", "passage", "passages", "statement", "observation", "observations", "remark", "remarks", "ergebnis", "befund",
    "begründung", "résultat", "constat", "resultado", "hallazgo", "risultato",
];

/// Words a field: its name with spaces, and its description.
pub(super) fn ask_of_field(field: &AnswerField) -> Option<String> {
    let mut name = String::with_capacity(field.name.len());
    let mut before = ' ';
    for c in field.name.chars() {
        if before.is_lowercase() && c.is_uppercase() {
            name.push(' ');
        }
        name.extend(if "_-.".contains(c) { ' ' } else { c }.to_lowercase());
        before = c;
    }
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    let description = clip(&field.description, DESCRIPTION);
    let bare = BARE_NAMES.contains(&name.as_str());
    let says_nothing = bare || (!description.is_empty() && GENERAL_NAMES.contains(&name.as_str()));
    match (says_nothing, description.is_empty()) {
        (true, true) => None,
        (true, false) => Some(description.to_owned()).filter(|text| !only_points(text)),
        (false, true) => Some(name),
        (false, false) => Some(format!("{name}: {description}")),
    }
}

/// Returns the start of a text, without white space at its ends.
pub(super) fn clip(text: &str, length: usize) -> &str {
    let text = text.trim();
    text[..text.floor_char_boundary(length.min(text.len()))].trim_end()
}
