//! Reads a document line by line and hands each stretch of it to what can cut it: code, JSON, tables,
//! headings, speakers' turns, list items, and prose for all the rest.

use super::SpanKind;
use super::cutter::Cutter;
use super::json::JsonSearch;
use super::lines::{Line, split_lines};
use super::pages::Pages;
use super::passages::{Mark, Passages};
use super::sentences;
use super::speakers::{LabelEnd, Speakers};
use super::subtitles;
use super::tables::{HtmlTables, Table};
use super::words;

/// Longest heading, in words and in bytes.
const MAX_HEADING_WORDS: usize = 12;
const MAX_HEADING_BYTES: usize = 160;

/// A list item up to this many words is one unit; a longer one is cut into sentences.
const WHOLE_ITEM_WORDS: usize = 40;

/// A message of a chat up to this many words is one unit with its time and name; a longer one is cut.
const WHOLE_MESSAGE_WORDS: usize = 60;

/// Cuts the cutter's text. Returns true if it is a transcript.
pub(super) fn cut(cutter: &mut Cutter<'_>) -> bool {
    let mut lines = split_lines(cutter.text);
    let speakers = Speakers::find(cutter.text, &lines);
    let passages = Passages::find(cutter.text, &lines);
    let pages = Pages::find(cutter.text, &lines);
    let mut reader = BlockReader {
        cutter,
        speakers,
        passages,
        pages,
        json: JsonSearch::default(),
        html: HtmlTables::default(),
        prose: None,
        breaks: Vec::new(),
        speaker: None,
    };
    let mut at = 0;
    while at < lines.len() {
        at = reader.step(&mut lines, at);
    }
    reader.flush();
    reader.speakers.transcript && !reader.speakers.chat
}

struct BlockReader<'c, 'a> {
    cutter: &'c mut Cutter<'a>,
    speakers: Speakers<'a>,
    passages: Passages,
    pages: Pages,
    json: JsonSearch,
    html: HtmlTables,
    /// Prose that is read and not cut yet.
    prose: Option<Line>,
    /// Page breaks inside of the prose, each in the middle of a sentence.
    breaks: Vec<Line>,
    /// The label of the turn that is being read.
    speaker: Option<u32>,
}

impl BlockReader<'_, '_> {
    /// Reads what begins at a line; returns the first line that is not read.
    fn step(&mut self, lines: &mut [Line], at: usize) -> usize {
        let text = self.cutter.text;
        let line = lines[at];
        let content = line.text(text);
        if let Some(next) = self.step_page(lines, at) {
            return next;
        }
        if content.trim().is_empty() {
            self.end_block();
            return at + 1;
        }
        if let Some((start, end)) = self.html.find(text, line.start, line.end) {
            self.add_prose(Line {
                start: line.start,
                end: start,
            });
            self.flush();
            HtmlTables::cut(self.cutter, start, end);
            self.cutter.next_block();
            return resume(lines, at, end);
        }
        if let Some(end) = find_code_end(text, lines, at) {
            self.flush();
            self.cut_code(lines, at, end);
            return end;
        }
        if let Some(next) = self.step_passage(lines, at) {
            return next;
        }
        if let Some(end) = subtitles::find_cues(text, lines, at) {
            self.flush();
            self.cutter.next_block();
            let lead = self.cutter.heading;
            self.cutter
                .push_record(line.start, lines[end - 1].end, SpanKind::SpeakerTurn, lead);
            return end;
        }
        let indent = content.len() - content.trim_start().len();
        if let Some(value) = self.json.find_at(text, line.start + indent) {
            self.flush();
            value.cut(self.cutter);
            self.cutter.next_block();
            return resume(lines, at, value.end);
        }
        if let Some(label) = self.speakers.find_label(content) {
            return self.cut_turn(lines, at, label);
        }
        if self.speaker.is_none()
            && let Some(table) = Table::find_at(text, lines, at)
        {
            self.flush();
            self.cutter.next_block();
            table.cut(self.cutter, lines, at);
            self.cutter.next_block();
            return table.end;
        }
        self.step_text(lines, at, content.trim())
    }

    /// Ends a paragraph; in a conversation the turn goes on.
    fn end_block(&mut self) {
        self.flush();
        if !self.speakers.transcript {
            self.speaker = None;
        }
        self.cutter.next_block();
    }

    /// Reads what stands on each page, and the break between the halves of a sentence.
    fn step_page(&mut self, lines: &[Line], at: usize) -> Option<usize> {
        let text = self.cutter.text;
        if let Some(prose) = self.prose
            && (self.pages.is_running(at) || lines[at].text(text).trim().is_empty())
        {
            let before = self.cutter.slice(prose.start, prose.end);
            if let Some(next) = self.pages.find_continuation(text, lines, at, before) {
                let end = lines[next].end;
                self.breaks.push(Line {
                    start: prose.end,
                    end: lines[next].start,
                });
                self.prose = Some(Line { end, ..prose });
                return Some(next + 1);
            }
        }
        if !self.pages.is_running(at) {
            return None;
        }
        self.flush();
        self.cutter.next_block();
        self.cutter.push_filler(lines[at].start, lines[at].end);
        self.cutter.next_block();
        Some(at + 1)
    }

