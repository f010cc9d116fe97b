//! The user's texts of one turn: which of them are documents, which are words, and where in one text the one ends and
//! the other begins. Retrieved passages come as many parts, documents as few, words as short ones beside them.

use std::ops::Range;

use super::context::{by_tags, find_contexts};
use super::ends::{without_doubtful, without_requests};
use super::frame::Frame;
use super::output::reason_by_kind;
use super::speech::{RequestReader, is_content, share_of_rules};
use super::split::{Marks, Split, is_document_name, split_by_marks, split_by_reading};
use super::view::AskSource;
use super::words::{Instructions, LITTLE, Said, read_instructions};

/// Longer texts are documents, never words alone, in bytes.
const LONGEST_WORDS: usize = 8 << 10;
/// A single text up to this length is words.
const LONGEST_QUESTION: usize = 2_000;
/// Texts up to this length are words unless many stand side by side.
const SHORT: usize = 600;
/// The shortest document within a text that also instructs.
const SHORTEST: usize = 600;
/// A text of this length without a request in it is a document beside others.
const MEDIUM: usize = 1_500;
/// The fewest parts that are a run of passages, the longest of them, and the fewest bytes of all.
const PASSAGES: usize = 3;
const WHOLE_PASSAGES: usize = 4;
const LONGEST_PASSAGE: usize = 12 << 10;
const ALL_PASSAGES: usize = 2_000;
/// Passages that are messages of their own are at least so long on average.
const PASSAGE_MESSAGE: usize = 400;
/// Share of sentences that order from which a text is instructions.
const RULES: f32 = 0.6;
/// The same of the first third of a text, from which it starts with instructions.
const INSTRUCTIONS: f32 = 0.4;
/// Of longer instructions this much is read, from their outer end.
const FRAME: usize = 64 << 10;

/// A text of the user.
#[derive(Debug, Clone, Copy)]
pub(super) struct UserText<'t> {
    /// Position of its message.
    pub(super) message: usize,
    pub(super) text: &'t str,
}

/// A text of the user, read.
#[derive(Debug, Default)]
pub(super) struct ReadText {
    /// The documents in it.
    pub(super) documents: Vec<Range<usize>>,
    /// It is a passage that somebody else cut out.
    pub(super) passage: bool,
    /// A fence around its document names a programming language.
    pub(super) code: bool,
    /// Nothing but its wording tells its instructions from its document.
    pub(super) by_wording: bool,
    /// What it says beside its documents.
    pub(super) instructions: Instructions,
    /// Where the words begin, if there are any.
    pub(super) words_start: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Words,
    Passage,
    Document,
}

