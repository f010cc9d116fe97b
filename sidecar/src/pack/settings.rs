//! The pack store's settings: section `[pack]`.

use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// How long manifests can be looked up. Section `[pack]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Manifests that are kept. Bytes. Default 8388608 (8 MiB).
    pub store_bytes: u64,
    /// How long a manifest is kept after its last use. Seconds. Default 3600.
    pub store_ttl_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store_bytes: 8 << 20,
            store_ttl_s: 3_600,
        }
    }
}

impl Settings {
    /// Lists every value that cannot be used, fields named below `[pack]`.
    pub fn validate(&self) -> Vec<Invalid> {
        let positive = [
            ("store_bytes", self.store_bytes),
            ("store_ttl_s", self.store_ttl_s),
        ];
        positive
            .into_iter()
            .filter(|(_, value)| *value == 0)
            .map(|(field, value)| Invalid::new(field, value, "set at least 1"))
            .collect()
    }
}