    /// Reads the label of a passage, or the tag that closes one.
    fn step_passage(&mut self, lines: &mut [Line], at: usize) -> Option<usize> {
        let line = lines[at];
        let mark = self.passages.find_mark(self.cutter.text, lines, at)?;
        self.flush();
        self.cutter.next_block();
        self.speaker = None;
        match mark {
            Mark::Label(end) => {
                let label = self.cutter.push(line.start, end, SpanKind::Heading, None);
                (self.cutter.passage, self.cutter.heading) = (label, label);
                Some(resume(lines, at, end))
            }
            Mark::Close => {
                self.cutter.push_filler(line.start, line.end);
                (self.cutter.passage, self.cutter.heading) = (None, None);
                Some(at + 1)
            }
        }
    }

    /// Cuts the label of a turn, and with it a message that says when it was written and is short.
    fn cut_turn(&mut self, lines: &[Line], at: usize, label: LabelEnd) -> usize {
        let text = self.cutter.text;
        let line = lines[at];
        self.flush();
        self.cutter.next_block();
        if label.stamped {
            let goes_on = |line: &&Line| {
                let line = line.text(text);
                !line.trim().is_empty() && self.speakers.find_label(line).is_none()
            };
            let end = at
                + 1
                + lines[at + 1..]
                    .iter()
                    .take(WHOLE_MESSAGE_WORDS)
                    .take_while(goes_on)
                    .count();
            let message = self.cutter.slice(line.start, lines[end - 1].end);
            if message.len() <= super::MAX_UNIT_BYTES && words::word_count(message) <= WHOLE_MESSAGE_WORDS {
                self.speaker = self
                    .cutter
                    .push(line.start, lines[end - 1].end, SpanKind::SpeakerTurn, None);
                return end;
            }
        }
        let label_end = line.start + label.end;
        self.speaker = self
            .cutter
            .push(line.start, label_end, SpanKind::SpeakerTurn, None);
        self.add_prose(Line {
            start: label_end,
            end: line.end,
        });
        at + 1
    }

    /// Reads a heading, a list item, or a line of prose.
    fn step_text(&mut self, lines: &[Line], at: usize, trimmed: &str) -> usize {
        let text = self.cutter.text;
        let line = lines[at];
        let alone = self.prose.is_none();
        if self.speaker.is_none()
            && let Some(end) = find_heading_end(text, lines, at, trimmed, alone)
        {
            self.flush();
            self.cutter.next_block();
            self.cutter.heading = self.cutter.push(
                line.start,
                lines[end - 1].end,
                SpanKind::Heading,
                self.cutter.passage,
            );
            return end;
        }
        if self.speaker.is_none() && opens_item(trimmed) {
            self.flush();
            let short =
                trimmed.len() <= super::MAX_UNIT_BYTES && words::word_count(trimmed) <= WHOLE_ITEM_WORDS;
            let lead = self.cutter.heading;
            if short {
                self.cutter.push(line.start, line.end, SpanKind::ListItem, lead);
            } else {
                self.cutter
                    .push_prose(line.start, line.end, SpanKind::ListItem, lead);
            }
            return at + 1;
        }
        self.add_prose(line);
        at + 1
    }

    fn add_prose(&mut self, line: Line) {
        let start = self.prose.map_or(line.start, |prose| prose.start);
        self.prose = Some(Line { start, end: line.end });
    }

    /// Cuts the prose that was read.
    fn flush(&mut self) {
        if let Some(prose) = self.prose.take() {
            let (kind, lead) = match self.speaker {
                Some(label) => (SpanKind::SpeakerTurn, Some(label)),
                None => (SpanKind::Sentence, self.cutter.heading),
            };
            for (start, end) in self.cut_sentences(prose) {
                self.cutter.push(start, end, kind, lead);
            }
        }
    }

    /// Cuts prose into sentences. A sentence goes over the page breaks that were found in it.
    fn cut_sentences(&mut self, prose: Line) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = Vec::new();
        let mut start = prose.start;
        let ends = std::mem::take(&mut self.breaks);
        let last = Line {
            start: prose.end,
            end: prose.end,
        };
        for page in ends.into_iter().chain([last]) {
            let slice = self.cutter.slice(start, page.start);
            let sentences = sentences::cut(slice)
                .into_iter()
                .map(|(from, to)| (start + from, start + to));
            let mut sentences = sentences.peekable();
            if start > prose.start
                && let (Some(open), Some(rest)) = (found.last_mut(), sentences.next())
            {
                open.1 = rest.1;
            }
            found.extend(sentences);
            start = page.end;
        }
        found
    }

    /// Adds a fenced block: whole if it is short, else cut at its lines.
    fn cut_code(&mut self, lines: &[Line], at: usize, end: usize) {
        self.cutter.next_block();
        let mut start = lines[at].start;
        let mut words = 0;
        for line in &lines[at..end] {
            let count = words::word_count(line.text(self.cutter.text));
            let long = words + count > super::MAX_UNIT_WORDS || line.end - start > super::MAX_UNIT_BYTES;
            if long && line.start > start {
                self.cutter
                    .push(start, line.start, SpanKind::Code, self.cutter.heading);
                (start, words) = (line.start, 0);
            }
            words += count;
        }
        self.cutter
            .push(start, lines[end - 1].end, SpanKind::Code, self.cutter.heading);
        self.cutter.next_block();
    }
}

