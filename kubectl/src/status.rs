//! `kubectl liquid status`: every proxy in a line.

use std::process::ExitCode;

use anyhow::Result;
use liquid_operator::api::LiquidMemoryProxy;
use liquid_operator::api::reasons::ConditionType;
use serde::Serialize;

use crate::output::{Table, print};
use crate::session::Session;

/// A proxy in one line.
#[derive(Debug, Serialize)]
struct ProxyStatus {
    namespace: String,
    name: String,
    /// Status of the condition Ready; none before the operator has seen the proxy.
    ready: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    workers: Option<String>,
    saved: Option<String>,
    calls: i64,
}

/// Prints the proxies.
pub(crate) async fn run(session: &Session) -> Result<ExitCode> {
    let proxies = session.list_proxies().await?;
    let lines: Vec<ProxyStatus> = proxies.iter().map(describe).collect();
    print(session.format, &lines, |lines| render(lines))?;
    Ok(ExitCode::SUCCESS)
}

fn describe(proxy: &LiquidMemoryProxy) -> ProxyStatus {
    let status = proxy.status.as_ref();
    let ready = status.and_then(|status| status.condition(ConditionType::Ready));
    let usage = status.and_then(|status| status.usage.as_ref());
    ProxyStatus {
        namespace: proxy.metadata.namespace.clone().unwrap_or_default(),
        name: proxy.metadata.name.clone().unwrap_or_default(),
        ready: ready.map(|ready| ready.status.clone()),
        reason: ready.map(|ready| ready.reason.clone()),
        message: ready.map(|ready| ready.message.clone()),
        workers: status.and_then(|status| status.workers.clone()),
        saved: usage.and_then(|usage| usage.saved.clone()),
        calls: usage.map_or(0, |usage| usage.total.calls),
    }
}

fn render(lines: &[ProxyStatus]) -> String {
    let mut table = Table::new(&[
        "NAMESPACE",
        "PROXY",
        "READY",
        "WORKERS",
        "SAVED",
        "CALLS",
        "REASON",
    ]);
    for line in lines {
        table.row([
            line.namespace.clone(),
            line.name.clone(),
            line.ready.clone().unwrap_or_default(),
            line.workers.clone().unwrap_or_default(),
            line.saved.clone().unwrap_or_default(),
            line.calls.to_string(),
            line.reason.clone().unwrap_or_default(),
        ]);
    }
    if table.is_empty() {
        return "No LiquidMemoryProxy.\n".into();
    }
    table.to_string()
}
