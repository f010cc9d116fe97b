//! The sidecar's own headers, from `sidecar/src/api/header_names.rs`: a name as text is read from requests, one that is a
//! `HeaderName` is written into responses.

use anyhow::{Result, ensure};
use syn::{Expr, Item, Type};

use super::{Sources, documentation, literal, rows};

const MODULE: [&str; 2] = ["api", "header_names"];

pub(super) fn table(sources: &Sources) -> Result<String> {
    let module = sources.own.get(MODULE.map(str::to_owned).as_slice());
    let items = module.into_iter().flat_map(|module| &module.items);
    let found = items.filter_map(|item| match item {
        Item::Const(constant) => {
            let name =
                value(&constant.expr).filter(|name| name.starts_with("x-liquid-") && !name.ends_with('-'))?;
            let direction = if matches!(*constant.ty, Type::Reference(_)) {
                "request"
            } else {
                "response"
            };
            Some(vec![
                format!("`{name}`"),
                direction.to_owned(),
                documentation(&constant.attrs),
            ])
        }
        _ => None,
    });
    let found = found.collect::<Vec<_>>();
    ensure!(!found.is_empty(), "{} names no header", MODULE.join("::"));
    Ok(rows(&["header", "of", "meaning"], &found))
}

/// `"x-name"` or `HeaderName::from_static("x-name")`.
fn value(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Call(call) => call.args.first().and_then(literal),
        other => literal(other),
    }
}
