//! Finds tables and cuts them into rows: Markdown, HTML, separated values, drawn with rules, fixed-width columns.

use super::SpanKind;
use super::cutter::Cutter;
use super::lines::Line;

mod ruled;
mod separated;

/// Fewest lines of a table that has no mark but the likeness of its lines.
const MIN_LIKE_ROWS: usize = 3;

/// Lines longer than this, in bytes, are not read as fixed-width columns.
const MAX_FIXED_WIDTH: usize = 400;

/// Leading rows that may form the header of a Markdown table.
const MAX_HEADER_ROWS: usize = 4;

/// A table made of lines.
pub(super) struct Table {
    /// One past the last line.
    pub(super) end: usize,
    /// Number of leading lines that are the header.
    header: usize,
    /// First line of each row behind the header.
    rows: Vec<usize>,
}

impl Table {
    /// Finds the table that begins at a line, if one does.
    pub(super) fn find_at(text: &str, lines: &[Line], at: usize) -> Option<Self> {
        let first = lines.get(at)?.text(text);
        if first.trim_start().starts_with('|') {
            return find_markdown(text, lines, at);
        }
        separated::find_separated(text, lines, at)
            .or_else(|| ruled::find_grid(text, lines, at))
            .or_else(|| ruled::find_ruled(text, lines, at))
            .or_else(|| find_fixed_width(text, lines, at))
    }

    /// Makes a table whose rows have a line each.
    fn of_lines(at: usize, end: usize, header: usize) -> Self {
        Self {
            end,
            header,
            rows: (at + header..end).collect(),
        }
    }

    /// Cuts the table into its header and its rows.
    pub(super) fn cut(&self, cutter: &mut Cutter<'_>, lines: &[Line], at: usize) {
        let mut lead = cutter.heading;
        if self.header > 0
            && let (Some(first), Some(last)) = (lines.get(at), lines.get(at + self.header - 1))
        {
            lead = cutter.push(first.start, last.end, SpanKind::Header, lead);
        }
        let ends = self.rows.iter().skip(1).chain([&self.end]);
        for (&row, &next) in self.rows.iter().zip(ends) {
            if let (Some(first), Some(last)) = (lines.get(row), lines.get(next - 1)) {
                cutter.push_record(first.start, last.end, SpanKind::Row, lead);
            }
        }
    }
}

/// Finds a table of lines that begin with a bar. The header ends with the line of dashes; without one it is
/// the leading rows that have no first cell, or else the first row.
fn find_markdown(text: &str, lines: &[Line], at: usize) -> Option<Table> {
    let bars = |line: &&Line| {
        let line = line.text(text).trim();
        line.starts_with('|') && line.len() > 1 && line[1..].contains('|')
    };
    let rows = lines[at..].iter().take_while(bars).count();
    if rows < 2 {
        return None;
    }
    let row = |i: usize| lines[at + i].text(text).trim();
    let dashes = |row: &str| row.contains('-') && row.chars().all(|c| "|-: \t+".contains(c));
    let leading = rows.min(MAX_HEADER_ROWS);
    let header = match (1..leading).find(|&i| dashes(row(i))) {
        Some(i) => i + 1,
        None => (0..leading)
            .take_while(|&i| row(i)[1..].trim_start().starts_with('|'))
            .count()
            .max(1),
    };
    Some(Table::of_lines(at, at + rows, header.min(rows - 1)))
}

/// Finds a table of lines that leave the same columns blank, two at least.
fn find_fixed_width(text: &str, lines: &[Line], at: usize) -> Option<Table> {
    let mut common = find_gaps(lines[at].text(text))?;
    let mut rows = 1;
    for line in &lines[at + 1..] {
        let Some(gaps) = find_gaps(line.text(text)) else {
            break;
        };
        let shared: Vec<_> = common.iter().filter_map(|&gap| overlap(gap, &gaps)).collect();
        if shared.is_empty() {
            break;
        }
        common = shared;
        rows += 1;
    }
    (rows >= MIN_LIKE_ROWS).then(|| Table::of_lines(at, at + rows, 1))
}

/// Finds the blank columns inside a line, as ranges of characters, each at least two wide; `None` if there
/// are none.
fn find_gaps(line: &str) -> Option<Vec<(usize, usize)>> {
    let line = line.trim_end();
    if line.len() > MAX_FIXED_WIDTH || line.trim_start().is_empty() {
        return None;
    }
    let mut gaps = Vec::new();
    let mut blank_from = None;
    let mut inside = false;
    for (column, c) in line.chars().enumerate() {
        if c.is_whitespace() {
            blank_from = blank_from.or(Some(column));
            continue;
        }
        if let Some(from) = blank_from.take()
            && inside
            && column - from >= 2
        {
            gaps.push((from, column));
        }
        inside = true;
    }
    (!gaps.is_empty()).then_some(gaps)
}

fn overlap(gap: (usize, usize), others: &[(usize, usize)]) -> Option<(usize, usize)> {
    others
        .iter()
        .map(|other| (gap.0.max(other.0), gap.1.min(other.1)))
        .find(|shared| shared.0 < shared.1)
}

/// The search for HTML tables. Remembers that a table has no end, so that many openings cost no more than
/// one.
#[derive(Default)]
pub(super) struct HtmlTables {
    unclosed: bool,
}

impl HtmlTables {
    /// Finds an opening tag in `start..end` and its closing tag anywhere behind it.
    pub(super) fn find(&mut self, text: &str, start: usize, end: usize) -> Option<(usize, usize)> {
        if self.unclosed {
            return None;
        }
        let from = find_tag(text, start, end, "<table")?;
        match find_tag(text, from, text.len(), "</table>") {
            Some(close) => Some((from, close + "</table>".len())),
            None => {
                self.unclosed = true;
                None
            }
        }
    }

    /// Cuts a table at its rows. Leading rows with header cells are the header.
    pub(super) fn cut(cutter: &mut Cutter<'_>, start: usize, end: usize) {
        let mut lead = cutter.heading;
        let mut header_open = true;
        let mut row = start;
        // What stands before the first row (the tag, a caption) goes with it.
        let mut next =
            find_tag(cutter.text, start, end, "<tr").map_or(end, |first| find_next_row(cutter, first, end));
        loop {
            let kind = if header_open && find_tag(cutter.text, row, next, "<th").is_some() {
                SpanKind::Header
            } else {
                SpanKind::Row
            };
            let unit = cutter.push(row, next, kind, lead);
            header_open = kind == SpanKind::Header;
            if header_open {
                lead = unit;
            }
            if next >= end {
                return;
            }
            row = next;
            next = find_next_row(cutter, row, end);
        }
    }
}

/// Finds the beginning of the row behind the one at `row`.
fn find_next_row(cutter: &Cutter<'_>, row: usize, end: usize) -> usize {
    find_tag(cutter.text, row + 1, end, "<tr").unwrap_or(end)
}

/// Finds the first place of a tag, whatever its case, that begins in `start..end`.
fn find_tag(text: &str, start: usize, end: usize, tag: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = start;
    while at < end {
        at += memchr::memchr(b'<', bytes.get(at..end)?)?;
        if bytes
            .get(at..at + tag.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(tag.as_bytes()))
        {
            return Some(at);
        }
        at += 1;
    }
    None
}
