//! The volumes that the sidecar mounts, the one that the other containers of an intercepted pod mount, and the files in
//! them.

use liquid_contract::files;
use serde_json::{Value, json};

use super::outcome::Denial;
use super::pod::{Container, Pod, items, text};
use super::settings::{MountedKey, Proxy};
use crate::names;

const CONFIG: &str = "liquid-memory-config";
const TLS: &str = "liquid-memory-tls";
const KEYS: &str = "liquid-memory-keys";
const INTERCEPTION: &str = "liquid-memory-interception";
const TRUST: &str = "liquid-memory-trust";

/// Mode of the files: readable by the sidecar's user, whatever the pod says about groups. No other container
/// mounts them but for the certificates of authorities.
const MODE: u16 = 0o444;

/// Builds the volumes that a sidecar of this proxy needs.
fn build_volumes(proxy: &Proxy, intercepts: bool) -> Vec<Value> {
    let mut volumes = vec![
        json!({
            "name": CONFIG,
            "configMap": { "name": names::sidecar_config(&proxy.name), "defaultMode": MODE },
        }),
        json!({
            "name": TLS,
            "secret": { "secretName": names::sidecar_tls(&proxy.name), "defaultMode": MODE },
        }),
    ];
    if !proxy.keys.is_empty() {
        let sources: Vec<Value> = proxy.keys.iter().map(build_source).collect();
        volumes.push(json!({
            "name": KEYS,
            "projected": { "defaultMode": MODE, "sources": sources },
        }));
    }
    if intercepts {
        let authorities = names::interception_authorities(&proxy.name);
        volumes.push(json!({
            "name": INTERCEPTION,
            "secret": { "secretName": names::interception_tls(&proxy.name), "defaultMode": MODE },
        }));
        volumes.push(json!({
            "name": TRUST,
            "configMap": { "name": authorities, "defaultMode": MODE },
        }));
    }
    volumes
}

fn build_source(key: &MountedKey) -> Value {
    json!({ "secret": { "name": key.secret, "items": [{ "key": key.key, "path": key.path }] } })
}

/// Builds the mounts of those volumes in the sidecar's container.
pub(super) fn build_mounts(proxy: &Proxy, intercepts: bool) -> Vec<Value> {
    let mut mounts = vec![mount(CONFIG, files::CONFIG_FOLDER), mount(TLS, files::TLS_FOLDER)];
    if !proxy.keys.is_empty() {
        mounts.push(mount(KEYS, names::KEYS_FOLDER));
    }
    if intercepts {
        mounts.push(mount(INTERCEPTION, names::INTERCEPTION_FOLDER));
    }
    // Where a container mounts nothing here, the API server mounts the token of the application's service
    // account (plugin ServiceAccount), which the sidecar has no use for.
    mounts.push(mount(CONFIG, SERVICE_ACCOUNT_FOLDER));
    mounts
}

fn mount(name: &str, path: &str) -> Value {
    json!({ "name": name, "mountPath": path, "readOnly": true })
}

/// Builds the mount of the authorities that a container of an intercepted pod trusts, unless it has one.
pub(super) fn build_trust_mount(container: &Container<'_>) -> Option<Value> {
    let present = items(container.value, "volumeMounts")
        .any(|mount| text(mount, "mountPath") == Some(names::TRUST_FOLDER));
    (!present).then(|| mount(TRUST, names::TRUST_FOLDER))
}

const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Lists the volumes that the pod lacks.
///
/// # Errors
/// The pod has a different volume of the same name.
pub(super) fn list_missing(pod: &Pod<'_>, proxy: &Proxy, intercepts: bool) -> Result<Vec<Value>, Denial> {
    let mut missing = Vec::new();
    for volume in build_volumes(proxy, intercepts) {
        let name = text(&volume, "name").unwrap_or_default();
        match items(pod.spec, "volumes").find(|other| text(other, "name") == Some(name)) {
            None => missing.push(volume),
            // A template that was copied from an injected pod.
            Some(other) if *other == volume => {}
            Some(_) => {
                return Err(Denial::NameTaken {
                    field: "spec.volumes",
                    name: name.into(),
                });
            }
        }
    }
    Ok(missing)
}
