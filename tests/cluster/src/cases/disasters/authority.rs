//! The Secret with the certificate authority is deleted.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{LIMIT, NAMESPACE, OPERATORS, SYSTEM, compressed, renewed, whole, with_undo};
use crate::cases::faults::{Doors, authority, leaves, pods, running};
use crate::kubectl::kubectl;
use crate::traffic::Traffic;
use crate::world::{World, eventually, scale_operator};

const SECRET: &str = "secret/liquid-memory-ca";

fn delete() -> Result<()> {
    kubectl(&["delete", SECRET, "--namespace", SYSTEM]).map(|_| ())
}

/// The leader remembers the authority, so nothing changes for those who trust it.
pub(super) fn deleted(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let (before, certificates) = (authority()?, leaves(NAMESPACE)?);
    delete()?;
    let after = eventually("the authority again", LIMIT, || authority().map(Some))?;
    ensure!(before == after, "another authority was made");
    compressed(&traffic, 40)?;
    ensure!(
        certificates == leaves(NAMESPACE)?,
        "certificates were issued for nothing"
    );
    doors.none_failed("authority deleted")?;
    traffic.none_failed("authority deleted").map(|_| ())
}

/// Nobody remembers it: a new one is made, and all certificates with it. Until they have arrived at both ends calls pass.
pub(super) fn lost(world: &World) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let (lives, before, old_leaves) = (running(NAMESPACE)?, authority()?, leaves(NAMESPACE)?);
    let loss = || {
        scale_operator(0)?;
        eventually("no operator", LIMIT, || {
            Ok(pods(SYSTEM, OPERATORS)?.is_empty().then_some(()))
        })?;
        delete()?;
        traffic.another(20).map(|_| ())
    };
    with_undo(loss, || {
        scale_operator(2)?;
        whole()
    })?;
    let after = eventually("a new authority", LIMIT, || authority().map(Some))?;
    ensure!(before != after, "somebody remembered the authority");
    let made = Instant::now();
    renewed(&old_leaves)?;
    eventually("compressed calls alone", LIMIT, || {
        compressed(&traffic, 20).map(Some)
    })?;
    println!(
        "\n    all calls compressed {:.0} s after the new authority",
        made.elapsed().as_secs_f64()
    );
    let doors = Doors::open(world, NAMESPACE)?;
    traffic.another(20)?;
    doors.none_failed("authority lost")?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    traffic.none_failed("authority lost").map(|_| ())
}
