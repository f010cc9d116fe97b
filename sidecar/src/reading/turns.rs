//! Cuts a request into turns and reads each: first its texts, then what is asked of them. A turn is read with nothing
//! but what stands before its end, so that it reads the same in every later request of the conversation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::asks::Asks;
use super::calls::{read_arguments, read_said};
use super::context::find_contexts;
use super::output::reason_by_kind;
use super::payload::read_payloads;
use super::results::{ResultDocument, read_json, read_result};
use super::speech::{is_request_by_form, judge, more_demanding, transforms};
use super::system::Tasks;
use super::user::{ReadText, UserText, read_user_texts};
use super::view::{Ask, AskSource, Reading, Site, SiteKind, Turn, Words};
use super::words::{LITTLE, Said};
use crate::api::{Reason, Surface};
use crate::need::{Need, QUESTION_MARKS};
use crate::request::{Part, PartKind, Request, Role, Text, ToolCall};

/// Weights of the user's words of an earlier turn, for what a tool answered: the latest, and the first.
const GOAL: f32 = 0.8;
const FIRST_GOAL: f32 = 0.4;
/// The fewest answers of one call that are passages, and the longest of them, in bytes.
const PASSAGES: usize = 4;
const LONGEST_PASSAGE: usize = 12 << 10;

/// Reads a request. Pure, and linear in its length.
pub fn read<'a>(request: &Request<'a>) -> Reading<'a> {
    let mut conversation = Conversation::new(request);
    let turns = cut(&request.parts);
    Reading {
        turns: turns
            .into_iter()
            .map(|parts| conversation.read_turn(parts))
            .collect(),
    }
}

/// Cuts parts at what the model says. What stands before the first word of a user or a tool belongs to their turn, a
/// greeting of the model included.
fn cut(parts: &[Part<'_>]) -> Vec<Range<usize>> {
    let mut turns = Vec::new();
    let (mut start, mut spoken) = (None, false);
    for (at, part) in parts.iter().enumerate() {
        if part.role != Role::Assistant {
            start.get_or_insert(at);
            spoken |= part.role != Role::System;
        } else if let Some(from) = start.filter(|_| spoken) {
            turns.push(from..at);
            (start, spoken) = (None, false);
        }
    }
    turns.extend(start.map(|start| start..parts.len()));
    turns
}

/// What is known of a conversation up to a turn.
struct Conversation<'r, 'a> {
    request: &'r Request<'a>,
    /// The calls of each id, in order.
    calls: HashMap<&'r str, Vec<&'r ToolCall<'a>>>,
    /// Parts before this one are under a marker of the provider's cache.
    cached: usize,
    /// What the system texts say beside their contexts.
    tasks: Tasks,
    /// What the user said in the first turn with words, and in the last one.
    first_goal: Vec<Said>,
    goal: Goal,
    has_sites: bool,
    /// Where the turn before ends.
    end: usize,
}

/// What the user wants.
#[derive(Debug, Default)]
struct Goal {
    said: Vec<Said>,
    /// The words as they stand together.
    request: String,
}

impl Goal {
    /// Judges how much of a document it needs. Where a question is labelled, that is the question, and what stands beside
    /// it orders the answer's form, unless it surely orders the text to be transformed.
    fn need(&self) -> Need {
        let labelled = self
            .said
            .iter()
            .filter(|said| said.source == AskSource::Label && said.weight > LITTLE);
        let need = labelled
            .map(|said| judge(up_to_its_mark(&said.text)))
            .reduce(more_demanding);
        match need {
            Some(_) if transforms(&self.request) => Need::Transform,
            Some(need) => need,
            None => judge(&self.request),
        }
    }
}

/// Returns a question without what stands behind its last question mark: orders about the answer's form.
fn up_to_its_mark(question: &str) -> &str {
    let mark = question
        .char_indices()
        .rev()
        .find(|(_, c)| QUESTION_MARKS.contains(c));
    mark.map_or(question, |(at, c)| &question[..at + c.len_utf8()])
}

/// The texts of a turn, read.
#[derive(Default)]
struct TurnTexts<'a> {
    sites: Vec<Site<'a>>,
    user: Vec<ReadText>,
    words: Option<Words<'a>>,
    has_results: bool,
}

impl<'r, 'a> Conversation<'r, 'a> {
    fn new(request: &'r Request<'a>) -> Self {
        let marked = request.parts.iter().rposition(|part| part.cache_marked);
        let cached = if request.cache_marked {
            request.parts.len()
        } else {
            marked.map_or(0, |at| at + 1)
        };
        let mut calls: HashMap<_, Vec<_>> = HashMap::new();
        for call in &request.calls {
            calls.entry(&*call.id).or_default().push(call);
        }
        Self {
            request,
            calls,
            cached,
            tasks: Tasks::default(),
            first_goal: Vec::new(),
            goal: Goal::default(),
            has_sites: false,
            end: 0,
        }
    }

