//! The operator's options: each is an argument and a variable, from the fields that say `env` in their attribute.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{Attribute, Expr, Field, Item, Token};

use super::{Sources, documentation, literal, rows};

pub(super) fn table(sources: &Sources) -> Result<String> {
    let mut options = Options {
        sources,
        rows: Vec::new(),
    };
    for module in sources.own.values() {
        module.items.iter().for_each(|item| options.visit_item(item));
    }
    ensure!(!options.rows.is_empty(), "no field has an attribute with env");
    Ok(rows(
        &["argument", "variable", "default", "what it sets"],
        &options.rows,
    ))
}

struct Options<'s> {
    sources: &'s Sources,
    rows: Vec<Vec<String>>,
}

impl Options<'_> {
    /// `"value"`, or `Kind::Variant` as clap names it.
    fn value(&self, expression: &Expr) -> Option<String> {
        let Expr::Path(path) = expression else {
            return literal(expression);
        };
        let mut names = path
            .path
            .segments
            .iter()
            .rev()
            .map(|segment| segment.ident.to_string());
        let (variant, kind) = (names.next()?, names.next());
        let modules = [&self.sources.own, &self.sources.process]
            .into_iter()
            .flat_map(|modules| modules.values());
        let mut kinds = modules
            .flat_map(|module| &module.items)
            .filter_map(|item| match item {
                Item::Enum(found) if Some(found.ident.to_string()) == kind => Some(found),
                _ => None,
            });
        let as_written = kinds.next().is_some_and(|found| {
            let mut named = found
                .attrs
                .iter()
                .filter(|attribute| attribute.path().is_ident("value"))
                .flat_map(pairs);
            named.any(|(_, style)| literal(&style).as_deref() == Some("PascalCase"))
        });
        Some(if as_written {
            variant
        } else {
            variant.to_lowercase()
        })
    }
}

impl<'a> Visit<'a> for Options<'_> {
    fn visit_field(&mut self, field: &'a Field) {
        let arguments = field
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("arg"))
            .flat_map(pairs);
        let arguments = arguments.collect::<BTreeMap<_, _>>();
        let value = |name: &str| arguments.get(name).and_then(|value| self.value(value));
        if let (Some(variable), Some(name)) = (value("env"), &field.ident) {
            let default = value("default_value").or_else(|| value("default_value_t"));
            self.rows.push(vec![
                format!("`--{}`", name.to_string().replace('_', "-")),
                format!("`{variable}`"),
                default.map(|default| format!("`{default}`")).unwrap_or_default(),
                documentation(&field.attrs),
            ]);
        }
    }
}

/// `key = value` of `#[arg(key = value, ..)]`.
fn pairs(attribute: &Attribute) -> Vec<(String, Expr)> {
    let parsed = attribute.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated);
    let pairs = parsed
        .into_iter()
        .flatten()
        .filter_map(|argument| match argument {
            Expr::Assign(pair) => match *pair.left {
                Expr::Path(key) => Some((key.path.get_ident()?.to_string(), *pair.right)),
                _ => None,
            },
            _ => None,
        });
    pairs.collect()
}
