//! Tables drawn with rules: grid tables of Pandoc and reStructuredText, the output of database shells, and simple
//! and multi-line tables, whose columns a line of dashes tells.

use super::super::lines::Line;
use super::Table;

/// Shortest line of dashes that opens a multi-line table.
const MIN_FULL_RULE: usize = 10;

/// Most lines of the header of a multi-line table.
const MAX_HEADER_LINES: usize = 4;

/// Finds a table of cells between borders of `+---+`. Without a border of `+===+`, the first row is the header.
/// A shell draws no borders between rows: each line is a row there.
pub(super) fn find_grid(text: &str, lines: &[Line], at: usize) -> Option<Table> {
    let first = lines
        .get(at + 1)
        .map(|line: &Line| line.text(text).trim())
        .unwrap_or_default();
    if !first.starts_with('|') || !is_border(lines[at].text(text)) {
        return None;
    }
    let inside = |line: &&Line| line.text(text).trim().starts_with(['+', '|']);
    let end = at + lines[at..].iter().take_while(inside).count();
    let borders: Vec<usize> = (at..end).filter(|&i| is_border(lines[i].text(text))).collect();
    let head = borders
        .iter()
        .copied()
        .find(|&i| lines[i].text(text).contains('=') && i > at);
    let header_end = head.or(borders.get(1).copied()).filter(|&i| i > at + 1)? + 1;
    let shell = head.is_none() && borders.len() <= 3;
    let mut rows = Vec::new();
    let mut after_border = true;
    for (i, line) in lines.iter().enumerate().take(end).skip(header_end) {
        let border = is_border(line.text(text));
        if !border && (after_border || shell) {
            rows.push(i);
        }
        after_border = border;
    }
    (!rows.is_empty()).then_some(Table {
        header: header_end - at,
        rows,
        end,
    })
}

fn is_border(line: &str) -> bool {
    let line = line.trim();
    line.len() > 3
        && line.starts_with('+')
        && line.ends_with('+')
        && line.contains(['-', '='])
        && line.bytes().all(|b| b"+-=: ".contains(&b))
}

/// Finds a simple or multi-line table: a header, a line of dashes for each column, and rows.
pub(super) fn find_ruled(text: &str, lines: &[Line], at: usize) -> Option<Table> {
    let line = |i: usize| {
        lines
            .get(i)
            .map(|line: &Line| line.text(text))
            .unwrap_or_default()
    };
    if is_full_rule(line(at)) || read_rule(line(at)).is_some() {
        let rule = (at + 2..=at + 1 + MAX_HEADER_LINES).find(|&i| read_rule(line(i)).is_some());
        let spaced = is_full_rule(line(at));
        return match rule {
            Some(rule) if (at + 1..rule).all(|i| !line(i).trim().is_empty()) => {
                find_rows(text, lines, Header { at, rule, spaced })
            }
            _ => None,
        };
    }
    read_rule(line(at + 1))?;
    find_rows(
        text,
        lines,
        Header {
            at,
            rule: at + 1,
            spaced: false,
        },
    )
}

/// The header of a table: its first line, the line of dashes under it, and whether blank lines separate the rows.
struct Header {
    at: usize,
    rule: usize,
    spaced: bool,
}

/// Finds the rows behind a header. A line whose first column is blank goes on the row before it.
fn find_rows(text: &str, lines: &[Line], header: Header) -> Option<Table> {
    let first_column = read_rule(lines.get(header.rule)?.text(text))?;
    let mut rows = Vec::new();
    let mut blank_before = true;
    let mut end = header.rule + 1;
    for (i, line) in lines.iter().enumerate().skip(header.rule + 1) {
        let content = line.text(text);
        if is_full_rule(content) || read_rule(content).is_some() {
            end = i + 1;
            break;
        }
        if content.trim().is_empty() {
            if !header.spaced || blank_before {
                break;
            }
            blank_before = true;
            continue;
        }
        let continues = if header.spaced {
            !blank_before
        } else {
            let mut column = content
                .chars()
                .skip(first_column.0)
                .take(first_column.1 - first_column.0);
            column.all(char::is_whitespace)
        };
        if !continues || rows.is_empty() {
            rows.push(i);
        }
        blank_before = false;
        end = i + 1;
    }
    (!rows.is_empty()).then_some(Table {
        header: header.rule + 1 - header.at,
        rows,
        end,
    })
}

/// Returns true for one long run of dashes.
fn is_full_rule(line: &str) -> bool {
    let line = line.trim();
    line.len() >= MIN_FULL_RULE && line.bytes().all(|b| b == b'-')
}

/// Reads a line of dashes for two columns at least; returns where the first one lies.
fn read_rule(line: &str) -> Option<(usize, usize)> {
    let line = line.trim_end();
    if !line.bytes().all(|b| b"-= +|".contains(&b)) || line.trim_start().starts_with(['+', '|']) {
        return None;
    }
    let mut columns = line
        .split([' ', '+', '|'])
        .filter(|column| !column.is_empty())
        .map(str::len);
    let from = line.len() - line.trim_start().len();
    let first = columns.next()?;
    let rest = columns.try_fold(0, |count, width| (width >= 2).then_some(count + 1))?;
    (first >= 2 && rest > 0).then_some((from, from + first))
}
