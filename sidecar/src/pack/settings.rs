//! What packs are made of and how long their manifests are kept: section `[pack]`.

use liquid_contract::PackStyle;
use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// What packs are made of, and how long their manifests can be looked up. Section `[pack]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `quotes`: excerpts, word for word; `facts`: what the workers' language model says about the document, and the quotes
    /// that prove it; `both`. Facts take the model seconds a passage, so give `extract.deadline_ms` that time; without any
    /// the pack has excerpts. The header `x-liquid-pack-style` goes first. Default `quotes`.
    pub style: PackStyle,
    /// Manifests that are kept. Bytes. Default 8388608 (8 MiB).
    pub store_bytes: u64,
    /// How long a manifest is kept after its last use. Seconds. Default 3600.
    pub store_ttl_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            style: PackStyle::Quotes,
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
