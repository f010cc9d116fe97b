//! The volumes that the sidecar mounts, and the file each gives it.

use serde_json::{Value, json};

use super::outcome::Denial;
use super::pod::{Pod, items, text};
use super::settings::{Key, Proxy};
use crate::names;

const CONFIG: &str = "liquid-memory-config";
const TLS: &str = "liquid-memory-tls";
const KEYS: &str = "liquid-memory-keys";

/// Readable by the sidecar's user, whatever the pod says about groups; no other container mounts them.
const MODE: u16 = 0o444;

/// The volumes that a sidecar of this proxy needs.
pub(super) fn volumes(proxy: &Proxy) -> Vec<Value> {
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
        let sources: Vec<Value> = proxy.keys.iter().map(source).collect();
        volumes.push(json!({
            "name": KEYS,
            "projected": { "defaultMode": MODE, "sources": sources },
        }));
    }
    volumes
}

fn source(key: &Key) -> Value {
    json!({ "secret": { "name": key.secret, "items": [{ "key": key.key, "path": key.path }] } })
}

/// Where the sidecar finds them.
pub(super) fn mounts(proxy: &Proxy) -> Vec<Value> {
    let mount = |name, path| json!({ "name": name, "mountPath": path, "readOnly": true });
    let mut mounts = vec![mount(CONFIG, names::CONFIG_FOLDER), mount(TLS, names::TLS_FOLDER)];
    if !proxy.keys.is_empty() {
        mounts.push(mount(KEYS, names::KEYS_FOLDER));
    }
    // Where a container mounts nothing here, the API server mounts the token of the application's service account
    // (plugin ServiceAccount), which the sidecar has no use for.
    mounts.push(mount(CONFIG, SERVICE_ACCOUNT_FOLDER));
    mounts
}

const SERVICE_ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Those that the pod lacks.
///
/// # Errors
/// A volume of the same name that is another one.
pub(super) fn missing(pod: &Pod<'_>, proxy: &Proxy) -> Result<Vec<Value>, Denial> {
    let mut missing = Vec::new();
    for volume in volumes(proxy) {
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
