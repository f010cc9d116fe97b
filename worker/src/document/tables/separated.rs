//! Tables of separated values, as RFC 4180 has them: cells in quotes may hold separators, line breaks and doubled
//! quotes. Tabs, commas and semicolons separate.

use super::super::MAX_UNIT_BYTES;
use super::super::lines::Line;
use super::super::words;
use super::{MIN_LIKE_ROWS, Table};

/// Most odd records in a row that a table goes on behind, such as one whose comma lacks its quotes.
const MAX_ODD_RECORDS: usize = 2;

/// A separator, and what makes lines with it a table.
struct Format {
    separator: u8,
    fewest_columns: usize,
    fewest_rows: usize,
}

const FORMATS: [Format; 3] = [
    Format {
        separator: b'\t',
        fewest_columns: 2,
        fewest_rows: 2,
    },
    Format {
        separator: b',',
        fewest_columns: 3,
        fewest_rows: MIN_LIKE_ROWS,
    },
    Format {
        separator: b';',
        fewest_columns: 3,
        fewest_rows: MIN_LIKE_ROWS,
    },
];

/// Finds a table of records with the same number of cells that begins at a line.
pub(super) fn find_separated(text: &str, lines: &[Line], at: usize) -> Option<Table> {
    FORMATS.iter().find_map(|format| format.find_at(text, lines, at))
}

/// A record of a table.
struct Record {
    /// One past its last line.
    end: usize,
    cells: usize,
    /// Whether it reads like prose: bare cells of many words, or a closing mark.
    prose: bool,
}

impl Format {
    fn find_at(&self, text: &str, lines: &[Line], at: usize) -> Option<Table> {
        let first = self.read_record(text, lines, at)?;
        if first.cells < self.fewest_columns {
            return None;
        }
        let mut rows = vec![at];
        let mut end = at;
        while end < lines.len() {
            let Some(next) = self.find_alike(text, lines, end, &first, rows.len()) else {
                break;
            };
            if end > at {
                rows.push(end);
            }
            end = next;
        }
        let found = rows.len() >= self.fewest_rows;
        found.then(|| {
            rows.remove(0);
            let body = rows.first().copied().unwrap_or(end);
            Table {
                header: body - at,
                rows,
                end,
            }
        })
    }

    /// Returns the end of the record at a line, if it belongs to the table that `first` begins: it has as many
    /// cells, or a later one has. Only the first rows, by which the table is known, must not read like prose.
    fn find_alike(
        &self,
        text: &str,
        lines: &[Line],
        at: usize,
        first: &Record,
        rows: usize,
    ) -> Option<usize> {
        let known = rows >= self.fewest_rows.max(MIN_LIKE_ROWS);
        let record = self.read_record(text, lines, at)?;
        if record.cells == first.cells && (known || !record.prose) {
            return Some(record.end);
        }
        let mut next = record.end;
        for _ in 0..if known { MAX_ODD_RECORDS } else { 0 } {
            let later = self.read_record(text, lines, next)?;
            if later.cells == first.cells && !later.prose {
                return Some(record.end);
            }
            next = later.end;
        }
        None
    }

    /// Reads the record that begins at a line; `None` if the line is blank.
    fn read_record(&self, text: &str, lines: &[Line], at: usize) -> Option<Record> {
        let line = lines.get(at)?;
        if line.text(text).trim().is_empty() {
            return None;
        }
        let bytes = text.as_bytes();
        let (mut end, mut pos) = (at, line.start);
        let (mut cells, mut bare_cells, mut bare_words) = (0, 0, 0);
        loop {
            cells += 1;
            let cell = pos;
            let closed = find_quoted_end(bytes, cell).filter(|&close| self.ends_cell(bytes, close));
            let quoted = closed.is_some();
            if let Some(close) = closed {
                while lines[end].end < close {
                    end += 1;
                }
                pos = close;
            }
            pos = memchr::memchr2(self.separator, b'\n', &bytes[pos..])
                .map_or(bytes.len(), |found| pos + found);
            let content = text.get(cell..pos).unwrap_or_default();
            if !quoted {
                bare_cells += 1;
                bare_words += words::word_count(content);
            }
            if bytes.get(pos) != Some(&self.separator) {
                let closing_mark = !quoted && content.trim_end().ends_with(['.', '!', '?', ';']);
                let prose = self.separator != b'\t' && (closing_mark || bare_words > 4 * bare_cells);
                return Some(Record {
                    end: end + 1,
                    cells,
                    prose,
                });
            }
            pos += 1;
        }
    }

    /// Returns true if a cell ends behind the quote that closes it.
    fn ends_cell(&self, bytes: &[u8], close: usize) -> bool {
        bytes[close..]
            .iter()
            .find(|&&b| b != b' ' && b != b'\r')
            .is_none_or(|&b| b == self.separator || b == b'\n')
    }
}

/// Returns one past the quote that closes a quoted cell; a quote that stands twice is a part of the cell.
fn find_quoted_end(bytes: &[u8], cell: usize) -> Option<usize> {
    let open = cell + bytes[cell..].iter().take(2).take_while(|&&b| b == b' ').count();
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let most = bytes.len().min(open + MAX_UNIT_BYTES);
    let mut at = open + 1;
    loop {
        at += memchr::memchr(b'"', bytes.get(at..most)?)? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}
