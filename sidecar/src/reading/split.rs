//! Finds the document inside one text: the frame that a template or a client puts around it, and the evidence.
//!
//! A frame shows by its form, whoever wrote it. Tried in this order, the surest first: paired tags
//! (`<document>...</document>`), marker lines (`[[ ## context ## ]]`), fences and rulers (three backticks, `"""`,
//! `---`), labels (`Context:`, `Question:`), numbered passages (`[1]`, `Document 2:`), and at last first and last
//! paragraphs that ask or instruct. Blocks that a client adds before or behind the words of its user
//! (`<system-reminder>...</system-reminder>`) belong to the frame, as do the special tokens of a chat template. What is
//! in doubt belongs to the frame too: it stays word for word.

mod fences;
mod labels;
mod markers;
mod paragraphs;
mod passages;
pub(in crate::reading) mod tags;
pub(in crate::reading) mod tokens;

use std::ops::Range;

pub(in crate::reading) use fences::{is_banner, is_ruler};
pub(in crate::reading) use labels::{
    QuestionName, is_answer_label, is_answer_name, is_document_label, is_document_name, is_step_label,
    label_of_question, rank_name, without_goal_label,
};
pub(in crate::reading) use markers::is_marker_line;
pub(in crate::reading) use paragraphs::{
    is_about_form, is_laid_out, is_note, is_persona, is_rule, is_ruling, is_speakers_turn, is_table,
    lead_before_text, orders,
};

/// The marks of a template stand near the ends: this many bytes are searched at each.
const NEAR: usize = 16 << 10;
/// The longest instruction that is taken for one without a mark around it.
const PARAGRAPH: usize = 2_000;
/// Texts may be framed within a frame this many times.
const NESTED: usize = 4;

/// A text cut into instructions and document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::reading) struct Split {
    /// Bytes of the document. Between instructions it has no white space at its ends; alone it is the whole
    /// text.
    pub(in crate::reading) document: Range<usize>,
    /// The marks that were found.
    pub(in crate::reading) marks: Marks,
}

/// The marks that tell a document from the instructions around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reading) enum Marks {
    /// Tags or marker lines around the document, or around all that is not the document.
    Tags,
    /// Fences or rulers around it.
    Fence {
        /// The fence names a programming language.
        code: bool,
        /// The fence is a ruler such as `---`, which documents have too.
        ruler: bool,
    },
    /// Labels before it or behind it, or numbers before its passages.
    Labels,
    /// Nothing but how the first or last paragraph reads.
    Paragraphs,
    /// No marks: all of it is the document.
    None,
}

impl Split {
    /// Returns the instructions before the document.
    pub(in crate::reading) fn head<'a>(&self, text: &'a str) -> &'a str {
        text[..self.document.start].trim()
    }

    /// Returns the instructions behind the document.
    pub(in crate::reading) fn tail<'a>(&self, text: &'a str) -> &'a str {
        text[self.document.end..].trim()
    }

    /// Makes a split if the range is more than half of the text.
    fn new(text: &str, range: Range<usize>, marks: Marks) -> Option<Self> {
        Self::of_share(text, range, marks, 2)
    }

    /// Makes a split if the range is more than one part in `parts` of the text.
    fn of_share(text: &str, range: Range<usize>, marks: Marks, parts: usize) -> Option<Self> {
        let inner = text.get(range.clone())?;
        let start = range.start + (inner.len() - inner.trim_start().len());
        let document = start..start + inner.trim().len();
        (document.len() * parts > text.len()).then_some(Self { document, marks })
    }

    /// The same split of a text that has `before` more bytes at its start.
    fn behind(mut self, before: usize) -> Self {
        self.document.start += before;
        self.document.end += before;
        self
    }
}

/// Splits a text by marks that no document has by chance: for a text whose question stands elsewhere.
pub(in crate::reading) fn split_by_marks(text: &str) -> Split {
    split_with(text, NESTED, &|text| {
        let quoted = || {
            fences::split_by_fences(text)
                .filter(|split| matches!(split.marks, Marks::Fence { ruler: false, .. }))
        };
        let labelled = || labels::split_by_labels(text, str::len).filter(|split| split.tail(text).is_empty());
        quoted().or_else(labelled)
    })
}

/// Splits a text that holds document and question.
pub(in crate::reading) fn split_by_reading(text: &str) -> Split {
    let Some(head) = fences::asking_front_matter(text) else {
        return split_request(text);
    };
    let behind = text[head..].trim_start();
    let split = split_request(behind).behind(text.len() - behind.len());
    let marks = match split.marks {
        Marks::None | Marks::Paragraphs => Marks::Labels,
        marks => marks,
    };
    Split { marks, ..split }
}

fn split_request(text: &str) -> Split {
    split_with(text, NESTED, &|text| {
        fences::split_by_fences(text)
            .or_else(|| labels::split_by_labels(text, paragraphs::tail_start))
            .or_else(|| paragraphs::split_by_paragraphs(text))
    })
}

/// Splits instructions that hold a document by markers, fences and rulers.
pub(in crate::reading) fn split_between_marks(text: &str) -> Option<Split> {
    markers::split_by_markers(text).or_else(|| fences::split_by_fences(text))
}

/// Splits by tags and markers, and what lies between a client's blocks by `otherwise`.
fn split_with(text: &str, depth: usize, otherwise: &dyn Fn(&str) -> Option<Split>) -> Split {
    if depth > 0
        && let Some(segment) = tokens::longest_segment(text)
    {
        let split = split_with(&text[segment.clone()], depth - 1, otherwise).behind(segment.start);
        let marks = match split.marks {
            Marks::None => Marks::Paragraphs,
            marks => marks,
        };
        return Split { marks, ..split };
    }
    let pairs = tags::pairs(text);
    if let Some(found) = tags::find_document(text, &pairs) {
        let inner = &text[found.range.clone()];
        if found.is_question && depth > 0 {
            // All that a user says may be in one tag, document and question.
            let split = split_with(inner, depth - 1, otherwise);
            return split.behind(found.range.start);
        }
        if let Some(split) = Split::new(text, found.range, Marks::Tags) {
            return split;
        }
    }
    let core = tags::without_outer_blocks(text, &pairs);
    let inner = &text[core.clone()];
    if let Some(split) = markers::split_by_markers(inner).or_else(|| otherwise(inner)) {
        return split.behind(core.start);
    }
    if core.len() < text.trim().len()
        && let Some(split) = Split::new(text, core, Marks::Tags)
    {
        return split;
    }
    Split {
        document: 0..text.len(),
        marks: Marks::None,
    }
}

fn front(text: &str) -> &str {
    &text[..text.floor_char_boundary(NEAR.min(text.len()))]
}

fn back(text: &str) -> Range<usize> {
    text.ceil_char_boundary(text.len().saturating_sub(NEAR))..text.len()
}

/// Ranges of the lines in `within`, without their line feeds; the first may start inside a line, and is then
/// left out unless `within` starts the text.
pub(in crate::reading) fn lines(text: &str, within: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = within.start;
    text[within.clone()]
        .split('\n')
        .enumerate()
        .filter_map(move |(number, line)| {
            let range = at..at + line.len();
            at = range.end + 1;
            (number > 0 || within.start == 0).then_some(range)
        })
}
