//! What somebody asks in the instructions of a text: tagged and labelled questions, lists of questions, and paragraphs
//! that ask. Orders about the answer's form and words that only point at a question count little.

use super::frame::{Frame, question_text};
use super::phrases::only_points;
use super::speech::{
    demands_more, is_request, is_request_by_form, judge, list_mark, sentences, transforms, without_list_mark,
};
use super::split::{
    QuestionName, is_about_form, is_answer_label, is_banner, is_document_label, is_marker_line, is_note,
    is_persona, is_step_label, label_of_question, tokens::is_user, without_goal_label,
};
use super::template::{
    asks_by, declared_field, is_placeholder, lower_orders_by_field, lower_templates_labels,
};
use super::view::{AskSource, STATED};
use crate::need::{Need, QUESTION_MARKS};

/// Weight of orders about the form, of words that only point, of a client's own words.
pub(super) const LITTLE: f32 = 0.2;
/// Paragraphs up to this many bytes in all are one ask.
const ONE_ASK: usize = 800;
/// The longest line that only leads to what follows it, in bytes.
const LEAD: usize = 120;
/// The longest paragraph that greets or thanks, in bytes.
const COURTESY: usize = 60;
/// The longest text behind a short label, in bytes.
const LONGEST_ITEM: usize = 1_500;
/// Most items of a list, and most questions of a paragraph, that are told apart.
const ITEMS: usize = 64;
const QUESTIONS: usize = 8;

/// Words that ask something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) weight: f32,
    pub(super) source: AskSource,
}

/// The instructions of a text, read.
#[derive(Debug, Default)]
pub(super) struct Instructions {
    pub(super) said: Vec<Said>,
    /// The words that ask, as they stand together: by these a need is judged.
    pub(super) request: String,
    /// A tag says which words are the user's.
    pub(super) tagged: bool,
    /// There are blocks in tags beside the words.
    pub(super) blocks: bool,
}

/// Reads what a text asks that is no document, or what is left of it without its document.
pub(super) fn read_instructions(text: &str) -> Instructions {
    let frame = Frame::read(text);
    let mut said = Vec::new();
    for asked in &frame.tagged {
        let weight = if asked.is_users() { 1.0 } else { LITTLE };
        read_list_or(asked.text, &mut said, |text| {
            vec![say(text, weight, AskSource::Label)]
        });
    }
    let tagged = frame.has_users_tag();
    let outside = said.iter().filter(|said| !is_placeholder(&said.text)).count();
    for piece in &frame.pieces {
        for section in sections(piece) {
            section.read(&mut said);
        }
    }
    said.retain(|said| !is_placeholder(&said.text));
    if said.iter().any(|said| said.weight > LITTLE && !is_courtesy(said)) {
        said.retain(|said| !is_courtesy(said));
    }
    lower_orders_by_field(text, &mut said);
    lower_templates_labels(&mut said);
    if tagged {
        // Beside words that a tag gives to the user, the rest is the template's or the client's.
        for said in said.iter_mut().skip(outside) {
            said.weight = said.weight.min(LITTLE);
        }
    }
    let request = request_of(text, &said, frame.has_elements);
    Instructions {
        said,
        request,
        tagged,
        blocks: frame.has_elements,
    }
}

/// Returns the words that ask as they stand together: with what leads to a list.
fn request_of(text: &str, said: &[Said], has_elements: bool) -> String {
    let listed = said
        .iter()
        .any(|said| said.source == AskSource::Numbered && said.weight >= 1.0);
    if listed && !has_elements {
        return text.trim().to_owned();
    }
    let asking = said
        .iter()
        .filter(|said| said.weight > LITTLE && !said.is_repetition());
    asking
        .map(|said| said.text.as_str())
        .collect::<Vec<_>>()
        .join("\n")
}

impl Instructions {
    /// Takes orders about the form and words that point for what is asked: there is nothing else.
    pub(super) fn take_little(&mut self) {
        let little = self
            .said
            .iter_mut()
            .filter(|said| said.source == AskSource::Words && !said.text.ends_with([':', '：']));
        for said in little {
            said.weight = 1.0;
        }
        let asking = self.said.iter().filter(|said| said.weight > LITTLE);
        self.request = asking
            .map(|said| said.text.as_str())
            .collect::<Vec<_>>()
            .join("\n");
    }

