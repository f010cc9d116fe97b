//! What commands print: aligned columns for people, JSON for programs.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// Prints `value` as JSON, or what `text` makes of it.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn print<T: Serialize>(format: Format, value: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
    match format {
        Format::Table => write(&text(value)),
        Format::Json => {
            let json = serde_json::to_string_pretty(value).context("the result cannot be written as JSON")?;
            write(&format!("{json}\n"))
        }
    }
}

/// Writes to standard output. That nobody reads to the end is no error: `kubectl liquid ... | head`.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write"),
        _ => Ok(()),
    }
}

/// A table: aligned by spaces, upper-case heads, as kubectl prints.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these heads.
    pub(crate) fn new(heads: &[&str]) -> Self {
        Self {
            rows: vec![heads.iter().map(|head| (*head).to_owned()).collect()],
        }
    }

    /// Adds a row. An empty cell is shown as `-`.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.cells(cells);
    }

    /// Adds a row of as many cells as there are.
    pub(crate) fn cells(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells = cells.into_iter();
        let filled = cells.map(|cell| if cell.is_empty() { "-".into() } else { cell });
        self.rows.push(filled.collect());
    }

    /// Returns whether there is no row but the heads.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("   ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "SAVED"]);
        assert!(table.is_empty());
        table.row(["contracts".into(), "82%".into()]);
        table.row(["é".into(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME        SAVED\ncontracts   82%\né           -\n"
        );
    }
}
