//! The operator's clock is an hour off: what it signs has to be valid for everybody else at once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::{LIMIT, NAMESPACE, OPERATOR, SYSTEM, compressed, renewed, whole, with_undo};
use crate::cases::faults::{Doors, leader, leaves, new_application_is_served, running};
use crate::kubectl::{kubectl, output, patch};
use crate::traffic::Traffic;
use crate::world::{World, eventually};

/// Debian's package `libfaketime`: a program that loads it first has another clock.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const NAME: &str = "faketime";
const HOUR: i64 = 3600;

pub(super) fn hour_off(world: &World) -> Result<()> {
    ensure!(
        Path::new(LIBRARY).exists(),
        "{LIBRARY} is missing: apt-get install libfaketime"
    );
    let file = format!("--from-file=library={LIBRARY}");
    kubectl(&["create", "configmap", NAME, "--namespace", SYSTEM, &file])?;
    let both = || {
        [HOUR, -HOUR]
            .into_iter()
            .try_for_each(|offset| off_by(world, offset))
    };
    with_undo(both, || {
        kubectl(&["delete", "configmap", NAME, "--namespace", SYSTEM]).map(|_| ())
    })
}

/// Certificates are issued anew meanwhile, and the webhook's are: each operator makes its own when it starts.
fn off_by(world: &World, offset: i64) -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let (lives, before) = (running(NAMESPACE)?, leaves(NAMESPACE)?);
    let wrong = || {
        set_clock(offset)?;
        whole()?;
        eventually("a wrong clock", LIMIT, || {
            let (_, lease_renewed) = leader()?;
            let off = seconds_of(&lease_renewed)? - seconds_of("now")?;
            Ok((off.abs_diff(offset) < 60).then_some(()))
        })?;
        let secrets = ["proxy-worker-tls", "proxy-sidecar-tls"];
        kubectl(&[&["delete", "secret", "--namespace", NAMESPACE], &secrets[..]].concat())?;
        renewed(&before)?;
        new_application_is_served(world, NAMESPACE, &format!("clock{offset}"))?;
        compressed(&traffic, 20)?;
        doors.none_failed(&format!("operator's clock off by {offset} s"))
    };
    let operator = format!("deployment/{OPERATOR}");
    with_undo(wrong, || {
        kubectl(&["rollout", "undo", &operator, "--namespace", SYSTEM])?;
        whole()
    })?;
    ensure!(lives == running(NAMESPACE)?, "something was restarted");
    traffic
        .none_failed(&format!("operator's clock off by {offset} s"))
        .map(|_| ())
}

/// Gives the operators another clock; what they measure, rather than read from it, stays right.
fn set_clock(offset: i64) -> Result<()> {
    let change = json!({"spec": {"template": {"spec": {
        "volumes": [{"name": NAME, "configMap": {"name": NAME}}],
        "containers": [{
            "name": "operator",
            "volumeMounts": [{"name": NAME, "mountPath": "/faketime"}],
            "env": [
                {"name": "LD_PRELOAD", "value": "/faketime/library"},
                {"name": "FAKETIME", "value": format!("{offset:+}")},
                {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
            ],
        }],
    }}}});
    patch(SYSTEM, &format!("deployment/{OPERATOR}"), "strategic", &change).map(|_| ())
}

/// Seconds since 1970 of a time that `date` reads.
fn seconds_of(time: &str) -> Result<i64> {
    let seconds = output(Command::new("date").args(["--date", time, "+%s"]))?;
    seconds.parse().context("no time")
}
