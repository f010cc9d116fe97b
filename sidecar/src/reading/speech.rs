//! How a short text reads: whether it asks, rules, or is a document's; by its form, and by the trained model, which
//! knows more languages.

use super::phrases::asks;
use super::split::{is_laid_out, is_persona, is_rule, is_ruling, label_of_question, orders};
use crate::need::{Need, Speech, speech};

/// Probability from which the model's word alone makes a text a request or a document's.
const SURE: f32 = 0.6;
const CERTAIN: f32 = 0.9;
/// The longest paragraph that is a request by the model's word alone, in bytes.
const BY_MODEL: usize = 400;
/// Share of a document's sentences that the model may take for requests and still be believed about a paragraph of it.
const MISREAD: f32 = 0.3;
/// Shorter paragraphs are not judged by the model alone, in words.
const FEWEST_WORDS: usize = 3;
/// Longer paragraphs are read from their start, in bytes.
const READ: usize = 1_000;
/// Sentences that are looked at to tell a document from rules, and the most bytes of one.
const SAMPLES: usize = 24;
const SENTENCE: usize = 300;

/// Returns the text's start, as much of it as is read.
fn start(text: &str) -> &str {
    let text = text.trim();
    &text[..text.floor_char_boundary(READ.min(text.len()))]
}

/// Judges how much of a document a request needs. Made for whole requests: words torn from one are judged badly.
pub(super) fn judge(request: &str) -> Need {
    crate::need::judge(request).need
}

/// Returns true if some words of a request, however short, surely need more than passages.
pub(super) fn demands_more(words: &str) -> bool {
    surely_needs(words, &[Need::Transform, Need::Aggregate, Need::Overview])
}

/// Returns true if some words of a request, however short, surely order every word to be transformed.
pub(super) fn transforms(words: &str) -> bool {
    surely_needs(words, &[Need::Transform])
}

fn surely_needs(words: &str, needs: &[Need]) -> bool {
    let judgement = crate::need::judge(words);
    let requests = || matches!(speech(start(words)), (Speech::Request, sure) if sure >= SURE);
    judgement.confidence >= CERTAIN && needs.contains(&judgement.need) && requests()
}

