//! Faults that platform teams meet. Each is made, found by `kubectl liquid check` with its name, its object and a word of
//! what was seen, and undone; then nothing is found any more.

pub(super) mod installation;
pub(super) mod pods;
pub(super) mod workers;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::LIMIT;
use crate::kubectl::text;
use crate::plugin::findings;
use crate::world::{World, eventually};

/// What a finding must say.
struct Wanted<'a> {
    fault: &'a str,
    /// Name of the object; of a pod, how its name begins.
    object: &'a str,
    /// A part of the message or the remedy.
    says: &'a str,
}

/// Waits until the finding is there.
fn found(world: &World, namespace: &str, wanted: &Wanted<'_>) -> Result<()> {
    let Wanted { fault, object, says } = wanted;
    let finding = eventually(fault, LIMIT, || {
        let findings = findings(world, namespace)?;
        let same = |finding: &&Value| {
            text(finding, "/fault") == *fault && text(finding, "/object/name").starts_with(object)
        };
        let found = findings.iter().find(same).cloned();
        ensure!(found.is_some(), "{findings:?}");
        Ok(found)
    })?;
    let words = format!("{}\n{}", text(&finding, "/message"), text(&finding, "/remedy"));
    ensure!(words.contains(says), "{fault} does not say {says:?}: {words}");
    ensure!(!text(&finding, "/remedy").is_empty(), "{fault} has no remedy");
    println!("    {fault}: {}", text(&finding, "/message"));
    Ok(())
}

/// Waits until nothing is found.
fn well(world: &World, namespace: &str) -> Result<()> {
    eventually("nothing to be found", Duration::from_secs(120), || {
        let findings = findings(world, namespace)?;
        ensure!(findings.is_empty(), "{findings:?}");
        Ok(Some(()))
    })
}