    fn read_turn(&mut self, parts: Range<usize>) -> Turn<'a> {
        let texts = self.read_texts(parts.clone());
        self.has_sites |= !texts.sites.is_empty();
        let read = || texts.user.iter().map(|text| &text.instructions);
        let now = Goal {
            said: read().flat_map(|text| text.said.iter().cloned()).collect(),
            request: read()
                .map(|text| text.request.trim())
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .to_owned(),
        };
        let now = self.unless_doubtful(now, &texts);
        let (asks, need) = if self.has_sites {
            self.collect(&texts, &now, parts.clone())
        } else {
            (Vec::new(), Need::None)
        };
        if now.said.iter().any(|said| said.weight > LITTLE) {
            if self.first_goal.is_empty() {
                self.first_goal.clone_from(&now.said);
            }
            self.goal = now;
        }
        self.end = parts.end;
        Turn {
            parts,
            sites: texts.sites,
            asks,
            need,
            words: texts.words,
        }
    }

    /// Reads the texts of a turn in order, but the user's together.
    fn read_texts(&mut self, parts: Range<usize>) -> TurnTexts<'a> {
        let mut read = TurnTexts::default();
        let mut user = Vec::new();
        for at in parts {
            let Some((part, text)) = self.text(at) else {
                continue;
            };
            match (part.role, part.kind) {
                (_, PartKind::ToolResult) => {
                    read.has_results = true;
                    self.read_result(at, &text, &mut read.sites);
                }
                (Role::System, PartKind::Text) => self.read_system(at, &text, &mut read.sites),
                (_, PartKind::Document | PartKind::CitedDocument) => {
                    let keep = (part.kind == PartKind::CitedDocument).then_some(Reason::Citations);
                    let keep = keep.or_else(|| reason_by_kind(text.as_str()));
                    let whole = 0..text.as_str().len();
                    read.sites
                        .push(self.site(at, SiteKind::Document, text, whole, keep));
                }
                (Role::User, PartKind::Text) => user.push((at, text)),
                _ => {}
            }
        }
        mark_passages(&self.request.parts, &mut read.sites);
        self.read_user(&user, &mut read);
        let holds = |site: &Site<'a>| {
            let document = site.text.as_str().get(site.document.clone());
            document.is_some_and(|document| !document.trim_start().is_empty())
        };
        read.sites.retain(holds);
        read.sites
            .sort_by_key(|site| (site.part, site.text.locate(site.document.clone()).range.start));
        read
    }

    fn text(&self, at: usize) -> Option<(&'r Part<'a>, Arc<Text<'a>>)> {
        let part = self.request.parts.get(at)?;
        let text = Text::read(part.text?).ok()?;
        Some((part, Arc::new(text)))
    }

    fn site(
        &self,
        part: usize,
        kind: SiteKind,
        text: Arc<Text<'a>>,
        document: Range<usize>,
        keep: Option<Reason>,
    ) -> Site<'a> {
        let cached = (part < self.cached).then_some(Reason::CacheMarked);
        Site {
            part,
            kind,
            tool: None,
            text,
            document,
            passage: false,
            keep: cached.or(keep),
        }
    }

    fn read_result(&self, at: usize, text: &Arc<Text<'a>>, sites: &mut Vec<Site<'a>>) {
        let part = self.request.parts.get(at);
        let call = part.and_then(|part| self.call(part));
        let failed = part
            .is_some_and(|part| part.is_error)
            .then_some(Reason::ToolOutput);
        for found in read_result(text) {
            sites.push(Site {
                tool: call.map(|call| call.name.clone().into_owned()),
                passage: found.passage,
                ..self.site(
                    at,
                    SiteKind::ToolResult,
                    found.text,
                    found.range,
                    failed.or(found.keep),
                )
            });
        }
    }

    fn read_system(&mut self, at: usize, text: &Arc<Text<'a>>, sites: &mut Vec<Site<'a>>) {
        let said = text.as_str();
        let (mut frame, mut from) = (String::new(), 0);
        for context in find_contexts(said) {
            frame.push_str(said[from..context.start].trim());
            frame.push_str("\n\n");
            from = context.end;
            self.push_document(at, SiteKind::System, text, context, sites);
        }
        frame.push_str(said[from..].trim());
        self.tasks.push(frame);
    }

    /// Adds a document that a text holds: as the long texts in it, if it is JSON of such.
    fn push_document(
        &self,
        at: usize,
        kind: SiteKind,
        text: &Arc<Text<'a>>,
        document: Range<usize>,
        sites: &mut Vec<Site<'a>>,
    ) {
        if let Some(strings) = read_list(text, &document) {
            sites.extend(strings.into_iter().map(|string| Site {
                passage: string.passage,
                ..self.site(at, kind, string.text, string.range, string.keep)
            }));
        } else {
            let keep = reason_by_kind(&text.as_str()[document.clone()]);
            sites.push(self.site(at, kind, Arc::clone(text), document, keep));
        }
    }

    fn read_user(&self, texts: &[(usize, Arc<Text<'a>>)], read: &mut TurnTexts<'a>) {
        let prompt = self.request.surface == Surface::Completions;
        let kind = if prompt { SiteKind::Prompt } else { SiteKind::User };
        let views: Vec<_> = texts
            .iter()
            .map(|(at, text)| UserText {
                message: self.request.parts.get(*at).map_or(0, |part| part.message),
                text: text.as_str(),
            })
            .collect();
        let beside = !read.sites.is_empty();
        if self.request.hybrid.is_some() {
            read.user = read_hybrid(self.request, &views);
        } else {
            read.user = read_user_texts(&views, beside, || !self.tasks.beside().is_empty());
            read_payloads(texts, &mut read.user);
        }
        for ((at, text), found) in texts.iter().zip(&read.user) {
            for document in &found.documents {
                let first = read.sites.len();
                self.push_document(*at, kind, text, document.clone(), &mut read.sites);
                for site in read.sites.iter_mut().skip(first) {
                    site.passage |= found.passage;
                    site.keep = site.keep.or(found.code.then_some(Reason::Code));
                }
            }
        }
        let words = |asks: bool| {
            let mut texts = texts.iter().zip(&read.user).rev();
            texts.find_map(|((part, text), read)| {
                let said = !read.instructions.said.is_empty() && (read.asks() || !asks);
                read.words_start.filter(|_| said).map(|start| Words {
                    part: *part,
                    text: Arc::clone(text),
                    start,
                })
            })
        };
        let words = words(true).or_else(|| words(false));
        read.words = words;
    }

    /// Returns what is asked now: nothing, if an earlier turn or the system text asked, this one brings a document alone,
    /// and only the model takes some of its own words for a request.
    fn unless_doubtful(&self, now: Goal, texts: &TurnTexts<'_>) -> Goal {
        let by_wording = |text: &ReadText| text.by_wording || !text.asks();
        let clear = |said: &Said| said.weight > LITTLE && is_request_by_form(&said.text);
        let tasks = self.tasks.alone().iter();
        let asked = self
            .goal
            .said
            .iter()
            .chain(tasks)
            .any(|said| said.text.contains(QUESTION_MARKS));
        if asked && texts.user.iter().all(by_wording) && !now.said.iter().any(clear) {
            return Goal::default();
        }
        now
    }

    /// Collects all that is asked of the turn's documents, and judges what is needed.
    fn collect(&self, texts: &TurnTexts<'a>, now: &Goal, parts: Range<usize>) -> (Vec<Ask>, Need) {
        let mut asks = Asks::default();
        asks.say(&now.said);
        let judged = match () {
            () if !asks.has(AskSource::is_said_now) => Need::None,
            // By a task of its own a caller chose to have evidence extracted, whatever its words.
            () if hybrid_task(self.request).is_some() => Need::Evidence,
            () => now.need(),
        };
        let asked = judged != Need::None;
        let apart = texts.user.iter().any(|text| text.asks() && !text.by_wording);
        if texts.has_results || !asked {
            self.add_calls(parts, &mut asks);
        }
        if texts.has_results || !(asked && apart) {
            let weight = if texts.has_results { GOAL } else { 1.0 };
            add_goals(&self.goal.said, weight, &mut asks);
            add_goals(&self.first_goal, FIRST_GOAL, &mut asks);
        }
        if texts.sites.is_empty() {
            // There is nothing here of which goals and tasks could be asked.
            return (asks.finish(), judged);
        }
        let has_goal = asks.has(|source| source == AskSource::Goal);
        // Words that only their wording tells from a document's leave the task what it is.
        let beside = (asked && apart) || has_goal;
        asks.say(if beside {
            self.tasks.beside()
        } else {
            self.tasks.alone()
        });
        asks.add_fields(&self.request.fields);
        let need = match () {
            // Nothing but its wording tells what is asked from the document: what a system text makes of all that
            // is sent counts as well.
            () if asked && !apart && !texts.has_results => more_demanding(judged, self.tasks.need()),
            () if asked && asks.has(AskSource::is_said_now) => judged,
            () if has_goal => match judge(&self.goal.request) {
                // A step of a longer way: what the model reads this document for, it says itself.
                goal if goal != Need::Transform && asks.said_to_look_up() => Need::Evidence,
                // What is done with all that is sent is done with a document alone too: "Translate into German."
                _ if !texts.has_results && self.tasks.transform() => Need::Transform,
                goal => goal,
            },
            () => self.tasks.need(),
        };
        let others =
            |source: AskSource| source.is_said_now() || matches!(source, AskSource::Goal | AskSource::Task);
        let fields_alone = need == Need::None || !asks.has(others);
        let by_fields = fields_alone && asks.has(|source| source == AskSource::Field);
        (asks.finish(), if by_fields { Need::Evidence } else { need })
    }

    /// Returns the call that a result answers: the last one before it with its id.
    fn call(&self, result: &Part<'_>) -> Option<&'r ToolCall<'a>> {
        let calls = self.calls.get(result.call.as_deref()?)?;
        let before = calls.partition_point(|call| call.message <= result.message);
        calls.get(before.checked_sub(1)?).copied()
    }

    /// Adds what the calls asked that the turn's results answer, and what the model said before them.
    fn add_calls(&self, parts: Range<usize>, asks: &mut Asks) {
        let results = self.request.parts.get(parts.clone()).unwrap_or_default();
        let mut answered: Vec<_> = results.iter().filter_map(|part| self.call(part)).collect();
        answered.dedup_by(|one, other| std::ptr::eq(*one, *other));
        for call in answered {
            asks.say(&read_arguments(call));
        }
        let before = self.request.parts.get(self.end..parts.start).unwrap_or_default();
        let words = before
            .iter()
            .filter(|part| part.role == Role::Assistant && part.kind == PartKind::Text);
        let last = words.filter_map(|part| part.text).next_back();
        let said = last.and_then(|text| read_said(&text.decode_lossy()));
        asks.say(said.as_slice());
    }
}

/// Adds the user's words of an earlier turn.
fn add_goals(said: &[Said], weight: f32, asks: &mut Asks) {
    for said in said.iter().filter(|said| said.weight > LITTLE) {
        asks.add(&said.text, said.weight * weight, AskSource::Goal);
    }
}

/// Reads a document of the user's that is JSON as the long texts in it, if they are most of it: what a template's list
/// of passages is.
fn read_list<'a>(text: &Arc<Text<'a>>, document: &Range<usize>) -> Option<Vec<ResultDocument<'a>>> {
    let strings = read_json(text, document.clone())?;
    let long: usize = strings.iter().map(|string| string.range.len()).sum();
    (long * 2 > document.len()).then_some(strings)
}

