//! What stands in a document's place.

use serde::{Deserialize, Serialize};

/// What a pack is made of.
///
/// The operator writes it from `spec.extraction.packStyle` into `sidecar.toml`; the sidecar reads it, and
/// `x-liquid-pack-style`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackStyle {
    /// Excerpts, word for word.
    #[default]
    Quotes,
    /// Facts that a worker's language model writes, and the quotes that prove them.
    Facts,
    /// Both: facts, and excerpts that hold their quotes.
    Both,
}

impl PackStyle {
    /// Every style.
    pub const ALL: [Self; 3] = [Self::Quotes, Self::Facts, Self::Both];

    /// Returns the style's name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quotes => "quotes",
            Self::Facts => "facts",
            Self::Both => "both",
        }
    }

    /// Finds the style of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|style| style.name() == name)
    }

    /// Returns whether workers are asked for facts.
    pub const fn has_facts(self) -> bool {
        matches!(self, Self::Facts | Self::Both)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::PackStyle;

    #[test]
    fn names_are_read_as_they_are_written() {
        for style in PackStyle::ALL {
            assert_eq!(PackStyle::named(style.name()), Some(style));
            let quoted = format!("{:?}", style.name());
            assert_eq!(serde_json::from_str::<PackStyle>(&quoted).unwrap(), style);
        }
        assert_eq!(PackStyle::named("all"), None);
    }
}
