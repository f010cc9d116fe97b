//! `cargo xtask reference`: the tables of metrics, headers, variables and options in the programs' `REFERENCE.md`. A test
//! fails when they are stale.
//!
//! Each table is made from the sources: the comments of the configuration's fields and of the headers' names, and the calls
//! that register metrics. A page says around its tables what a person wrote.

mod headers;
mod metrics;
mod options;
mod reasons;
mod settings;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use syn::{Attribute, Expr, ExprLit, Item, ItemStruct, Lit, Meta};

use crate::command::root;
use crate::console::say;
use crate::source::{self, Modules};
use crate::tools::relative;

/// What each page has, by the name of its mark.
const PAGES: [(&str, &[(&str, Table)]); 3] = [
    (
        "sidecar",
        &[
            ("headers", headers::table),
            ("reasons", reasons::sidecar),
            ("variables", settings::sidecar),
            ("metrics", metrics::table),
        ],
    ),
    (
        "worker",
        &[
            ("variables", settings::worker),
            ("reasons", reasons::worker),
            ("metrics", metrics::table),
        ],
    ),
    (
        "operator",
        &[("options", options::table), ("metrics", metrics::table)],
    ),
];

/// Makes a table from what a crate's sources say.
type Table = fn(&Sources) -> Result<String>;

/// The sources of a program and of the crates that all programs share.
struct Sources {
    own: Modules,
    contract: Modules,
    process: Modules,
    proto: Modules,
}

/// Writes the tables into the pages.
pub(crate) fn write() -> Result<()> {
    for (path, text) in generated()? {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(relative(&path));
    }
    Ok(())
}

/// Every page as it should be.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    PAGES
        .iter()
        .map(|(folder, tables)| page(folder, tables))
        .collect()
}

fn page(folder: &str, tables: &[(&str, Table)]) -> Result<(PathBuf, String)> {
    let read = |name: &str| source::read(&root().join(name).join("src"));
    let sources = Sources {
        own: read(folder)?,
        contract: read("contract")?,
        process: read("process")?,
        proto: read("proto")?,
    };
    let path = root().join(folder).join("REFERENCE.md");
    let mut text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    for (name, table) in tables {
        let table = table(&sources).with_context(|| format!("the table {name} of {folder}"))?;
        text = filled(&text, name, &table).with_context(|| relative(&path))?;
    }
    Ok((path, text))
}

/// The page with another table between the marks of this name.
fn filled(page: &str, name: &str, table: &str) -> Result<String> {
    let mark = format!("<!-- generated: {name} -->\n");
    let (before, rest) = page
        .split_once(&mark)
        .with_context(|| format!("there is no line {}", mark.trim()))?;
    let (_, after) = rest
        .split_once("<!-- end -->")
        .context("there is no line <!-- end -->")?;
    Ok(format!("{before}{mark}\n{table}\n<!-- end -->{after}"))
}

/// A table of Markdown.
fn rows(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head = head.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let rule = format!("|{}\n", "---|".repeat(head.len()));
    line(&head) + &rule + &rows.iter().map(|row| line(row)).collect::<String>()
}

/// An item's comment in one line, without links and safe in a table.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(value) if value.path.is_ident("doc") => literal(&value.value),
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    let words = text.split_whitespace().collect::<Vec<_>>();
    words
        .join(" ")
        .replace("[`", "`")
        .replace("`]", "`")
        .replace('|', "\\|")
}

/// The text of a string literal.
fn literal(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text), ..
        }) => Some(text.value()),
        _ => None,
    }
}

/// A struct of a module.
fn structure<'m>(modules: &'m Modules, module: &[String], name: &str) -> Option<&'m ItemStruct> {
    modules.get(module)?.items.iter().find_map(|item| match item {
        Item::Struct(found) if found.ident == name => Some(found),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_is_stale() -> Result<()> {
        for (path, text) in generated()? {
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "{} is stale: run `cargo xtask reference`",
                path.display()
            );
        }
        Ok(())
    }

    #[test]
    fn fills_a_page_and_keeps_the_rest() -> Result<()> {
        let page =
            "# P\n<!-- generated: a -->\nold\n<!-- end -->\ntext\n<!-- generated: b -->\n<!-- end -->\n";
        let filled = filled(page, "a", "| new |")?;
        let wanted = "# P\n<!-- generated: a -->\n\n| new |\n<!-- end -->\ntext\n<!-- generated: b -->\n<!-- end -->\n";
        assert_eq!(filled, wanted);
        assert!(super::filled(page, "c", "").is_err());
        Ok(())
    }
}
