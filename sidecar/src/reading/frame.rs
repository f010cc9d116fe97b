//! What a frame asks: the instructions around a document, or another text of its turn, read for the words of the
//! user. What a client adds in tags of its own is nobody's question.

use super::split::tags::{pairs, pieces_outside};
use super::split::tokens::segments;
use super::split::{QuestionName, is_about_form, is_answer_label};

/// Tags that are named for a question may be nested this deep.
const NESTED: usize = 4;

/// Words in a tag that is named for a question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tagged<'a> {
    name: QuestionName,
    pub(super) text: &'a str,
}

impl Tagged<'_> {
    /// Returns true for words of the user, not of the template.
    pub(super) fn is_users(&self) -> bool {
        self.name > QuestionName::Instructions
    }
}

/// The words of a frame, without the blocks that a client adds.
pub(super) struct Frame<'a> {
    /// What stands in tags that are named for a question.
    pub(super) tagged: Vec<Tagged<'a>>,
    /// What stands in no tag.
    pub(super) pieces: Vec<&'a str>,
    /// There are tags with their partners.
    pub(super) has_elements: bool,
}

impl<'a> Frame<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        let mut frame = Self {
            tagged: Vec::new(),
            pieces: Vec::new(),
            has_elements: false,
        };
        for segment in segments(text) {
            let read = Self::read_nested(&text[segment], NESTED);
            frame.tagged.extend(read.tagged);
            frame.pieces.extend(read.pieces);
            frame.has_elements |= read.has_elements;
        }
        frame
    }

    fn read_nested(text: &'a str, depth: usize) -> Self {
        let elements = pairs(text);
        let tagged = elements.iter().filter_map(|pair| {
            let name = pair.question_name()?;
            let inner = &text[pair.inner.clone()];
            let within = depth
                .checked_sub(1)
                .map(|depth| Frame::read_nested(inner, depth).tagged);
            let own = within.into_iter().flatten().max_by_key(|tagged| tagged.name);
            let text = question_text(inner);
            own.or_else(|| (!text.is_empty()).then_some(Tagged { name, text }))
        });
        Self {
            tagged: tagged.collect(),
            pieces: pieces_outside(text, &elements),
            has_elements: !elements.is_empty(),
        }
    }

    /// Returns whether a tag is named for the user's words.
    pub(super) fn has_users_tag(&self) -> bool {
        self.tagged.iter().any(Tagged::is_users)
    }

    /// Returns whether there are words of the user: in no tag, or in one that is named for them.
    pub(super) fn has_words(&self) -> bool {
        !self.pieces.is_empty() || self.has_users_tag()
    }
}

/// Returns the paragraphs of a question, without last ones about the answer's form and without labels that its
/// answer is to follow.
pub(super) fn question_text(text: &str) -> &str {
    let mut text = text.trim();
    while let Some((before, last)) = text.rsplit_once("\n\n")
        && (is_about_form(last) || is_answer_label(last.trim()))
        && !before.trim().is_empty()
    {
        text = before.trim_end();
    }
    text
}
