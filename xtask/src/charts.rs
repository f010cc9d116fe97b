//! `cargo xtask charts`: the parts of `deploy` that are made from something else. A test fails when they are stale.
//!
//! The resource types' chart holds what `crds/` holds, the table of values is what `values.yaml` says, and the guide
//! ends with every condition and reason of the API's reference.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::root;
use crate::console::say;
use crate::tools::relative;

const CRD: &str = "crds/liquidmemoryproxies.yaml";
const CRD_TEMPLATE: &str = "deploy/charts/liquid-memory-crds/templates/liquidmemoryproxies.yaml";
const VALUES: &str = "deploy/charts/liquid-memory/values.yaml";
const VALUES_README: &str = "deploy/charts/liquid-memory/README.md";
const REFERENCE: &str = "crds/README.md";
const GUIDE: &str = "deploy/README.md";
/// What follows it in the guide is the reference's.
const GUIDE_MARK: &str = "<!-- From crds/README.md by `cargo xtask charts`: -->\n";

/// Writes what is generated.
pub(crate) fn write() -> Result<()> {
    for (path, text) in generated()? {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(relative(&path));
    }
    Ok(())
}

/// Every generated file and what belongs into it.
fn generated() -> Result<Vec<(PathBuf, String)>> {
    let read =
        |path: &str| fs::read_to_string(root().join(path)).with_context(|| format!("cannot read {path}"));
    Ok(vec![
        (root().join(CRD_TEMPLATE), crd_template(&read(CRD)?)?),
        (root().join(VALUES_README), values_readme(&read(VALUES)?)?),
        (root().join(GUIDE), guide(&read(GUIDE)?, &read(REFERENCE)?)?),
    ])
}

/// The definition as it is, kept when the release goes: with it would go every resource of it.
fn crd_template(crd: &str) -> Result<String> {
    if crd.contains("{{") {
        bail!("{CRD} has '{{{{' in it, which Helm would take for a template");
    }
    let Some((head, rest)) = crd.split_once("\nmetadata:\n") else {
        bail!("{CRD} has no metadata");
    };
    let keep = "  annotations:\n    helm.sh/resource-policy: keep\n";
    let head = head.trim_start_matches("---\n");
    Ok(format!(
        "# Made from {CRD} by `cargo xtask charts`.\n{head}\nmetadata:\n{keep}{rest}"
    ))
}

/// The guide with the reference's conditions and reasons behind its mark, one heading lower.
fn guide(guide: &str, reference: &str) -> Result<String> {
    let (head, _) = guide
        .split_once(GUIDE_MARK)
        .with_context(|| format!("{GUIDE} has no mark"))?;
    let at = reference
        .find("## Conditions\n")
        .with_context(|| format!("{REFERENCE} has no conditions"))?;
    let tables = reference.get(at..).unwrap_or_default().replace("## ", "### ");
    Ok(format!("{head}{GUIDE_MARK}\n{tables}"))
}

/// A value of the chart, as its README lists it.
#[derive(Debug, PartialEq)]
struct Value {
    path: String,
    default: String,
    text: String,
}

fn values_readme(values: &str) -> Result<String> {
    let mut text = "<!-- Made from values.yaml by `cargo xtask charts`. -->\n# liquid-memory\n\nThe operator of Liquid \
                    Memory. [deploy/README.md](../../README.md) says how to install, upgrade and remove it.\n\n\
                    | value | default | what it does |\n|---|---|---|\n"
        .to_owned();
    for Value {
        path,
        default,
        text: what,
    } in parse(values)?
    {
        writeln!(text, "| `{path}` | `{default}` | {what} |")?;
    }
    Ok(text)
}

/// Reads `# -- TEXT` above a key; keys without it are groups. Values stand on one line.
fn parse(values: &str) -> Result<Vec<Value>> {
    let (mut found, mut groups, mut text) = (Vec::new(), Vec::<&str>::new(), None::<String>);
    for line in values.lines() {
        let (depth, line) = ((line.len() - line.trim_start().len()) / 2, line.trim());
        if let Some(more) = line.strip_prefix("# ") {
            match (more.strip_prefix("-- "), text.as_mut()) {
                (Some(first), _) => text = Some(first.to_owned()),
                (None, Some(text)) => text.push_str(&format!(" {more}")),
                (None, None) => {}
            }
            continue;
        }
        let Some((key, default)) = line.split_once(':') else {
            continue;
        };
        groups.truncate(depth);
        groups.push(key);
        match (text.take(), default.trim()) {
            (Some(text), default) if !default.is_empty() => found.push(Value {
                path: groups.join("."),
                default: default.to_owned(),
                text,
            }),
            (None, "") => {}
            _ => bail!(
                "{VALUES}: '{}' needs a comment with '--' and a value on its line",
                groups.join(".")
            ),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_generated_is_not_stale() -> Result<()> {
        for (path, text) in generated()? {
            let found = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                found == text,
                "{} is stale: run `cargo xtask charts`",
                path.display()
            );
        }
        Ok(())
    }

    #[test]
    fn reads_values_with_their_comments() -> Result<()> {
        let values = "# About the file.\na:\n  # -- First\n  # line.\n  b: [1]\n\n# -- Second.\nc: \"\"\n";
        let value = |path: &str, default: &str, text: &str| Value {
            path: path.to_owned(),
            default: default.to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            parse(values)?,
            [value("a.b", "[1]", "First line."), value("c", "\"\"", "Second.")]
        );
        assert!(parse("a: 1\n").is_err());
        Ok(())
    }

    #[test]
    fn keeps_the_definition() -> Result<()> {
        let crd = "apiVersion: v1\nkind: C\nmetadata:\n  name: n\nspec: {}\n";
        let template = crd_template(crd)?;
        assert!(
            template.contains("metadata:\n  annotations:\n    helm.sh/resource-policy: keep\n  name: n\n")
        );
        assert!(crd_template("metadata:\n{{").is_err());
        Ok(())
    }
}
