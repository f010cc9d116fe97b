//! Environment variables that one of our programs sets for another.
//!
//! Sidecar and worker read every key of their configuration from a variable too: the program's prefix, then section
//! and key in upper case, joined by [`SEPARATOR`]. The operator sets those of the sidecar's that differ from pod to
//! pod; the worker's image for GPUs sets [`WORKER_DEVICE`].

/// What the sidecar's variables begin with.
pub const SIDECAR_PREFIX: &str = "LIQUID_SIDECAR";

/// What the worker's variables begin with.
pub const WORKER_PREFIX: &str = "LIQUID_WORKER";

/// Stands between prefix, section and key.
pub const SEPARATOR: &str = "__";

/// The zone of the machine, which sidecar and worker take for their own. It begins with neither's prefix, so that versions
/// which do not know it ignore it.
pub const ZONE: &str = "LIQUID_ZONE";

/// `listen.address` of the sidecar.
pub const SIDECAR_LISTEN: &str = "LIQUID_SIDECAR__LISTEN__ADDRESS";

/// `listen.admin` of the sidecar.
pub const SIDECAR_ADMIN: &str = "LIQUID_SIDECAR__LISTEN__ADMIN";

/// `intercept.address` of the sidecar.
pub const SIDECAR_INTERCEPT: &str = "LIQUID_SIDECAR__INTERCEPT__ADDRESS";

/// `intercept.cert_file` of the sidecar.
pub const SIDECAR_INTERCEPT_CERTIFICATE: &str = "LIQUID_SIDECAR__INTERCEPT__CERT_FILE";

/// `intercept.key_file` of the sidecar.
pub const SIDECAR_INTERCEPT_KEY: &str = "LIQUID_SIDECAR__INTERCEPT__KEY_FILE";

/// `policy.mode` of the sidecar, one of [`crate::Mode`].
pub const SIDECAR_MODE: &str = "LIQUID_SIDECAR__POLICY__MODE";

/// `policy.unread` of the sidecar, one of [`crate::Unread`].
pub const SIDECAR_UNREAD: &str = "LIQUID_SIDECAR__POLICY__UNREAD";

/// `policy.whole` of the sidecar, one of [`crate::Whole`].
pub const SIDECAR_WHOLE: &str = "LIQUID_SIDECAR__POLICY__WHOLE";

/// `log.format` of the sidecar: `text` or `json`.
pub const SIDECAR_LOG_FORMAT: &str = "LIQUID_SIDECAR__LOG__FORMAT";

/// `upstream.providers.openai.base_url` of the sidecar: an adopted upstream.
pub const SIDECAR_OPENAI_URL: &str = "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__OPENAI__BASE_URL";

/// `upstream.providers.anthropic.base_url` of the sidecar: an adopted upstream.
pub const SIDECAR_ANTHROPIC_URL: &str = "LIQUID_SIDECAR__UPSTREAM__PROVIDERS__ANTHROPIC__BASE_URL";

/// `model.device` of the worker: `cpu`, `cuda` or `cuda:N`.
pub const WORKER_DEVICE: &str = "LIQUID_WORKER__MODEL__DEVICE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_names_a_key_of_its_program() {
        let sidecar = [
            SIDECAR_LISTEN,
            SIDECAR_ADMIN,
            SIDECAR_INTERCEPT,
            SIDECAR_INTERCEPT_CERTIFICATE,
            SIDECAR_INTERCEPT_KEY,
            SIDECAR_MODE,
            SIDECAR_UNREAD,
            SIDECAR_WHOLE,
            SIDECAR_LOG_FORMAT,
            SIDECAR_OPENAI_URL,
            SIDECAR_ANTHROPIC_URL,
        ];
        let with_prefix = |name: &str, prefix: &str| {
            let key = name
                .strip_prefix(prefix)
                .and_then(|rest| rest.strip_prefix(SEPARATOR));
            key.is_some_and(|key| key.split(SEPARATOR).count() >= 2)
        };
        assert!(sidecar.iter().all(|name| with_prefix(name, SIDECAR_PREFIX)));
        assert!(with_prefix(WORKER_DEVICE, WORKER_PREFIX));
    }
}
