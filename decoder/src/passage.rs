//! A piece of a document as a model reads it, and as JSON strings hold it, with the way back to the bytes of the source.

use std::ops::Range;

/// Most bytes of a quote in JSON. A longer unit is cut between words.
pub(crate) const MOST_QUOTE_BYTES: usize = 1200;

/// A piece of a document that facts are written about.
///
/// The model reads it without control characters and with white space evened out: one character for each run, a line feed
/// where a unit ends with its line and a space elsewhere. Every character that is left leads back to where it stands in the
/// source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passage {
    shown: String,
    /// `shown` as the inside of a JSON string.
    written: String,
    marks: Vec<Mark>,
    /// Where quotes may begin, in `written`: at words.
    starts: Vec<usize>,
    /// Where units end, in `written`.
    ends: Vec<usize>,
}

/// Where a character begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    shown: usize,
    written: usize,
    source: usize,
    /// Where it ends in the source. A run of white space is one character.
    source_end: usize,
}

impl Passage {
    /// Reads a piece of a document. `ends` are the bytes at which its units (sentences, rows) end, in order: quotes end there.
    pub fn new(source: &str, ends: &[usize]) -> Self {
        let mut passage = Self {
            shown: String::new(),
            written: String::new(),
            marks: Vec::new(),
            starts: Vec::new(),
            ends: Vec::new(),
        };
        let mut ends = ends.iter().copied().peekable();
        let mut space: Option<Range<usize>> = None;
        for (start, character) in source.char_indices() {
            let end = start + character.len_utf8();
            if character.is_whitespace() {
                space.get_or_insert(start..end).end = end;
                continue;
            }
            if character.is_control() {
                continue;
            }
            if let Some(run) = space.take().filter(|_| !passage.shown.is_empty()) {
                let line = source.get(run.clone()).is_some_and(|run| run.contains('\n'));
                let at_end = passage.ends.last() == Some(&passage.written.len());
                passage.push(if line && at_end { '\n' } else { ' ' }, run);
            }
            passage.push(character, start..end);
            while let Some(unit) = ends.next_if(|unit| *unit <= end) {
                // White space has no end of its own.
                if unit == end {
                    passage.ends.push(passage.written.len());
                }
            }
        }
        if passage.ends.last() != Some(&passage.written.len()) {
            passage.ends.push(passage.written.len());
        }
        passage
    }

    fn push(&mut self, character: char, source: Range<usize>) {
        let before = self.shown.chars().next_back();
        let starts = match before {
            None => true,
            Some(before) if before.is_whitespace() => true,
            Some(before) => !before.is_alphanumeric() && character.is_alphanumeric(),
        };
        if starts && !character.is_whitespace() {
            self.starts.push(self.written.len());
        }
        self.marks.push(Mark {
            shown: self.shown.len(),
            written: self.written.len(),
            source: source.start,
            source_end: source.end,
        });
        self.shown.push(character);
        match character {
            '"' => self.written.push_str("\\\""),
            '\\' => self.written.push_str("\\\\"),
            '\n' => self.written.push_str("\\n"),
            other => self.written.push(other),
        }
    }

    /// Returns the text as a model reads it.
    pub fn text(&self) -> &str {
        &self.shown
    }

    /// Returns the text as the inside of a JSON string.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Returns the end of the unit in which, or at which, a byte of the written text is. A unit that makes the quote from
    /// `start` too long is cut between words.
    pub(crate) fn end_from(&self, start: usize, at: usize) -> usize {
        let index = self.ends.partition_point(|end| *end < at);
        let end = self.ends.get(index).copied().unwrap_or(self.written.len());
        let most = start.saturating_add(MOST_QUOTE_BYTES);
        if end <= most {
            return end;
        }
        let spaces = self.marks.partition_point(|mark| mark.written <= most);
        let marks = self.marks.get(..spaces).unwrap_or_default();
        let inside = marks.iter().rev().take_while(|mark| mark.written > at);
        let mut inside = inside.filter(|mark| self.shown_at(mark).is_some_and(char::is_whitespace));
        inside
            .next()
            .map_or_else(|| self.boundary(at.max(most)), |mark| mark.written)
    }

    /// Returns the first end of a unit after a byte of the written text, none if the quote from `start` would be too long.
    pub(crate) fn end_after(&self, start: usize, at: usize) -> Option<usize> {
        let end = *self.ends.get(self.ends.partition_point(|end| *end <= at))?;
        (end - start <= MOST_QUOTE_BYTES).then_some(end)
    }

    fn shown_at(&self, mark: &Mark) -> Option<char> {
        self.shown.get(mark.shown..)?.chars().next()
    }

    /// Returns the last beginning of a character at or before a byte of the written text.
    fn boundary(&self, at: usize) -> usize {
        let after = self.marks.partition_point(|mark| mark.written <= at);
        match after.checked_sub(1).and_then(|index| self.marks.get(index)) {
            Some(mark) if at < self.written.len() => mark.written,
            _ => self.written.len(),
        }
    }

    /// Returns where a part of the written text stands in the source; none if it holds nothing but white space.
    pub(crate) fn source_of_written(&self, written: Range<usize>) -> Option<Range<usize>> {
        let first = self.marks.partition_point(|mark| mark.written < written.start);
        let last = self.marks.partition_point(|mark| mark.written < written.end);
        self.source_of(first..last)
    }

    /// Returns what the model reads of a part of the source.
    pub(crate) fn text_of(&self, source: &Range<usize>) -> String {
        let first = self.marks.partition_point(|mark| mark.source < source.start);
        let last = self.marks.partition_point(|mark| mark.source < source.end);
        let at = |index: usize| self.marks.get(index).map_or(self.shown.len(), |mark| mark.shown);
        self.shown.get(at(first)..at(last)).unwrap_or_default().to_owned()
    }

    /// Returns where a quote stands in the source: the first place that has its words in their order, with any white space
    /// between them. None if no place has.
    pub fn find(&self, quote: &str) -> Option<Range<usize>> {
        let words: Vec<&str> = quote.split_whitespace().collect();
        let quote = words.join(" ");
        if !quote.contains(char::is_alphanumeric) {
            return None;
        }
        // Both are one byte long, so places stay what they are.
        let flat = self.shown.replace('\n', " ");
        let start = flat.find(&quote)?;
        let first = self.marks.partition_point(|mark| mark.shown < start);
        let last = self
            .marks
            .partition_point(|mark| mark.shown < start + quote.len());
        self.source_of(first..last)
    }

    fn source_of(&self, marks: Range<usize>) -> Option<Range<usize>> {
        let marks = self.marks.get(marks)?;
        let solid = |mark: &&Mark| self.shown_at(mark).is_some_and(|c| !c.is_whitespace());
        let first = marks.iter().find(solid)?;
        let last = marks.iter().rev().find(solid)?;
        Some(first.source..last.source_end)
    }
}