/// Takes the many short texts with which a tool answered one call, or that one message holds as documents, for passages.
fn mark_passages(parts: &[Part<'_>], sites: &mut [Site<'_>]) {
    let call = |site: &Site<'_>| parts.get(site.part).map(|part| (part.message, part.call.clone()));
    let short = |site: &Site<'_>| site.document.len() <= LONGEST_PASSAGE;
    let many = |kind| matches!(kind, SiteKind::ToolResult | SiteKind::Document);
    let mut at = 0;
    while let Some(first) = sites.get(at) {
        let (kind, name) = (first.kind, call(first));
        let same = |site: &&Site<'_>| many(kind) && site.kind == kind && call(site) == name;
        let count = sites
            .get(at..)
            .unwrap_or_default()
            .iter()
            .take_while(same)
            .count();
        let run = sites.get_mut(at..at + count).unwrap_or_default();
        if run.len() >= PASSAGES && run.iter().all(short) {
            for site in run {
                site.passage = true;
            }
        }
        at += count.max(1);
    }
}

/// Reads a `/v1/hybrid_chat` call: the document by its name, and the task, or else the prompt.
fn read_hybrid(request: &Request<'_>, texts: &[UserText<'_>]) -> Vec<ReadText> {
    let task = hybrid_task(request);
    let read = texts.iter().enumerate().map(|(at, text)| match at {
        0 => ReadText::of_document(text.text),
        _ => ReadText::of_prompt(task.as_deref().unwrap_or(text.text)),
    });
    read.collect()
}

/// Returns the task of a `/v1/hybrid_chat` call.
fn hybrid_task<'a>(request: &Request<'a>) -> Option<Cow<'a, str>> {
    let task = request.hybrid.as_ref()?.task?.decode_lossy();
    (!task.trim().is_empty()).then_some(task)
}
