//! What a proxy says of itself: its conditions, its Events.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::kubectl::{get, kubectl, list, text};
use crate::world::eventually;

/// A condition of an object; null if it has none of the type.
pub(crate) fn condition(object: &Value, of_type: &str) -> Value {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions
        .find(|condition| text(condition, "/type") == of_type)
        .cloned()
        .unwrap_or_default()
}

/// Waits until a condition has this reason, and gives it back.
pub(crate) fn until_reason(
    namespace: &str,
    proxy: &str,
    of_type: &str,
    reason: &str,
    limit: Duration,
) -> Result<Value> {
    eventually(
        &format!("{of_type} of {namespace}/{proxy} for {reason}"),
        limit,
        || {
            let found = condition(&get(namespace, &["lmp", proxy])?, of_type);
            ensure!(text(&found, "/reason") == reason, "it is {found}");
            Ok(Some(found))
        },
    )
}

/// Waits until a condition is true.
pub(crate) fn until(namespace: &str, proxy: &str, of_type: &str, limit: Duration) -> Result<()> {
    let (wanted, name) = (format!("--for=condition={of_type}"), format!("lmp/{proxy}"));
    let limit = format!("--timeout={}s", limit.as_secs());
    kubectl(&["wait", "--namespace", namespace, &wanted, &limit, &name])
        .map(|_| ())
        .with_context(|| format!("{of_type} of {namespace}/{proxy}"))
}

/// Waits for an Event of this reason about a proxy; its note.
pub(crate) fn event(namespace: &str, proxy: &str, reason: &str) -> Result<String> {
    eventually(
        &format!("Event {reason} about {namespace}/{proxy}"),
        Duration::from_secs(30),
        || {
            let events = list(namespace, &["events"])?;
            let mut about = events.iter().filter(|event| {
                text(event, "/involvedObject/kind") == "LiquidMemoryProxy"
                    && text(event, "/involvedObject/name") == proxy
            });
            let found = about.find(|event| text(event, "/reason") == reason);
            Ok(found.map(|event| text(event, "/message").to_owned()))
        },
    )
}