/// Moves the beginning of the line that holds a byte to it, and returns the number of that line.
fn resume(lines: &mut [Line], at: usize, byte: usize) -> usize {
    let mut next = at;
    while next < lines.len() && lines[next].end <= byte {
        next += 1;
    }
    if let Some(line) = lines.get_mut(next) {
        line.start = line.start.max(byte);
    }
    next
}

/// Returns one past the line that closes the fence which a line opens; the document's end closes it too.
fn find_code_end(text: &str, lines: &[Line], at: usize) -> Option<usize> {
    let open = lines[at].text(text).trim_start();
    let fence = ["```", "~~~"].into_iter().find(|fence| open.starts_with(fence))?;
    let closes = |line: &Line| {
        let line = line.text(text).trim();
        line.starts_with(fence) && line.trim_start_matches(&fence[..1]).is_empty()
    };
    Some(
        lines[at + 1..]
            .iter()
            .position(closes)
            .map_or(lines.len(), |offset| at + 1 + offset + 1),
    )
}

/// Returns one past the last line of the heading that a line opens.
fn find_heading_end(text: &str, lines: &[Line], at: usize, trimmed: &str, alone: bool) -> Option<usize> {
    if trimmed.len() > MAX_HEADING_BYTES {
        return None;
    }
    let hashes = trimmed.len() - trimmed.trim_start_matches('#').len();
    if (1..=6).contains(&hashes) && trimmed[hashes..].starts_with(' ') {
        return Some(at + 1);
    }
    let next = lines
        .get(at + 1)
        .map(|line| line.text(text).trim())
        .unwrap_or_default();
    let titled =
        alone && words::word_count(trimmed) <= MAX_HEADING_WORDS && trimmed.chars().any(char::is_alphabetic);
    if !titled {
        return None;
    }
    let underline = next.len() >= 3 && (next.bytes().all(|b| b == b'=') || next.bytes().all(|b| b == b'-'));
    if underline {
        return Some(at + 2);
    }
    let blank = |line: Option<&Line>| line.is_none_or(|line| line.text(text).trim().is_empty());
    let opens_block = at == 0 || blank(lines.get(at - 1));
    let closed = trimmed.ends_with(['.', '!', '?', ',', ';', ':', '。', '！', '？', '…', '"', '”']);
    let wrapped = next.starts_with(char::is_lowercase);
    let followed = !wrapped && (!next.is_empty() || !blank(lines.get(at + 2)));
    (opens_block && !closed && followed && opens_title(trimmed)).then_some(at + 1)
}

/// Returns true if a line could be a title by its first character: no lower-case letter, no bullet.
fn opens_title(trimmed: &str) -> bool {
    (!opens_item(trimmed) || is_numbered_title(trimmed))
        && trimmed
            .chars()
            .next()
            .is_some_and(|c| c.is_alphanumeric() && !c.is_lowercase())
}

/// Returns true for a number and a title in capitals, such as "9. LIMITATION OF LIABILITY".
fn is_numbered_title(trimmed: &str) -> bool {
    trimmed.starts_with(|c: char| c.is_ascii_digit())
        && !trimmed.contains(char::is_lowercase)
        && trimmed.chars().filter(|c| c.is_uppercase()).count() >= 5
}

/// Returns true if a line begins with a bullet, or with a number or letter and a bracket or a full stop.
fn opens_item(trimmed: &str) -> bool {
    let mut chars = trimmed.chars();
    let Some(first) = chars.next() else { return false };
    if "-*+•◦▪‣·–—".contains(first) {
        return chars.next().is_some_and(char::is_whitespace);
    }
    let inner = trimmed.strip_prefix('(').unwrap_or(trimmed);
    let mark = inner
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(inner.len());
    let rest = &inner[mark..];
    let bracketed = rest.starts_with(')') && (1..=4).contains(&mark);
    let numbered = inner.len() == trimmed.len()
        && rest.starts_with('.')
        && (1..=3).contains(&mark)
        && inner[..mark].bytes().all(|b| b.is_ascii_digit());
    (bracketed || numbered) && rest[1..].chars().next().is_some_and(char::is_whitespace)
}
