//! The settings of the pages: section `[pages]`.

use liquid_process::Invalid;
use serde::Deserialize;

/// Pages for a browser on this machine. Section `[pages]`. Needs a restart.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether `/liquid/` shows recent calls to browsers on this machine: connections from a loopback address to a
    /// loopback address. Every user and process of the machine or pod can read them. Default false.
    pub enabled: bool,
    /// Calls that are shown, the latest ones. 1 to 1000. Default 200.
    pub calls: usize,
    /// Whether texts of calls are kept in memory and shown: documents with what is kept and dropped, and what was asked.
    /// Default false.
    pub keep_texts: bool,
    /// Texts that are kept. Bytes. Default 8388608 (8 MiB).
    pub text_bytes: u64,
    /// How long a text is kept. Seconds. Default 900.
    pub text_ttl_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: false,
            calls: 200,
            keep_texts: false,
            text_bytes: 8 << 20,
            text_ttl_s: 900,
        }
    }
}

impl Settings {
    /// Lists every value that cannot be used, fields named below `[pages]`.
    pub fn validate(&self) -> Vec<Invalid> {
        let mut wrong = Vec::new();
        if !(1..=1_000).contains(&self.calls) {
            wrong.push(Invalid::new("calls", self.calls, "set 1 to 1000"));
        }
        if self.keep_texts && !self.enabled {
            let remedy = "nobody could see them; set pages.enabled too";
            wrong.push(Invalid::new("keep_texts", self.keep_texts, remedy));
        }
        for (field, value) in [("text_bytes", self.text_bytes), ("text_ttl_s", self.text_ttl_s)] {
            if value == 0 {
                wrong.push(Invalid::new(field, value, "set at least 1"));
            }
        }
        wrong
    }
}