/// Reads the texts of the user in a turn. `beside` says whether the turn has documents in other places, `asked`
/// whether something is asked in other places.
pub(super) fn read_user_texts(
    texts: &[UserText<'_>],
    beside: bool,
    asked: impl FnOnce() -> bool,
) -> Vec<ReadText> {
    let forms = tell_forms(texts, beside);
    let has_words = |(text, form): (&UserText<'_>, &Form)| {
        usize::from(*form == Form::Words && Frame::read(text.text).has_words())
    };
    let words: usize = texts.iter().zip(&forms).map(has_words).sum();
    let passages = forms.iter().filter(|form| **form == Form::Passage).count();
    let mut read: Vec<_> = texts
        .iter()
        .zip(&forms)
        .map(|(text, form)| match form {
            Form::Words => read_words(text.text),
            Form::Passage => ReadText {
                passage: passages >= WHOLE_PASSAGES,
                ..ReadText::of_document(text.text)
            },
            Form::Document => read_document(text.text, words > 0),
        })
        .collect();
    lower_clients_words(&mut read);
    if read.iter().any(|text| text.instructions.has_question()) {
        read.iter_mut()
            .for_each(|text| text.instructions.lower_statements());
    }
    if !read.iter().any(ReadText::asks) && !asked() {
        let little = read
            .iter_mut()
            .rev()
            .find(|text| !text.instructions.said.is_empty() && !text.instructions.blocks);
        match little {
            Some(text) => text.instructions.take_little(),
            None => take_doubtful(texts, &mut read),
        }
    }
    read
}

impl ReadText {
    /// Takes a text for a document, every byte.
    pub(super) fn of_document(text: &str) -> Self {
        Self {
            documents: std::iter::once(0..text.len()).collect(),
            ..Self::default()
        }
    }

    /// Takes a text for words, every one.
    pub(super) fn of_prompt(text: &str) -> Self {
        Self {
            instructions: Instructions {
                said: vec![Said {
                    text: text.to_owned(),
                    weight: 1.0,
                    source: AskSource::Words,
                }],
                request: text.to_owned(),
                ..Instructions::default()
            },
            words_start: Some(0),
            ..Self::default()
        }
    }

    pub(super) fn asks(&self) -> bool {
        self.instructions.said.iter().any(|said| said.weight > LITTLE)
    }
}

/// Tells words, passages and documents apart.
fn tell_forms(texts: &[UserText<'_>], beside: bool) -> Vec<Form> {
    let mut forms = tell_passages(texts);
    for (form, text) in forms.iter_mut().zip(texts) {
        if text.text.len() > LONGEST_WORDS && form.is_none() {
            *form = Some(Form::Document);
        }
    }
    let documents = beside
        || forms
            .iter()
            .any(|form| *form != Some(Form::Words) && form.is_some());
    let unknown = texts.iter().zip(&forms).enumerate();
    let unknown = unknown.filter(|(_, (_, form))| form.is_none());
    let longest = unknown
        .max_by_key(|(_, (text, _))| text.text.len())
        .map(|(at, _)| at);
    let tell = |(at, (form, text)): (usize, (Option<Form>, &UserText<'_>))| {
        form.unwrap_or_else(|| {
            let alone = !documents && longest == Some(at) && text.text.len() > LONGEST_QUESTION;
            if alone || is_document(text.text) {
                Form::Document
            } else {
                Form::Words
            }
        })
    };
    forms.into_iter().zip(texts).enumerate().map(tell).collect()
}

/// Returns true for a text of medium length that is a document beside others: nothing in it asks.
fn is_document(text: &str) -> bool {
    let framed = || {
        let longest = by_tags(text).into_iter().map(|range| range.len()).max();
        longest.is_some_and(|length| length * 2 > text.len())
    };
    let paragraphs = || {
        text.split("\n\n")
            .filter(|paragraph| !paragraph.trim().is_empty())
    };
    let reads = || {
        let asks = |paragraph| RequestReader::TRUSTING.is_request(paragraph);
        let plain = !paragraphs().any(asks) && share_of_rules(text) * 4.0 < 1.0;
        plain && (text.len() >= MEDIUM || paragraphs().all(is_content))
    };
    text.len() > SHORT && (framed() || reads())
}

/// Finds passages: many texts side by side, of which those at the ends may be words.
fn tell_passages(texts: &[UserText<'_>]) -> Vec<Option<Form>> {
    let none = vec![None; texts.len()];
    let short = |text: &&UserText<'_>| text.text.len() <= LONGEST_PASSAGE;
    if texts.len() <= PASSAGES || !texts.iter().any(|text| text.text.len() <= LONGEST_WORDS) {
        return none;
    }
    let middle = texts.get(texts.len() / 2).map_or("", |text| text.text);
    let reader = RequestReader::for_document(middle);
    let at_end = |at: usize| at < 2 || at + 2 >= texts.len();
    let last = texts.len() - 1;
    let is_words = |at: usize, text: &UserText<'_>| match () {
        () if at == last => reads_as_words(text.text, &reader),
        () if at_end(at) || text.text.len() <= SHORT / 2 => {
            reads_as_words(text.text, &RequestReader::BY_FORM)
        }
        () => false,
    };
    let words: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(at, text)| is_words(at, text))
        .collect();
    let passages = || {
        texts
            .iter()
            .zip(&words)
            .filter(|(text, words)| !**words && short(text))
            .map(|(text, _)| text)
    };
    let (count, all) = (
        passages().count(),
        passages().map(|text| text.text.len()).sum::<usize>(),
    );
    let mut messages = passages().map(|text| text.message);
    let first = messages.next();
    let apart = messages.any(|message| Some(message) != first);
    if count < PASSAGES || all < ALL_PASSAGES || (apart && all < count * PASSAGE_MESSAGE) {
        return none;
    }
    let asked = words.contains(&true);
    let form = |(at, (text, words)): (usize, (&UserText<'_>, bool))| {
        // A short last text is words, in whatever language.
        let words = words || (!asked && at == last && text.text.len() * 2 * count < all);
        match () {
            () if words => Some(Form::Words),
            () if short(&text) => Some(Form::Passage),
            () => None,
        }
    };
    texts.iter().zip(words).enumerate().map(form).collect()
}

/// Returns true if a text beside passages asks, or is what a client adds.
fn reads_as_words(text: &str, reader: &RequestReader) -> bool {
    let frame = Frame::read(text);
    if frame.has_elements && frame.pieces.is_empty() {
        return frame.has_users_tag() || text.len() <= SHORT;
    }
    if first_passage_number(text) {
        return false;
    }
    let mut ends = [
        text.trim().split("\n\n").next(),
        text.trim().rsplit("\n\n").next(),
    ];
    if text.len() > SHORT {
        // Only from its first line on.
        ends[1] = None;
    }
    text.len() <= 2 * SHORT && ends.into_iter().flatten().any(|end| reader.is_request(end))
}

/// Returns true for a text that starts with the number of a passage: `[3] ...`, `Document 3: ...`.
fn first_passage_number(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    let near = &first[..first.floor_char_boundary(24.min(first.len()))];
    let digit = near.find(|c: char| c.is_ascii_digit());
    digit.is_some_and(|at| {
        let before = near[..at].trim_end();
        let name = before.trim_matches(|c: char| !c.is_alphanumeric());
        before.ends_with(['[', '【']) || (!name.is_empty() && is_document_name(name))
    })
}

fn read_words(text: &str) -> ReadText {
    let text = &text[..text.floor_char_boundary(FRAME.min(text.len()))];
    ReadText {
        instructions: read_instructions(text),
        words_start: Some(0),
        ..ReadText::default()
    }
}

/// Cuts a document from the instructions around it.
fn read_document(text: &str, words_elsewhere: bool) -> ReadText {
    let split = split_document(text, words_elsewhere);
    let document = split.document.clone();
    let by_wording = matches!(split.marks, Marks::Paragraphs | Marks::None);
    let documents = if by_wording {
        documents_by_wording(text, document)
    } else {
        vec![document]
    };
    let mut read = around(text, documents);
    read.code = matches!(split.marks, Marks::Fence { code: true, .. });
    read.by_wording = by_wording;
    read
}

/// Finds the documents in a text where no mark around all of it was found: contexts in long instructions, or what is left
/// without the requests at its ends.
fn documents_by_wording(text: &str, document: Range<usize>) -> Vec<Range<usize>> {
    let third = &text[..text.floor_char_boundary(text.len() / 3)];
    let instructs = share_of_rules(third) >= INSTRUCTIONS;
    let contexts = if instructs {
        find_contexts(text)
    } else {
        by_tags(text)
    };
    let all: usize = contexts.iter().map(Range::len).sum();
    match () {
        () if instructs && !contexts.is_empty() || all * 4 > text.len() => contexts,
        () if document.len() < SHORTEST || orders_throughout(&text[document.clone()]) => Vec::new(),
        () => vec![document],
    }
}

/// Returns true for instructions that hold no document.
fn orders_throughout(text: &str) -> bool {
    reason_by_kind(text).is_none() && share_of_rules(text) >= RULES
}

fn split_document(text: &str, words_elsewhere: bool) -> Split {
    let split = if words_elsewhere {
        split_by_marks(text)
    } else {
        split_by_reading(text)
    };
    // Behind a document that only its start has a label for, the question may stand without one.
    let open = || {
        let asked = read_instructions(split.head(text)).said;
        split.marks == Marks::Labels
            && split.tail(text).is_empty()
            && !words_elsewhere
            && !asked.iter().any(|said| said.weight > LITTLE)
    };
    if !matches!(split.marks, Marks::Paragraphs | Marks::None) && !open() {
        return split;
    }
    let document = without_requests(text, split.document.clone());
    if split.marks == Marks::Labels && document == split.document {
        return split;
    }
    let framed = !text[..document.start].trim().is_empty() || !text[document.end..].trim().is_empty();
    Split {
        // White space around a document alone belongs to it.
        document: if framed { document } else { 0..text.len() },
        marks: if framed { Marks::Paragraphs } else { Marks::None },
    }
}

/// Reads what stands around and between documents.
fn around(text: &str, documents: Vec<Range<usize>>) -> ReadText {
    let ends = documents.iter().map(|range| range.start).chain([text.len()]);
    let starts = [0].into_iter().chain(documents.iter().map(|range| range.end));
    let mut read = ReadText::default();
    for (number, (start, end)) in starts.zip(ends).enumerate() {
        let frame = text.get(start..end).unwrap_or_default();
        let frame = if number == 0 {
            &frame[..frame.floor_char_boundary(FRAME.min(frame.len()))]
        } else {
            &frame[frame.ceil_char_boundary(frame.len().saturating_sub(FRAME))..]
        };
        let part = read_instructions(frame);
        if !part.said.is_empty() {
            let blank = text[start..end].len() - text[start..end].trim_start().len();
            read.words_start = Some(if number == 0 { 0 } else { start + blank });
        }
        read.instructions.said.extend(part.said);
        read.instructions.request.push_str(&part.request);
        read.instructions.request.push('\n');
        read.instructions.tagged |= part.tagged;
        read.instructions.blocks |= part.blocks;
    }
    read.documents = documents;
    read
}

/// Where a tag says which words are the user's, those outside of it beside a client's blocks are the client's.
fn lower_clients_words(read: &mut [ReadText]) {
    if !read.iter().any(|text| text.instructions.tagged) {
        return;
    }
    let clients = read
        .iter_mut()
        .filter(|text| text.instructions.blocks && !text.instructions.tagged);
    for said in clients.flat_map(|text| &mut text.instructions.said) {
        said.weight = said.weight.min(LITTLE);
    }
}

/// Takes a paragraph at the end of a document for the request, where nothing else is asked.
fn take_doubtful(texts: &[UserText<'_>], read: &mut [ReadText]) {
    let Some(at) = read
        .iter()
        .rposition(|text| !text.passage && text.documents.len() == 1)
    else {
        return;
    };
    let (Some(read), Some(text)) = (read.get_mut(at), texts.get(at)) else {
        return;
    };
    let document = read.documents.first().cloned().filter(|_| read.by_wording);
    if let Some(document) = document.and_then(|document| without_doubtful(text.text, document)) {
        *read = around(text.text, vec![document]);
        read.by_wording = true;
    }
}
