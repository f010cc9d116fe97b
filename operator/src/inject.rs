//! Decides what a pod gets: the raw pod in, an additive JSON Patch and what to say about it out.
//!
//! Pure: no clock, no network. `webhook/` reads the proxies and ConfigMaps, calls [`inject`] and sends the
//! answer. Pods stay raw JSON on the whole way: a typed round trip drops the fields that the types do not
//! know yet (aws-app-mesh-controller #774).
//!
//! # Flow
//! 1. labels and annotations are read and checked ([`annotations`]);
//! 2. one proxy of the pod's namespace is chosen ([`choose`]), unless the pod already has the sidecar;
//! 3. it is decided whether TLS to providers is intercepted (`interception`);
//! 4. every container and ordinary init container gets the base URLs (`env`), or a note why not;
//! 5. the sidecar goes before all other init containers (`sidecar`), with what the pod's own resources leave it
//!    (`pod_resources`), and probes that pass a mesh (`mesh`, `probes`).
//!
//! # Guarantees
//! - Nothing is rewritten but values that the rules name: an adopted base URL, `NO_PROXY` that gets our hosts, and
//!   our own container's probes where a mesh joined the pod after it.
//! - The patch of a patched pod is empty. A pod that another webhook gave a container afterwards gets the rest.
//! - Containers and annotations of a mesh stay as they are, and in their order.
//! - An opted-in pod is injected, denied with a remedy, or passed with a note; never passed without a word.

pub mod annotations;
pub mod choose;
pub mod env;
mod interception;
mod mesh;
mod node_os;
pub mod outcome;
mod patch_builder;
pub mod pod;
mod pod_patch;
mod pod_resources;
mod probes;
mod quantity;
pub mod settings;
mod sidecar;
mod volumes;

#[cfg(test)]
mod tests;

use serde_json::Value;

pub use outcome::{Decision, Denial, Note, Outcome, Reason};
pub use settings::{ConfigMapData, ConfigMaps, Input, MountedKey, Proxy, SidecarDefaults, SidecarResources};

use annotations::Overrides;
use outcome::SkipReason;
use pod::Pod;

/// Decides what a pod gets. A pod that cannot be served is denied, with the remedy.
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
    if annotations::is_opted_out(&pod)? {
        return Ok(Outcome::pass(Vec::new()));
    }
    let overrides = Overrides::read(&pod)?;
    if let Some(skip) = find_obstacle(&pod) {
        return Ok(Outcome::pass(vec![skip.to_note()]));
    }
    match sidecar::find_sidecar(&pod)? {
        Some(present) => Ok(pod_patch::patch_injected_pod(input, &pod, &overrides, &present)),
        None => pod_patch::patch_new_pod(input, &pod, &overrides),
    }
}

/// Returns why the sidecar cannot work in a pod. Such a pod passes, with a note.
fn find_obstacle(pod: &Pod<'_>) -> Option<SkipReason> {
    if pod.spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Some(SkipReason::HostNetwork);
    }
    node_os::find_windows_field(pod.spec).map(|field| SkipReason::Windows { field })
}
