//! The environment variables of a program that is configured by a file: one for each key, from the fields of its `Config`
//! and of the sections in it.

use anyhow::{Context, Result};
use syn::{Fields, GenericArgument, Item, PathArguments, Type};

use super::{Sources, documentation, rows, structure};
use crate::source::{Modules, resolve_from};

pub(super) fn sidecar(sources: &Sources) -> Result<String> {
    table(sources, "SIDECAR_PREFIX")
}

pub(super) fn worker(sources: &Sources) -> Result<String> {
    table(sources, "WORKER_PREFIX")
}

fn table(sources: &Sources, prefix: &str) -> Result<String> {
    let constant = |name: &str| super::metrics::constant(&sources.contract, "environment", name);
    let prefix = constant(prefix).with_context(|| format!("liquid-contract has no {prefix}"))?;
    let module = vec!["config".to_owned()];
    let section = Section {
        modules: &sources.own,
        module,
        name: "Config".to_owned(),
    };
    let mut found = Vec::new();
    section
        .keys(&prefix, sources, &mut found)
        .context("no `Config` in config.rs")?;
    Ok(rows(&["variable", "what it sets"], &found))
}

/// A struct that is a section of the configuration.
struct Section<'m> {
    modules: &'m Modules,
    module: Vec<String>,
    name: String,
}

impl Section<'_> {
    /// Adds a row for each key of it; none if there is no such struct.
    fn keys(&self, prefix: &str, sources: &Sources, found: &mut Vec<Vec<String>>) -> Option<()> {
        let Fields::Named(fields) = &structure(self.modules, &self.module, &self.name)?.fields else {
            return None;
        };
        for field in &fields.named {
            let key = field.ident.as_ref()?.to_string().to_uppercase();
            let (kind, map) = value(&field.ty);
            let variable = format!("{prefix}__{key}{}", if map { "__<NAME>" } else { "" });
            let nested = self.section(kind, sources);
            if nested.is_none_or(|nested| nested.keys(&variable, sources, found).is_none()) {
                found.push(vec![format!("`{variable}`"), documentation(&field.attrs)]);
            }
        }
        Some(())
    }

    /// The section that a type is, in this crate or in the one that all programs share.
    fn section<'s>(&'s self, kind: &Type, sources: &'s Sources) -> Option<Section<'s>> {
        let Type::Path(path) = kind else { return None };
        let path = path
            .path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect::<Vec<_>>();
        let name = path.last()?.clone();
        let own = resolve_from(self.modules, &self.module, &path);
        if structure(self.modules, &own, &name).is_some() {
            return Some(Section {
                modules: self.modules,
                module: own,
                name,
            });
        }
        let holds = |(_, module): &(&Vec<String>, &crate::source::Module)| {
            module
                .items
                .iter()
                .any(|item| matches!(item, Item::Struct(found) if found.ident == name))
        };
        let (module, _) = sources.process.iter().find(holds)?;
        Some(Section {
            modules: &sources.process,
            module: module.clone(),
            name,
        })
    }
}

/// The type of a value, and whether it is one of many by name.
fn value(kind: &Type) -> (&Type, bool) {
    let Type::Path(path) = kind else {
        return (kind, false);
    };
    let Some(last) = path.path.segments.last() else {
        return (kind, false);
    };
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return (kind, false);
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(kind) => Some(kind),
        _ => None,
    });
    match (last.ident.to_string().as_str(), types.last()) {
        ("Option", Some(inner)) => value(inner),
        ("BTreeMap" | "HashMap", Some(inner)) => (inner, true),
        _ => (kind, false),
    }
}
