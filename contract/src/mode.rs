//! How willing the sidecar is to compress.

use serde::{Deserialize, Serialize};

/// How willing the sidecar is to compress.
///
/// The operator writes it from `spec.policy.mode` into `sidecar.toml`, and from the annotation `liquidmemory.dev/mode`
/// into [`crate::environment::SIDECAR_MODE`]; the sidecar reads both, and `x-liquid-mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Never.
    Off,
    /// Where it is safe and pays.
    #[default]
    Auto,
    /// Wherever it is safe, also where it does not pay: short documents, repeated documents, no question.
    Force,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Off, Self::Auto, Self::Force];

    /// Returns the mode's name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Force => "force",
        }
    }

    /// Finds the mode of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::Mode;

    #[test]
    fn names_are_read_as_they_are_written() {
        for (index, mode) in Mode::ALL.into_iter().enumerate() {
            assert_eq!(mode as usize, index);
            assert_eq!(Mode::named(mode.name()), Some(mode));
            let quoted = format!("{:?}", mode.name());
            assert_eq!(serde_json::from_str::<Mode>(&quoted).unwrap(), mode);
        }
        assert_eq!(Mode::named("on"), None);
    }
}
