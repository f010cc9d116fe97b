//! The metrics of a program, from the calls that register them: name, kind and labels as Prometheus shows them.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use syn::punctuated::Punctuated;
use syn::visit::Visit;
use syn::{
    Expr, ExprCall, ExprMethodCall, ExprStruct, Fields, Item, ItemStruct, Local, Macro, Member, Pat, Token,
};

use super::{Sources, literal, rows};
use crate::source::{Module, Modules};

pub(super) fn table(sources: &Sources) -> Result<String> {
    let mut found = Vec::new();
    let mut prefix = String::new();
    for module in sources.own.values() {
        let mut reader = Reader {
            sources,
            module,
            strings: BTreeMap::new(),
            prefixes: BTreeMap::new(),
            found: Vec::new(),
            family: Vec::new(),
            prefix: None,
        };
        module.items.iter().for_each(|item| reader.visit_item(item));
        prefix = reader.prefix.unwrap_or(prefix);
        found.extend(reader.found);
    }
    ensure!(!found.is_empty(), "no metric is registered");
    let mut lines = found.iter().map(|metric| metric.row(&prefix)).collect::<Vec<_>>();
    lines.sort();
    Ok(rows(&["metric", "type", "labels", "meaning"], &lines))
}

/// A metric as its registration names it.
#[derive(Debug, Default)]
struct Metric {
    /// Below the registry's own prefix.
    prefix: String,
    name: String,
    help: String,
    unit: Option<String>,
    kind: String,
    labels: Vec<String>,
}

impl Metric {
    fn row(&self, registry: &str) -> Vec<String> {
        // A name of another program, such as vLLM's, is in a registry without our prefix.
        let own = !self.name.contains(':');
        let parts = [
            if own { registry } else { "" },
            &self.prefix,
            &self.name,
            self.unit.as_deref().unwrap_or_default(),
        ];
        let parts = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>();
        let total = if self.kind == "counter" { "_total" } else { "" };
        let labels = self
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect::<Vec<_>>();
        vec![
            format!("`{}{total}`", parts.join("_")),
            self.kind.clone(),
            labels.join(", "),
            self.help.replace('|', "\\|"),
        ]
    }
}

/// Reads the registrations in one module.
struct Reader<'m> {
    sources: &'m Sources,
    module: &'m Module,
    /// Texts that a `let` has named so far.
    strings: BTreeMap<String, String>,
    /// Registries that a `let` has named, with what their names begin with.
    prefixes: BTreeMap<String, String>,
    found: Vec<Metric>,
    /// The type that the last `let` of a family named.
    family: Vec<String>,
    /// What all names of the program's registry begin with.
    prefix: Option<String>,
}

impl Reader<'_> {
    /// A literal, a `let` of one, a constant, or the field `name` of a constant in the contract.
    fn text(&self, expression: &Expr) -> Option<String> {
        match expression {
            Expr::Field(field) => self.text(&field.base),
            Expr::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                self.strings
                    .get(&name)
                    .cloned()
                    .or_else(|| constant(&self.sources.contract, "metrics", &name))
            }
            other => literal(other),
        }
    }

    /// Kind and labels, from the type of the field that is registered.
    fn kind(&self, metric: &Expr) -> Option<(String, Vec<String>)> {
        let field = match metric {
            Expr::MethodCall(clone) => field_name(&clone.receiver)?,
            Expr::Reference(borrowed) => field_name(&borrowed.expr)?,
            other => field_name(other)?,
        };
        let mut fields = structs(self.module).flat_map(|found| &found.fields);
        let found = fields.find(|one| one.ident.as_ref().is_some_and(|name| *name == field))?;
        let words = words(&found.ty);
        let kinds = ["Counter", "Gauge", "Histogram"];
        let kind = kinds
            .iter()
            .find(|kind| words.iter().any(|word| word.starts_with(*kind)))?;
        Some((kind.to_lowercase(), self.labels(&words)))
    }

    /// The fields of the struct of labels that is among these names.
    fn labels(&self, words: &[String]) -> Vec<String> {
        let elsewhere = self.sources.own.values().flat_map(structs);
        let mut all = structs(self.module).chain(elsewhere);
        let named = all.find(|found| words.iter().any(|word| found.ident == word));
        let Some(Fields::Named(fields)) = named.map(|found| &found.fields) else {
            return Vec::new();
        };
        let names = fields.named.iter().filter_map(|one| one.ident.as_ref());
        names.map(ToString::to_string).collect()
    }
}