/// Returns the more demanding of two needs: that by which a turn is decided.
pub(super) fn more_demanding(one: Need, other: Need) -> Need {
    let rank = |need| match need {
        Need::None => 0,
        Need::Evidence => 1,
        Need::Aspect => 2,
        Need::Overview => 3,
        Need::Aggregate => 4,
        Need::Transform => 5,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// Returns true if a paragraph asks or orders.
pub(super) fn is_request(paragraph: &str) -> bool {
    is_request_by_form(paragraph) || is_request_by_model(paragraph)
}

/// Returns true if a paragraph shows by its words that it asks or orders.
pub(super) fn is_request_by_form(paragraph: &str) -> bool {
    let text = without_list_mark(start(paragraph));
    // A line that only leads to what follows it may be the document's.
    let order = text.trim_end_matches([':', '：']);
    !text.is_empty() && (asks(text) || orders(order) || label_of_question(text).is_some())
}

/// Returns true if the model takes a paragraph for a request.
pub(super) fn is_request_by_model(paragraph: &str) -> bool {
    let text = without_list_mark(start(paragraph));
    // A title of two words, "Exhibit 3f9a", says too little to be told from an order.
    let enough = !text.is_ascii() || text.split_whitespace().nth(FEWEST_WORDS - 1).is_some();
    enough && !is_laid_out(text) && matches!(speech(text), (Speech::Request, sure) if sure >= SURE)
}

/// Tells requests from the text of one document: by their words, and by the model where that takes the document for
/// what it is.
pub(super) struct RequestReader {
    trusts_model: bool,
}

impl RequestReader {
    /// Goes by words alone.
    pub(super) const BY_FORM: Self = Self { trusts_model: false };

    /// Goes by words, and by the model about short paragraphs.
    pub(super) const TRUSTING: Self = Self { trusts_model: true };

    /// Looks at samples of a document.
    pub(super) fn for_document(document: &str) -> Self {
        let share = share_of(document, is_request_by_model);
        Self {
            trusts_model: share <= MISREAD,
        }
    }

    /// Returns true if a paragraph asks or orders, unlike its document.
    pub(super) fn is_request(&self, paragraph: &str) -> bool {
        let short = paragraph.trim().len() <= BY_MODEL;
        is_request_by_form(paragraph) || (self.trusts_model && short && is_request_by_model(paragraph))
    }

    /// Returns true for a paragraph that the model, where it knows the document for what it is, takes for no part of it.
    pub(super) fn is_unlike_document(&self, paragraph: &str) -> bool {
        let text = start(paragraph);
        self.trusts_model && !is_laid_out(text) && !matches!(speech(text), (Speech::Content, _))
    }
}

/// Returns true if a paragraph is surely a document's.
pub(super) fn is_content(paragraph: &str) -> bool {
    let text = start(paragraph);
    !asks(text) && !orders(text) && matches!(speech(text), (Speech::Content, sure) if sure >= SURE)
}

/// Returns true if a paragraph can hardly be anything but a document's.
pub(super) fn is_certainly_content(paragraph: &str) -> bool {
    is_content(paragraph) && matches!(speech(start(paragraph)), (_, sure) if sure >= CERTAIN)
}

/// Returns true for a standing instruction: a persona, a house rule.
pub(super) fn is_standing(sentence: &str) -> bool {
    let text = start(sentence);
    is_persona(text) || is_ruling(text) || matches!(speech(text), (Speech::Rule, sure) if sure >= SURE)
}

/// Returns the share of a text's sentences that order somebody, 0 to 1: of rules most, of documents few.
pub(super) fn share_of_rules(text: &str) -> f32 {
    share_of(text, |sentence| {
        let sentence = without_list_mark(sentence);
        is_rule(sentence) || matches!(speech(sentence), (Speech::Rule, sure) if sure >= SURE)
    })
}

/// Returns the share of a text's sentences of which something holds, 0 to 1. Looks at samples, evenly spaced.
fn share_of(text: &str, holds: impl Fn(&str) -> bool) -> f32 {
    let (mut found, mut all) = (0_u16, 0_u16);
    for sample in 0..SAMPLES {
        let sentence = sentence_behind(text, text.len() / SAMPLES * sample);
        if sentence.contains(char::is_alphabetic) {
            all += 1;
            found += u16::from(holds(sentence));
        }
    }
    f32::from(found) / f32::from(all.max(1))
}

/// Returns the first sentence or line that starts behind an offset.
fn sentence_behind(text: &str, at: usize) -> &str {
    let at = text.ceil_char_boundary(at);
    let near = &text[at..text.floor_char_boundary((at + 4 * SENTENCE).min(text.len()))];
    let from = if at == 0 {
        0
    } else {
        end_of_sentence(near).unwrap_or(0)
    };
    let sentence = near[from..].trim_start();
    let end = end_of_sentence(sentence).unwrap_or(sentence.len());
    sentence[..sentence.floor_char_boundary(end.min(SENTENCE))].trim()
}

/// Cuts a text into its sentences and lines.
pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text.trim();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (sentence, behind) = rest.split_at(end_of_sentence(rest).unwrap_or(rest.len()));
        rest = behind.trim_start();
        Some(sentence.trim())
    })
}

/// Finds where the first sentence or line of a text ends.
fn end_of_sentence(text: &str) -> Option<usize> {
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let ends = c == '\n' || "。！？।".contains(before) || (c == ' ' && ".!?".contains(before));
        if ends && at > 0 {
            return Some(at);
        }
        before = c;
    }
    None
}

/// Returns a text without the number or mark of a list that it starts with.
pub(super) fn without_list_mark(text: &str) -> &str {
    list_mark(text).map_or(text, |mark| text[mark..].trim_start())
}

/// Returns the length of the number or mark of a list that a text starts with: `1.`, `(2)`, `b)`, `-`, `•`.
pub(super) fn list_mark(text: &str) -> Option<usize> {
    let bullet = text.chars().next().filter(|c| "-*•–‣◦".contains(*c));
    if let Some(mark) = bullet {
        let length = mark.len_utf8();
        return text[length..].starts_with([' ', '\t']).then_some(length);
    }
    let open = usize::from(text.starts_with('('));
    let name = text[open..]
        .find(|c: char| !c.is_alphanumeric())
        .filter(|length| *length > 0)?;
    let label = &text[open..open + name];
    let number = label.chars().all(|c| c.is_numeric()) && label.chars().count() <= 3;
    let letter = label.chars().count() == 1;
    let close = text[open + name..]
        .chars()
        .next()
        .filter(|c| ".):、．）".contains(*c))?;
    let end = open + name + close.len_utf8();
    let closed = open == 0 || close == ')';
    let spaced = text[end..].starts_with(char::is_whitespace) || "、．）".contains(close);
    // `a:` and `I.` begin sentences as well.
    let marks = number || (letter && (close == ')'));
    (marks && closed && spaced && close != ':').then_some(end)
}