    /// Lowers paragraphs that only state something, beside others that ask.
    pub(super) fn lower_statements(&mut self) {
        let asks = |said: &Said| said.text.contains(QUESTION_MARKS) || said.source != AskSource::Words;
        for said in self
            .said
            .iter_mut()
            .filter(|said| !asks(said) && (!is_request_by_form(&said.text) || says_who(&said.text)))
        {
            said.weight = said.weight.min(STATED);
        }
        let states = |said: &Said| said.source == AskSource::Words && said.weight <= STATED;
        if self.said.iter().any(states) {
            let asking = self
                .said
                .iter()
                .filter(|said| said.weight > STATED && !said.is_repetition());
            self.request = asking
                .map(|said| said.text.as_str())
                .collect::<Vec<_>>()
                .join("\n");
        }
    }

    /// Returns whether something is asked with a question mark or behind a label.
    pub(super) fn has_question(&self) -> bool {
        self.said.iter().any(|said| {
            said.weight > LITTLE && (said.text.contains(QUESTION_MARKS) || said.source != AskSource::Words)
        })
    }
}

impl Said {
    /// Returns true for a question that is asked with its paragraph as well.
    fn is_repetition(&self) -> bool {
        self.source == AskSource::Numbered && self.weight < 1.0
    }
}

fn say(text: &str, weight: f32, source: AskSource) -> Said {
    Said {
        text: text.trim().to_owned(),
        weight,
        source,
    }
}

/// Returns true for words that greet, thank or start: "Begin!"
fn is_courtesy(said: &Said) -> bool {
    let short = said.text.len() <= COURTESY && !said.text.contains(QUESTION_MARKS);
    short && said.source == AskSource::Words && judge(&said.text) == Need::None
}

/// Returns true for one sentence that says who the assistant is.
fn says_who(text: &str) -> bool {
    is_persona(text) && sentences(text).nth(1).is_none() && !transforms(text)
}

/// A stretch of instructions, and the label that it stands behind.
struct Section<'a> {
    label: Option<QuestionName>,
    text: &'a str,
}

/// Cuts a piece at the labels of questions. What stands behind a label on its line ends with the paragraph.
fn sections(piece: &str) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    let mut section = Section {
        label: None,
        text: "",
    };
    let (mut start, mut at) = (0, 0);
    let mut short = false;
    for line in piece.split_inclusive('\n') {
        let label = label_of_question(&piece[at..]);
        let ends =
            is_answer_label(line) || is_marker_line(line) || is_document_label(line) || is_step_label(line);
        let over = short && (line.trim().is_empty() || is_note(line));
        if label.is_some() || ends || over {
            section.text = &piece[start..at];
            sections.push(section);
            section = Section {
                label: None,
                text: "",
            };
            (start, short) = (at + line.len(), false);
            if let Some((name, label)) = label {
                section.label = Some(name);
                start = piece.len() - label.rest.len();
                short = !label.alone;
            } else if is_document_label(line) && !is_answer_label(line) {
                start = at;
            }
        }
        at += line.len();
    }
    section.text = piece.get(start..).unwrap_or_default();
    sections.push(section);
    sections.retain(|section| section.text.contains(char::is_alphanumeric));
    sections
}

impl Section<'_> {
    fn read(&self, said: &mut Vec<Said>) {
        match self.label {
            Some(name @ (QuestionName::Question | QuestionName::Task)) => {
                let text = question_text(without_marks(self.text));
                // A template's task: "Respond to the query using the context."
                let points = name == QuestionName::Task && only_points(text) && !demands_more(text);
                let weight = if points { LITTLE } else { 1.0 };
                read_list_or(text, said, |text| vec![say(text, weight, AskSource::Label)]);
            }
            Some(QuestionName::Instructions) | None => read_list_or(self.text, said, read_paragraphs),
        }
    }
}