impl Visit<'_> for Reader<'_> {
    fn visit_local(&mut self, local: &Local) {
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init) {
            let name = name.ident.to_string();
            if let Expr::MethodCall(call) = &*init.expr
                && call.method == "sub_registry_with_prefix"
                && let Some(prefix) = call.args.first().and_then(|prefix| self.text(prefix))
            {
                self.prefixes.insert(name, prefix);
            } else if let Some(text) = self.text(&init.expr) {
                self.strings.insert(name, text);
            } else {
                // Another value of the name from here on.
                self.prefixes.remove(&name);
            }
            let words = words_of(&init.expr);
            if words.iter().any(|word| word == "Family") {
                self.family = words;
            }
        }
        syn::visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &ExprCall) {
        if words_of(&call.func)
            .last()
            .is_some_and(|name| name == "with_prefix")
        {
            self.prefix = call
                .args
                .first()
                .and_then(|prefix| self.text(prefix))
                .or(self.prefix.take());
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_expr_method_call(&mut self, call: &ExprMethodCall) {
        let arguments = call.args.iter().collect::<Vec<_>>();
        let unit_name = |unit: &Expr| words_of(unit).pop().map(|unit| unit.to_lowercase());
        let registered = match (call.method.to_string().as_str(), arguments.as_slice()) {
            ("register", [name, help, metric]) => Some((name, help, None, *metric)),
            ("register_seconds", [name, help, metric]) => {
                Some((name, help, Some("seconds".to_owned()), *metric))
            }
            ("register_with_unit", [name, help, unit, metric]) => {
                Some((name, help, unit_name(unit), *metric))
            }
            ("encode_descriptor", [name, help, _, kind]) => Some((name, help, None, *kind)),
            _ => None,
        };
        if let Some((name, help, unit, metric)) = registered
            && let (Some(name), Some(help)) = (self.text(name), self.text(help))
        {
            let registry = words_of(&call.receiver).pop().unwrap_or_default();
            let last = words_of(metric).pop().unwrap_or_default().to_lowercase();
            let (kind, labels) = self
                .kind(metric)
                .unwrap_or_else(|| (last, self.labels(&self.family)));
            let prefix = self.prefixes.get(&registry).cloned().unwrap_or_default();
            self.found.push(Metric {
                prefix,
                name,
                help,
                unit,
                kind,
                labels,
            });
        }
        syn::visit::visit_expr_method_call(self, call);
    }

    /// `vec![..]` holds expressions, too.
    fn visit_macro(&mut self, called: &Macro) {
        let parsed = called.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated);
        for expression in parsed.iter().flatten() {
            self.visit_expr(expression);
        }
    }

    /// Figures that a collector encodes: `Figure { name, help, unit, .. }`, all of them gauges.
    fn visit_expr_struct(&mut self, figure: &ExprStruct) {
        let field = |wanted: &str| {
            let mut fields = figure.fields.iter();
            let field = fields.find(|field| matches!(&field.member, Member::Named(name) if name == wanted));
            field.map(|field| &field.expr)
        };
        if let (Some(name), Some(help)) = (field("name").and_then(literal), field("help").and_then(literal)) {
            let unit = field("unit").and_then(|unit| match unit {
                // `Unit::Other("ratio".to_owned())`
                Expr::Call(call) => call.args.first().and_then(|text| match text {
                    Expr::MethodCall(owned) => literal(&owned.receiver),
                    other => literal(other),
                }),
                other => words_of(other).pop().map(|unit| unit.to_lowercase()),
            });
            let kind = "gauge".to_owned();
            self.found.push(Metric {
                name,
                help,
                unit,
                kind,
                ..Metric::default()
            });
        }
        syn::visit::visit_expr_struct(self, figure);
    }
}

/// The text of a constant in a module at the crate's top: `"liquid_worker"`, or that of `counter!("documents")`.
pub(super) fn constant(modules: &Modules, module: &str, name: &str) -> Option<String> {
    let module = modules.get([module.to_owned()].as_slice())?;
    let value = module.items.iter().find_map(|item| match item {
        Item::Const(found) if found.ident == name => Some(&*found.expr),
        _ => None,
    });
    match value? {
        Expr::Macro(value) => Some(value.mac.parse_body::<syn::LitStr>().ok()?.value()),
        other => literal(other),
    }
}

fn structs(module: &Module) -> impl Iterator<Item = &ItemStruct> {
    module.items.iter().filter_map(|item| match item {
        Item::Struct(found) => Some(found),
        _ => None,
    })
}

/// The name of the field in `self.field` or `metrics.field`.
fn field_name(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Field(field) => match &field.member {
            Member::Named(name) => Some(name.to_string()),
            Member::Unnamed(_) => None,
        },
        _ => None,
    }
}

fn words(kind: &syn::Type) -> Vec<String> {
    let mut names = Words::default();
    names.visit_type(kind);
    names.0
}

fn words_of(expression: &Expr) -> Vec<String> {
    let mut names = Words::default();
    names.visit_expr(expression);
    names.0
}

/// All names in a piece of code, in their order.
#[derive(Default)]
struct Words(Vec<String>);

impl<'a> Visit<'a> for Words {
    fn visit_path_segment(&mut self, segment: &'a syn::PathSegment) {
        self.0.push(segment.ident.to_string());
        syn::visit::visit_path_segment(self, segment);
    }
}
