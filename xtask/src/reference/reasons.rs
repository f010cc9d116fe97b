//! Reasons by their stable names: why the sidecar decided as it did, and why the worker ran the tier it ran.

use anyhow::{Result, ensure};
use syn::visit::Visit;
use syn::{Arm, ImplItemFn, Item, ItemImpl, Pat, Type};

use super::{Sources, documentation, literal, rows};
use crate::source::Modules;

/// `Reason` of the sidecar: the names of `as_str`, the comments of the variants.
pub(super) fn sidecar(sources: &Sources) -> Result<String> {
    let names = texts(&sources.own, "Reason", "as_str");
    let variants = enumeration(&sources.own, "Reason");
    let meaning = |variant: &str| {
        variants
            .iter()
            .find(|(name, _)| name == variant)
            .map(|(_, text)| text.clone())
    };
    table(&names, meaning)
}

/// `TierReason` of the contract: its names and its explanations.
pub(super) fn worker(sources: &Sources) -> Result<String> {
    let names = texts(&sources.proto, "TierReason", "name");
    let explanations = texts(&sources.proto, "TierReason", "explanation");
    let meaning = |variant: &str| {
        explanations
            .iter()
            .find(|(name, _)| name == variant)
            .map(|(_, text)| text.clone())
    };
    table(&names, meaning)
}

fn table(names: &[(String, String)], meaning: impl Fn(&str) -> Option<String>) -> Result<String> {
    ensure!(!names.is_empty(), "no reason has a name");
    let lines = names
        .iter()
        .map(|(variant, name)| vec![format!("`{name}`"), meaning(variant).unwrap_or_default()]);
    Ok(rows(&["reason", "meaning"], &lines.collect::<Vec<_>>()))
}

/// The variants of an enum and their comments.
fn enumeration(modules: &Modules, name: &str) -> Vec<(String, String)> {
    let items = modules.values().flat_map(|module| &module.items);
    let found = items.filter_map(|item| match item {
        Item::Enum(found) if found.ident == name => Some(found),
        _ => None,
    });
    let variants = found.flat_map(|found| &found.variants);
    variants
        .map(|variant| (variant.ident.to_string(), documentation(&variant.attrs)))
        .collect()
}

/// What a method returns for each variant: the texts of its `match`.
fn texts(modules: &Modules, kind: &str, method: &str) -> Vec<(String, String)> {
    let mut texts = Texts {
        kind,
        method,
        found: Vec::new(),
    };
    for item in modules.values().flat_map(|module| &module.items) {
        if let Item::Impl(item) = item {
            texts.visit_item_impl(item);
        }
    }
    texts.found
}

struct Texts<'n> {
    kind: &'n str,
    method: &'n str,
    found: Vec<(String, String)>,
}

impl<'a> Visit<'a> for Texts<'_> {
    fn visit_item_impl(&mut self, item: &'a ItemImpl) {
        if matches!(&*item.self_ty, Type::Path(path) if path.path.is_ident(self.kind)) {
            syn::visit::visit_item_impl(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'a ImplItemFn) {
        if function.sig.ident == self.method {
            syn::visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        let variant = match &arm.pat {
            Pat::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
            _ => None,
        };
        self.found.extend(variant.zip(literal(&arm.body)));
    }
}
