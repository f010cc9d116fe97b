//! Savings in money: in the status, in the operator's metrics and in the plugin, where the resource has a price.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Case;
use super::path::proxy;
use crate::kubectl::{apply, get, kubectl, metrics, patch, text};
use crate::manifest::{self, application, pod, shell};
use crate::plugin::liquid;
use crate::world::{Namespace, OPERATOR_METRICS, SYSTEM, World, eventually, operators};

pub(super) const CASES: &[(&str, Case)] = &[("savings::a_price_says_them_in_money", money)];

const LIMIT: Duration = Duration::from_secs(120);
/// A price at which every token that is saved costs one unit, so that the amount shows the tokens.
const PRICE: u32 = 1_000_000;

fn money(world: &World) -> Result<()> {
    let namespace = Namespace::opted_in("savings")?;
    let name = namespace.0.as_str();
    proxy(name, &manifest::proxy(name, "proxy"))?;
    let asks = application(world, "application", &["ask.py", "savings"]);
    let mut object = pod(name, "asks", &[asks, shell("stays", "sleep 100000")]);
    object["spec"]["terminationGracePeriodSeconds"] = json!(1);
    apply(&object)?;
    let saved = eventually("saved tokens", LIMIT, || {
        let usage = usage(name)?;
        Ok(usage["tokensSaved"].as_i64().filter(|saved| *saved > 0))
    })?;
    ensure!(usage(name)?.get("costSaved").is_none(), "money without a price");
    ensure!(shown(name)?.is_none(), "a metric without a price");
    let words = ["savings", "--namespace", name];
    let table = liquid(world, &words)?.stdout;
    ensure!(!table.contains("COST"), "the plugin speaks of money: {table}");

    let price = json!({"perMillionInputTokens": PRICE, "currency": "EUR"});
    patch(name, "lmp/proxy", "merge", &json!({"spec": {"price": price}}))?;
    let cost = eventually("the status in money", LIMIT, || {
        let usage = usage(name)?;
        let wanted = format!("{}.00 EUR", usage["tokensSaved"]);
        ensure!(text(&usage, "/costSaved") == wanted, "{usage}");
        Ok(Some(wanted))
    })?;
    println!("\n    {saved} tokens saved, {cost}");
    let columns = kubectl(&["get", "lmp", "--namespace", name, "-o", "wide"])?;
    ensure!(columns.contains(&cost), "no column: {columns}");
    eventually("the metric", LIMIT, || {
        let usage = usage(name)?;
        let value = shown(name)?.context("no metric")?;
        ensure!(value == format!("{}.0", usage["tokensSaved"]), "{value}: {usage}");
        Ok(Some(()))
    })?;
    let table = liquid(world, &words)?.stdout;
    ensure!(table.contains("COST") && table.contains(&cost), "{table}");
    let json = liquid(world, &[&words[..], &["-o", "json"]].concat())?.json()?;
    ensure!(
        text(&json, "/total/costsSaved/0/currency") == "EUR",
        "no sum: {json}"
    );

    patch(
        name,
        "lmp/proxy",
        "merge",
        &json!({"spec": {"price": Value::Null}}),
    )?;
    eventually("no word of money", LIMIT, || {
        let none = usage(name)?.get("costSaved").is_none() && shown(name)?.is_none();
        Ok(none.then_some(()))
    })
}

fn usage(namespace: &str) -> Result<Value> {
    let found = get(namespace, &["lmp", "proxy"])?;
    Ok(found.pointer("/status/usage").cloned().unwrap_or_default())
}

/// The metric of a namespace's proxy, as the replica that leads shows it.
fn shown(namespace: &str) -> Result<Option<String>> {
    let line =
        format!("liquid_operator_cost_saved{{namespace=\"{namespace}\",proxy=\"proxy\",currency=\"EUR\"}} ");
    for pod in operators()? {
        let metrics = metrics(SYSTEM, text(&pod, "/metadata/name"), OPERATOR_METRICS)?;
        let mut found = metrics.lines().filter_map(|found| found.strip_prefix(&line));
        if let Some(value) = found.next() {
            return Ok(Some(value.to_owned()));
        }
    }
    Ok(None)
}