/// Reads the items of a list of questions and what stands around it, or all of it by `otherwise`.
fn read_list_or(text: &str, said: &mut Vec<Said>, otherwise: impl Fn(&str) -> Vec<Said>) {
    let Some(list) = find_list(text) else {
        said.extend(otherwise(text));
        return;
    };
    let leads = |intro: &str| intro.len() <= 200 && intro.ends_with([':', '：']) && !transforms(intro);
    if !leads(list.before) && list.before.contains(char::is_alphanumeric) {
        said.extend(otherwise(list.before));
    }
    said.extend(list.items.iter().map(|item| say(item, 1.0, AskSource::Numbered)));
    if list.behind.contains(char::is_alphanumeric) {
        said.extend(read_paragraphs(list.behind));
    }
}

/// A list of questions within instructions.
struct List<'a> {
    before: &'a str,
    items: Vec<&'a str>,
    behind: &'a str,
}

/// Finds a list of at least two questions: items on lines of their own, or numbered within a sentence.
fn find_list(text: &str) -> Option<List<'_>> {
    list_of_lines(text).or_else(|| list_in_line(text))
}

fn list_of_lines(text: &str) -> Option<List<'_>> {
    let mut starts = Vec::new();
    let (mut at, mut end, mut blank) = (0, text.len(), false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start();
        if let Some(mark) = list_mark(bare) {
            starts.push(at + line.len() - bare.len() + mark);
        } else if blank && !starts.is_empty() && !bare.is_empty() {
            end = at;
            break;
        }
        blank = bare.trim().is_empty();
        at += line.len();
    }
    let first = *starts.first()?;
    let mut items = Vec::new();
    for (number, start) in starts.iter().take(ITEMS).enumerate() {
        let line_end = starts.get(number + 1).copied().unwrap_or(end);
        let item = text.get(*start..line_end)?;
        // Without the mark of the item behind it.
        let item = match starts.get(number + 1) {
            Some(_) => item.rsplit_once('\n').map_or(item, |(item, _)| item),
            None => item,
        };
        items.push(item.trim());
    }
    let line = text[..first].rfind('\n').map_or(0, |at| at + 1);
    into_list(text[..line].trim(), items, text[end..].trim())
}

/// Finds `1) ..., 2) ..., 3) ...` within a sentence.
fn list_in_line(text: &str) -> Option<List<'_>> {
    let mut starts = Vec::new();
    let mut from = 0;
    for number in 1..=ITEMS {
        let found = ["(#)", "#)", "#.", "#、"].iter().find_map(|form| {
            let mark = form.replace('#', &number.to_string());
            let at = from + text.get(from..)?.find(&mark)?;
            let before = text[..at].chars().next_back();
            let apart = before.is_none_or(|c| !c.is_alphanumeric() && !".,(".contains(c));
            let spaced = text[at + mark.len()..].starts_with(|c: char| !c.is_ascii_digit());
            (apart && spaced).then_some((at, at + mark.len()))
        });
        let Some((at, behind)) = found else { break };
        starts.push((at, behind));
        from = behind;
    }
    let items = starts.iter().enumerate().filter_map(|(number, (_, start))| {
        let end = starts.get(number + 1).map_or(text.len(), |(at, _)| *at);
        Some(
            text.get(*start..end)?
                .trim()
                .trim_end_matches([',', ';', '，', '；']),
        )
    });
    let items: Vec<_> = items.collect();
    let (first, _) = *starts.first()?;
    into_list(text[..first].trim(), items, "")
}

/// Makes a list of the items that ask; none of fewer than two, or of rules.
fn into_list<'a>(before: &'a str, items: Vec<&'a str>, behind: &'a str) -> Option<List<'a>> {
    let all = items.len();
    let asks = |item: &&str| {
        item.contains(char::is_alphanumeric) && item.len() <= LONGEST_ITEM && !is_about_form(item)
    };
    let items: Vec<_> = items.into_iter().filter(asks).collect();
    if items.iter().any(|item| declared_field(item).is_some()) {
        let asked = items
            .iter()
            .filter(|item| declared_field(item).is_none_or(|field| asks_by(&field)));
        return Some(List {
            before,
            items: asked.filter_map(|item| item.lines().next()).collect(),
            behind,
        });
    }
    let rules = items
        .iter()
        .filter(|item| super::speech::is_standing(item) && !super::phrases::asks(item));
    let enough = items.len() >= 2 && items.len() * 2 > all && rules.count() * 2 < items.len();
    enough.then_some(List {
        before,
        items,
        behind,
    })
}

