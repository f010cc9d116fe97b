//! What a frame asks: the instructions around a document, or another text of its turn, read for the words of the
//! user. What a client adds in tags of its own is nobody's question, and orders about the answer's form are the
//! last resort.

use super::phrases::asks;
use super::split::tags::{pairs, pieces_outside};
use super::split::{
    QuestionName, is_about_form, is_answer_label, is_document_label, is_marker_line, label_of_question,
};

/// Tags that are named for a question may be nested this deep.
const NESTED: usize = 4;
/// The longest paragraph that is taken behind a label, in bytes.
const PARAGRAPH: usize = 4 << 10;

/// How surely some words of a frame are the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Strength {
    /// An order about the answer's form.
    Form,
    /// What a template calls its instructions.
    Instructions,
    /// A paragraph that reads as an order.
    Order,
    /// A paragraph that reads as a question.
    Question,
    /// Words that are labelled as the user's order.
    Task,
    /// Words that are labelled as the user's question.
    Labelled,
}

/// Words of a frame that ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) strength: Strength,
    pub(crate) text: &'a str,
}

impl Asked<'_> {
    /// Returns true for words of the user, not of the template.
    pub(crate) fn is_users(&self) -> bool {
        self.strength > Strength::Instructions
    }
}

impl From<QuestionName> for Strength {
    fn from(name: QuestionName) -> Self {
        match name {
            QuestionName::Instructions => Self::Instructions,
            QuestionName::Task => Self::Task,
            QuestionName::Question => Self::Labelled,
        }
    }
}

/// The words of a frame, without the blocks that a client adds.
pub(crate) struct Frame<'a> {
    /// What stands in a tag that is named for a question.
    tagged: Vec<Asked<'a>>,
    /// What stands in no tag.
    pub(crate) pieces: Vec<&'a str>,
    /// There are tags with their partners.
    pub(crate) has_elements: bool,
}

impl<'a> Frame<'a> {
    pub(crate) fn read(text: &'a str) -> Self {
        Self::read_nested(text, NESTED)
    }

    fn read_nested(text: &'a str, depth: usize) -> Self {
        let elements = pairs(text);
        let tagged = elements.iter().filter_map(|pair| {
            let strength = pair.question_name()?.into();
            let inner = &text[pair.inner.clone()];
            let within = depth
                .checked_sub(1)
                .map(|depth| Frame::read_nested(inner, depth).tagged);
            let own = within.into_iter().flatten().max_by_key(|asked| asked.strength);
            let text = question_text(inner);
            own.or_else(|| (!text.is_empty()).then_some(Asked { strength, text }))
        });
        Self {
            tagged: tagged.collect(),
            pieces: pieces_outside(text, &elements),
            has_elements: !elements.is_empty(),
        }
    }

    /// Picks the words that ask: the surest, of equals the last.
    pub(crate) fn pick_question(&self) -> Option<Asked<'a>> {
        let loose = self
            .pieces
            .iter()
            .flat_map(|piece| labelled(piece).chain(paragraphs(piece)));
        loose
            .chain(self.tagged.iter().copied())
            .max_by_key(|asked| asked.strength)
    }

    /// Returns what stands in tags that are named for a question.
    pub(crate) fn tagged(&self) -> impl Iterator<Item = &Asked<'a>> {
        self.tagged.iter()
    }

    /// Returns what stands in a tag that is named for the user's words.
    pub(crate) fn tagged_question(&self) -> Option<Asked<'a>> {
        let tagged = self.tagged.iter().copied().filter(Asked::is_users);
        tagged.max_by_key(|asked| asked.strength)
    }

    /// Returns whether there are words of the user: in no tag, or in one that is named for them.
    pub(crate) fn has_words(&self) -> bool {
        !self.pieces.is_empty() || self.tagged_question().is_some()
    }

    /// Returns the last paragraph with a word in it.
    pub(crate) fn last_paragraph(&self) -> &'a str {
        let paragraphs = self.pieces.iter().rev().flat_map(|piece| piece.rsplit("\n\n"));
        let mut words = paragraphs
            .map(str::trim)
            .filter(|text| text.contains(char::is_alphanumeric) && !is_answer_label(text));
        words.next().unwrap_or_default()
    }

    /// Returns the texts of the frame: what is tagged as a question, and what stands in no tag.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'a str> {
        let tagged = self.tagged.iter().map(|asked| asked.text);
        tagged.chain(self.pieces.iter().copied())
    }
}

/// Finds the words behind the labels of a piece.
fn labelled<'a>(piece: &'a str) -> impl Iterator<Item = Asked<'a>> {
    let starts = [0]
        .into_iter()
        .chain(piece.match_indices('\n').map(|(at, _)| at + 1));
    starts.filter_map(|at| {
        let (name, label) = label_of_question(&piece[at..])?;
        let text = if label.alone {
            question_text(section(label.rest))
        } else {
            first_paragraph(label.rest.trim())
        };
        (!text.is_empty()).then_some(Asked {
            strength: name.into(),
            text,
        })
    })
}

/// Finds the paragraphs of a piece that ask.
fn paragraphs<'a>(piece: &'a str) -> impl Iterator<Item = Asked<'a>> {
    let asking = piece
        .split("\n\n")
        .map(str::trim)
        .filter(|paragraph| asks(paragraph) && !is_answer_label(paragraph));
    asking.map(|text| Asked {
        strength: match () {
            () if text.contains(['?', '？', '؟']) => Strength::Question,
            () if is_about_form(text) => Strength::Form,
            () => Strength::Order,
        },
        text,
    })
}

/// Returns what follows a label that stands alone on its line, up to the next one.
fn section(text: &str) -> &str {
    let text = text.trim();
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        if is_answer_label(line) || is_marker_line(line) || label_of_question(line).is_some() {
            break;
        }
        end += line.len();
    }
    text[..end].trim()
}

/// Returns the paragraphs of a question, without last ones about the answer's form and without labels that its
/// answer is to follow.
fn question_text(text: &str) -> &str {
    let mut text = text.trim();
    while let Some((before, last)) = text.rsplit_once("\n\n")
        && (is_about_form(last) || is_answer_label(last.trim()))
        && !before.trim().is_empty()
    {
        text = before.trim_end();
    }
    text
}

/// Returns the paragraph that a question starts, without the label that its answer is to follow.
fn first_paragraph(question: &str) -> &str {
    let mut end = 0;
    for line in question.split_inclusive('\n') {
        let named = is_answer_label(line) || (end > 0 && is_document_label(line));
        if line.trim().is_empty() || named || end > PARAGRAPH {
            break;
        }
        end += line.len();
    }
    question[..end].trim()
}
