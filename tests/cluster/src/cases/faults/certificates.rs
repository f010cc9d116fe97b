//! Certificates that live for seconds: authorities and leaves change under traffic, and nothing is restarted for it.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::doors::Doors;
use super::{APPLICATION, DEPLOYMENT, NAMESPACE, WORKERS, kill, lives, pods, running};
use crate::guide::{self, Chapter};
use crate::kubectl::{apply, finished, kubectl, rolled_out};
use crate::manifest;
use crate::traffic::Traffic;
use crate::world::{RELEASE, SYSTEM, World, eventually};

/// The text below a key of a Secret.
fn pem(namespace: &str, secret: &str, key: &str) -> Result<String> {
    let template = format!("--output=go-template={{{{index .data \"{key}\" | base64decode}}}}");
    kubectl(&["get", "secret", secret, "--namespace", namespace, &template])
}

pub(in crate::cases) fn authority() -> Result<String> {
    pem(SYSTEM, "liquid-memory-ca", "tls.crt")
}

/// The certificates of the proxy `proxy`: of its workers and of its sidecars.
pub(in crate::cases) fn leaves(namespace: &str) -> Result<[String; 2]> {
    let leaf = |secret: &str| pem(namespace, secret, "tls.crt");
    Ok([leaf("proxy-worker-tls")?, leaf("proxy-sidecar-tls")?])
}

/// Two new authorities, one after the other, and with each new certificates everywhere. The release is made anew with
/// lives of a minute; the workers and their traffic stay meanwhile. The shortest propagation decides how long this takes:
/// a kubelet of these clusters syncs every second and up to half of that later, the programs look at their files every 2 s,
/// and a busy machine adds to both. Leaf and authority live three and nine times as long, which is the least.
pub(super) fn rotation(world: &World) -> Result<()> {
    guide::run(world, Chapter::Uninstall)?;
    install(
        world,
        &[
            "certificates.caLifetime=63s",
            "certificates.leafLifetime=21s",
            "certificates.propagation=7s",
        ],
    )?;
    let before = Traffic::from_now(NAMESPACE)?;
    eventually(
        "compressed traffic with new certificates",
        Duration::from_secs(90),
        || Ok((before.since()?.compressed > 2).then_some(())),
    )?;
    let traffic = Traffic::from_now(NAMESPACE)?;
    let doors = Doors::open(world, NAMESPACE)?;
    let (pods_before, old_leaves, first) = (running(NAMESPACE)?, leaves(NAMESPACE)?, authority()?);
    let second = eventually("a second authority", Duration::from_secs(150), || {
        Ok(Some(authority()?).filter(|now| *now != first))
    })?;
    eventually("a third authority", Duration::from_secs(150), || {
        Ok(Some(authority()?).filter(|now| *now != second))
    })?;
    traffic.another(20)?;
    doors.none_failed("authority rotated twice")?;
    let counts = traffic.none_failed("authority rotated twice")?;
    // Old and new authority hold together: calls are compressed throughout.
    ensure!(
        counts.compressed * 10 >= counts.sent * 9,
        "hardly compressed: {counts:?}"
    );
    let (pods_after, new_leaves) = (running(NAMESPACE)?, leaves(NAMESPACE)?);
    ensure!(
        pods_before == pods_after,
        "something was restarted: {pods_before:?}, {pods_after:?}"
    );
    ensure!(
        old_leaves.iter().zip(&new_leaves).all(|(old, new)| old != new),
        "not every certificate was renewed"
    );
    let trusted = pem(NAMESPACE, "proxy-sidecar-tls", "ca.crt")?;
    ensure!(!trusted.contains(&first), "the first authority is still trusted");
    new_application_is_served(world, NAMESPACE, "renewed")?;
    new_serves_old()?;
    world.upgrade(&[
        "certificates.caLifetime=365d",
        "certificates.leafLifetime=24h",
        "certificates.propagation=150s",
    ])
}

/// Workers that started before serve a sidecar that starts now, and so has the present certificate and authorities alone:
/// they show a certificate that was renewed while they ran.
pub(in crate::cases) fn new_application_is_served(world: &World, namespace: &str, name: &str) -> Result<()> {
    let application = manifest::application(world, "application", &["ask.py", name]);
    apply(&manifest::pod(namespace, name, &[application]))?;
    let log = finished(namespace, name, Duration::from_secs(90))?;
    ensure!(
        log.contains("\"x-liquid-decision\": \"compressed\""),
        "workers from before do not serve a new sidecar: {log}"
    );
    Ok(())
}

/// And the other way round: the sidecar from before opens connections to workers that know the present authorities only.
fn new_serves_old() -> Result<()> {
    let traffic = Traffic::from_now(NAMESPACE)?;
    let application = lives(NAMESPACE, APPLICATION)?;
    for worker in pods(NAMESPACE, WORKERS)? {
        kill(NAMESPACE, &worker)?;
        rolled_out(NAMESPACE, DEPLOYMENT, Duration::from_secs(90))?;
    }
    let before = traffic.since()?.compressed;
    eventually(
        "compressed traffic from an old sidecar",
        Duration::from_secs(60),
        || Ok((traffic.since()?.compressed > before + 5).then_some(())),
    )?;
    ensure!(
        application == lives(NAMESPACE, APPLICATION)?,
        "the application was restarted"
    );
    traffic.none_failed("all workers replaced").map(|_| ())
}

fn install(world: &World, values: &[&str]) -> Result<()> {
    let chart = world.chart("liquid-memory").display().to_string();
    let registry = format!("image.registry={}", world.registry);
    let mut arguments = vec![
        "install",
        RELEASE,
        &chart,
        "--namespace",
        SYSTEM,
        "--wait",
        "--set",
        &registry,
    ];
    for value in values {
        arguments.extend(["--set", value]);
    }
    world.helm(&arguments).map(|_| ())
}
