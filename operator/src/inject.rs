//! Decides what a pod gets: the raw pod in, an additive JSON Patch and what to say about it out.
//!
//! Pure: no clock, no network. `webhook/` reads the proxies and ConfigMaps, calls [`inject`] and sends the answer.
//! Pods stay raw JSON on the whole way: a typed round trip drops the fields that the types do not know yet
//! (aws-app-mesh-controller #774).
//!
//! # Flow
//! 1. labels and annotations are read and checked ([`annotations`]);
//! 2. one proxy of the pod's namespace is chosen ([`choose`]), unless the pod already has the sidecar;
//! 3. every container and ordinary init container gets the base URLs (`env`), or a note why not;
//! 4. the sidecar goes before all other init containers (`sidecar`).
//!
//! # Guarantees
//! - Nothing is rewritten but values that the rules name: an adopted base URL, and `NO_PROXY` that gets our hosts.
//! - The patch of a patched pod is empty. A pod that another webhook gave a container afterwards gets the rest.
//! - An opted-in pod is injected, denied with a remedy, or passed with a note; never passed without a word.

pub mod annotations;
pub mod choose;
pub mod env;
mod no_proxy;
pub mod outcome;
mod patch;
pub mod pod;
mod quantity;
pub mod settings;
mod sidecar;
mod steps;
mod volumes;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use outcome::{Decision, Denial, Note, Outcome, Reason};
pub use settings::{ConfigMaps, Key, Keys, Platform, Proxy, Resources};

use annotations::Overrides;
use outcome::Skip;
use pod::Pod;

/// What a decision is made from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod as the API server sent it.
    pub pod: &'a Value,
    /// The namespace that it is created in.
    pub namespace: &'a str,
    /// What holds for every pod.
    pub platform: &'a Platform,
    /// The proxies of that namespace.
    pub proxies: &'a [Proxy],
    /// The ConfigMaps that the pod's `envFrom` names; see [`env::config_maps`].
    pub config_maps: &'a ConfigMaps,
}

/// Decides about one pod.
pub fn inject(input: &Input<'_>) -> Outcome {
    match decide(input) {
        Ok(outcome) => outcome,
        Err(denial) => Outcome {
            decision: Decision::Deny(denial),
            notes: Vec::new(),
            proxy: None,
        },
    }
}

fn decide(input: &Input<'_>) -> Result<Outcome, Denial> {
    let pod = Pod::read(input.pod)?;
    if annotations::opted_out(&pod)? {
        return Ok(Outcome::pass(Vec::new()));
    }
    let overrides = Overrides::read(&pod)?;
    if let Some(skip) = cannot(&pod) {
        return Ok(Outcome::pass(vec![skip.note()]));
    }
    match sidecar::find(&pod)? {
        Some(present) => Ok(steps::again(input, &pod, &overrides, &present)),
        None => steps::first(input, &pod, &overrides),
    }
}

/// Pods in which the sidecar cannot work. They pass, with a note.
fn cannot(pod: &Pod<'_>) -> Option<Skip> {
    if pod.spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Some(Skip::HostNetwork);
    }
    let windows = pod.spec.pointer("/os/name").and_then(Value::as_str) == Some("windows");
    windows.then_some(Skip::Windows)
}
