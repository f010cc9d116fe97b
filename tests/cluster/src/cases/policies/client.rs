//! Who tries to connect: a container with the tests' Python, in a pod of its own or beside one of our programs.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use crate::kubectl::{apply, get, kubectl, text};
use crate::manifest;
use crate::world::{World, eventually};

/// Port at which every such container listens, and which no policy of ours opens.
pub(super) const PROBE: u16 = 7777;
const CONTAINER: &str = "probe";
const LISTENS: [&str; 3] = ["/application/reach.py", "serve", "7777"];
const LIMIT: Duration = Duration::from_secs(60);

/// A pod with a container that listens at [`PROBE`] and connects where it is told.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) namespace: String,
    pub(super) pod: String,
}

impl Client {
    pub(super) fn new(namespace: &str, pod: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
        }
    }

    /// Starts the pod, with these changes to it, and waits until it is ready.
    pub(super) fn start(&self, world: &World, change: impl FnOnce(&mut Value)) -> Result<()> {
        let container = manifest::application(world, CONTAINER, &["reach.py", "serve", &PROBE.to_string()]);
        let mut pod = manifest::pod(&self.namespace, &self.pod, &[container]);
        change(&mut pod);
        apply(&pod)?;
        let name = format!("pod/{}", self.pod);
        let limit = format!("--timeout={}s", LIMIT.as_secs());
        let wait = [
            "wait",
            "--for=condition=Ready",
            &name,
            "--namespace",
            &self.namespace,
            &limit,
        ];
        kubectl(&wait).map(|_| ())
    }

    /// Puts the container beside those of a pod that runs, into the same network, unless it is there already.
    pub(super) fn join(&self, world: &World) -> Result<()> {
        let pod = get(&self.namespace, &["pod", &self.pod])?;
        if pod.pointer("/spec/ephemeralContainers").is_none() {
            let image = format!("--image={}", world.image("test-application"));
            let (namespace, container) = (
                format!("--namespace={}", self.namespace),
                format!("--container={CONTAINER}"),
            );
            let debug = [
                "debug",
                &self.pod,
                &namespace,
                &container,
                &image,
                "--image-pull-policy=Never",
                "--profile=restricted",
                "--arguments-only",
                "--",
            ];
            kubectl(&[&debug[..], &LISTENS].concat())?;
        }
        eventually(&format!("the probe in {}", self.pod), LIMIT, || {
            let pod = get(&self.namespace, &["pod", &self.pod])?;
            let state = pod.pointer("/status/ephemeralContainerStatuses/0/state");
            ensure!(
                state.is_some_and(|state| state.get("running").is_some()),
                "its state is {state:?}"
            );
            Ok(Some(()))
        })
    }

    /// The pod's own address.
    pub(super) fn address(&self) -> Result<String> {
        let pod = get(&self.namespace, &["pod", &self.pod])?;
        let address = text(&pod, "/status/podIP");
        ensure!(!address.is_empty(), "{self:?} has no address");
        Ok(address.to_owned())
    }

    /// Runs a script of the tests' application; what it prints.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String> {
        // The image's only program is the one that runs: wherever Python is in it, it is this.
        let exec = [
            "exec",
            &self.pod,
            "--namespace",
            &self.namespace,
            "--container",
            CONTAINER,
            "--",
            "/proc/1/exe",
        ];
        kubectl(&[&exec[..], arguments].concat())
    }

    /// Whether each of these is reached.
    fn reaches(&self, targets: &[String]) -> Result<Vec<bool>> {
        let mut arguments = vec!["/application/reach.py"];
        arguments.extend(targets.iter().map(String::as_str));
        let said = self.run(&arguments)?;
        let reached = said.lines().map(|line| line == "open").collect::<Vec<_>>();
        ensure!(reached.len() == targets.len(), "{self:?} said {said}");
        Ok(reached)
    }
}

/// Ports of an address, as targets.
pub(super) fn ports(address: &str, ports: &[u16]) -> Vec<String> {
    ports.iter().map(|port| format!("{address}:{port}")).collect()
}

/// Tries until each client reaches what it should of the targets and nothing else: rules follow pods and policies a moment
/// later.
pub(super) fn expect(targets: &[String], clients: &[(&Client, &[bool])]) -> Result<()> {
    for (client, expected) in clients {
        eventually("what is reached", LIMIT, || {
            let found = client.reaches(targets)?;
            if found != *expected {
                bail!("{client:?} of {targets:?} reaches {found:?}, not {expected:?}");
            }
            Ok(Some(()))
        })?;
    }
    Ok(())
}