/// Reads paragraphs: short ones together are one ask.
fn read_paragraphs(text: &str) -> Vec<Said> {
    let mut said: Vec<Said> = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let paragraphs = text.split("\n\n").map(without_marks);
    for paragraph in paragraphs.map(without_goal_label) {
        let line = !paragraph.contains('\n');
        let names =
            is_answer_label(paragraph) || line && (is_document_label(paragraph) || is_mark(paragraph));
        let note = is_note(paragraph) && !(says_more(paragraph) && is_request(paragraph));
        if names || note || !paragraph.contains(char::is_alphanumeric) {
            continue;
        }
        let courtesy = paragraph.len() <= COURTESY && !paragraph.contains(QUESTION_MARKS);
        if courtesy && text.trim().len() > paragraph.len() && judge(paragraph) == Need::None {
            continue;
        }
        let leads = paragraph.len() <= LEAD && paragraph.ends_with([':', '：']);
        if leads && !transforms(paragraph) {
            if paragraph.split_whitespace().count() >= 4 {
                said.push(say(paragraph, LITTLE, AskSource::Words));
            }
            continue;
        }
        let points = (paragraph.len() <= 400 && only_points(paragraph)) || is_about_form(paragraph);
        if points && !demands_more(paragraph) {
            said.push(say(paragraph, LITTLE, AskSource::Words));
        } else {
            words.push(paragraph);
        }
    }
    let all: usize = words.iter().map(|paragraph| paragraph.len() + 2).sum();
    if all <= ONE_ASK || words.len() == 1 {
        if !words.is_empty() {
            said.push(say(&words.join("\n\n"), 1.0, AskSource::Words));
        }
    } else {
        said.extend(words.iter().map(|paragraph| {
            let weight = if is_request(paragraph) { 1.0 } else { STATED };
            say(paragraph, weight, AskSource::Words)
        }));
    }
    said.extend(words.iter().flat_map(|paragraph| questions(paragraph)));
    said
}

/// Returns true for a line that says more behind its colon than a note does: many words, or a list of things.
fn says_more(line: &str) -> bool {
    let behind = line.split_once(": ").filter(|_| !line.contains('\n'));
    behind.is_some_and(|(_, said)| {
        said.split_whitespace().count() > 6 || said.matches([',', '，', '、', '،']).count() >= 2
    })
}

/// Returns true for a line of marks: a fence, a rule, a banner.
fn is_mark(line: &str) -> bool {
    let fence = line.starts_with("```") || line.starts_with("~~~");
    fence || is_banner(line) || !line.contains(char::is_alphanumeric)
}

/// Returns a paragraph without lines of marks at its ends, and without the name of who
/// speaks: `User: ...`.
fn without_marks(paragraph: &str) -> &str {
    let mut text = paragraph.trim();
    while let Some((_, behind)) = text.split_once('\n').filter(|(first, _)| is_mark(first)) {
        text = behind.trim_start();
    }
    while let Some((before, _)) = text.rsplit_once('\n').filter(|(_, last)| is_mark(last.trim())) {
        text = before.trim_end();
    }
    match text.split_once(':') {
        Some((name, said)) if is_user(name) && !said.trim().is_empty() => said.trim_start(),
        _ => text,
    }
}

/// Returns the questions of a paragraph that asks several.
fn questions(paragraph: &str) -> Vec<Said> {
    if paragraph.matches(QUESTION_MARKS).count() < 2 {
        return Vec::new();
    }
    let sentences = paragraph
        .split_inclusive(QUESTION_MARKS)
        .filter(|text| text.ends_with(QUESTION_MARKS));
    let questions = sentences.map(|sentence| {
        let from = sentence.rfind(['.', '!', '。']).map_or(0, |at| at + 1);
        sentence.get(from..).unwrap_or(sentence)
    });
    let questions = questions.map(|question| without_list_mark(question.trim()));
    questions
        .filter(|question| question.chars().count() >= 6)
        .take(QUESTIONS)
        .map(|question| say(question, 0.8, AskSource::Numbered))
        .collect()
}
