//! What system texts ask of the documents: the task in what they say beside their contexts. Personas, house rules and
//! orders about the form ask nothing of a document, unless the user sends nothing but one.

use std::cell::OnceCell;

use super::frame::Frame;
use super::phrases::{asks, only_points};
use super::speech::{demands_more, is_request, is_request_by_form, is_standing, judge, sentences};
use super::split::{is_about_form, is_persona, label_of_question, without_goal_label};
use super::view::AskSource;
use super::words::{LITTLE, Said, read_instructions};
use crate::need::Need;

/// Weight of a task beside the user's own words.
const BESIDE: f32 = 0.5;
/// A longer system text is a manual: only what it labels as a task is one, and its last paragraphs that ask.
const MANUAL: usize = 4_000;
/// Most tasks that are taken.
const TASKS: usize = 4;
/// The longest paragraph that is a task beside others, in bytes.
const LONGEST_TASK: usize = 1_500;
/// The longest lead before a task, in bytes: "Answer this about the agreement that follows:".
const LEAD: usize = 120;

/// What the system texts of a conversation say beside their contexts, and the tasks in it.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    texts: Vec<String>,
    alone: OnceCell<Vec<Said>>,
    beside: OnceCell<Vec<Said>>,
}

impl Tasks {
    /// Adds what a system text says beside its contexts.
    pub(super) fn push(&mut self, text: String) {
        self.texts.push(text);
        (self.alone, self.beside) = (OnceCell::new(), OnceCell::new());
    }

    /// Returns the tasks for a user who sends nothing but a document.
    pub(super) fn alone(&self) -> &[Said] {
        self.alone.get_or_init(|| read_tasks(&self.texts, true))
    }

    /// Returns what the tasks need for a user who sends nothing but a document.
    pub(super) fn need(&self) -> Need {
        let tasks: Vec<_> = self.alone().iter().map(|task| task.text.as_str()).collect();
        if tasks.is_empty() {
            Need::None
        } else {
            judge(&tasks.join("\n"))
        }
    }

    /// Returns whether a task orders all that is sent to be transformed. A persona orders nothing.
    pub(super) fn transform(&self) -> bool {
        let orders = |task: &Said| judge(&task.text) == Need::Transform && !is_persona(&task.text);
        self.alone().iter().any(orders)
    }

    /// Returns the tasks for a user who asks himself.
    pub(super) fn beside(&self) -> &[Said] {
        self.beside.get_or_init(|| read_tasks(&self.texts, false))
    }
}

/// Reads the tasks in system texts from which the contexts are cut. `alone` says that the user asks nothing.
fn read_tasks(texts: &[String], alone: bool) -> Vec<Said> {
    let mut tasks = Vec::new();
    for text in texts {
        let labelled = labelled_tasks(text);
        let found = match () {
            () if !labelled.is_empty() => labelled,
            () if alone => whole_task(text),
            () => asking_paragraphs(text),
        };
        tasks.extend(found);
    }
    tasks.truncate(TASKS);
    for task in &mut tasks {
        task.weight *= if alone { 1.0 } else { BESIDE };
    }
    tasks
}

/// Reads words in tags and behind labels that are named for a task or a question, on a line of their own or within one.
fn labelled_tasks(text: &str) -> Vec<Said> {
    let read = read_instructions(text).said;
    let is_labelled =
        |said: &Said| matches!(said.source, AskSource::Label | AskSource::Numbered) && said.weight > LITTLE;
    if read
        .iter()
        .any(|said| said.source == AskSource::Label && said.weight > LITTLE)
    {
        return read.into_iter().filter(is_labelled).collect();
    }
    let starts = text.match_indices(". ").map(|(at, _)| at + 2);
    let label = starts.filter_map(|at| {
        let (_, label) = label_of_question(text.get(at..)?)?;
        (!label.alone).then_some(label.rest)
    });
    label
        .take(1)
        .flat_map(|rest| read_instructions(rest).said)
        .map(|said| Said {
            source: AskSource::Label,
            weight: 1.0,
            ..said
        })
        .collect()
}

/// Takes all of a system text for the task, but for personas and leads that only point.
fn whole_task(text: &str) -> Vec<Said> {
    if text.len() > MANUAL {
        return asking_paragraphs(text);
    }
    if judge(text) == Need::None {
        return Vec::new();
    }
    let mut said = read_instructions(text).said;
    for said in &mut said {
        said.source = if said.source == AskSource::Words {
            AskSource::Task
        } else {
            said.source
        };
        said.text = without_lead(without_persona(&said.text)).to_owned();
    }
    said
}

/// Returns a text without first sentences that say who the assistant is, if more stands behind them.
fn without_persona(text: &str) -> &str {
    let mut rest = text.trim();
    while let Some(sentence) = sentences(rest).next() {
        let behind = rest.get(sentence.len()..).unwrap_or_default().trim();
        let persona = sentence.len() <= 200
            && !sentence.contains(['?', ':', '？', '：'])
            && is_standing(sentence)
            && !asks(sentence);
        // Orders about the form alone are no task.
        if !persona || behind.chars().count() < 8 || is_about_form(behind) {
            break;
        }
        rest = behind;
    }
    rest
}

/// Returns a text without a lead that only points at what follows it.
fn without_lead(text: &str) -> &str {
    let lead = text.find([':', '：']).filter(|at| *at <= LEAD);
    let Some((lead, rest)) = lead.and_then(|at| {
        Some((
            text.get(..at)?,
            text.get(at..)?.trim_start_matches([':', '：', ' ']),
        ))
    }) else {
        return text;
    };
    if only_points(lead) && rest.len() >= 12 && !rest.starts_with('\n') && !demands_more(lead) {
        rest
    } else {
        text
    }
}

/// Reads the paragraphs of a system text that ask something of a document, beside a user who asks himself: without
/// personas, rules, and sentences that only point.
fn asking_paragraphs(text: &str) -> Vec<Said> {
    let frame = Frame::read(text);
    let paragraphs = frame.pieces.iter().flat_map(|piece| piece.split("\n\n"));
    let short = paragraphs
        .map(str::trim)
        .filter(|paragraph| paragraph.len() <= LONGEST_TASK);
    let asking: Vec<_> = short.filter_map(asking_sentences).collect();
    // The last ones are the nearest to the document.
    let skip = asking.len().saturating_sub(TASKS);
    let tasks = asking
        .into_iter()
        .skip(skip)
        .filter(|text| judge(text) != Need::None);
    tasks
        .map(|text| Said {
            text,
            weight: 1.0,
            source: AskSource::Task,
        })
        .collect()
}

/// Returns the sentences of a paragraph that ask something of a document, if there are any.
fn asking_sentences(paragraph: &str) -> Option<String> {
    let asking = sentences(without_goal_label(paragraph)).filter(|sentence| {
        let points = only_points(sentence) && !demands_more(sentence);
        // A line that leads to a document: "Transcript of the meeting:".
        let leads = sentence.ends_with([':', '：']) && !is_request_by_form(sentence);
        !leads && is_request(sentence) && !is_standing(sentence) && !is_about_form(sentence) && !points
    });
    let asking = asking.collect::<Vec<_>>().join(" ");
    (!asking.is_empty()).then_some(asking)
}
