//! Limits that differ between Anthropic's models, read from a model's name.
//!
//! Sources: "Messages" (API reference), "Migration guide", "What's new in Claude 4.6" and "What's new in Claude
//! Opus 4.7" of Anthropic's documentation.

/// What a model takes. A name that says no version is taken for a current model: it takes the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ModelTraits {
    /// Whether `temperature` and `top_p` may be set together.
    pub(super) both_sampling: bool,
    /// Whether `temperature` and `top_p` may be set at all.
    pub(super) sampling: bool,
    /// Whether the conversation may end with the beginning of the answer.
    pub(super) prefill: bool,
}

impl ModelTraits {
    /// Reads the traits of a model.
    pub(super) fn new(model: &str) -> Self {
        let version = version(model);
        Self {
            both_sampling: version.is_some_and(|version| version < (4, 1)),
            sampling: version.is_none_or(|version| version < (4, 7)),
            prefill: version.is_none_or(|version| version < (4, 6)),
        }
    }
}

/// Reads the version out of names such as `claude-3-5-haiku-20241022`, `claude-opus-4-20250514` and
/// `anthropic.claude-sonnet-4-5-20250929-v1:0`.
fn version(model: &str) -> Option<(u32, u32)> {
    let model = model.to_ascii_lowercase();
    let own = model.split_once("claude").map_or(model.as_str(), |(_, own)| own);
    let mut words = own.split(|each: char| !each.is_ascii_alphanumeric());
    let number = |word: &str| word.parse::<u32>().ok().filter(|_| word.len() <= 2);
    let major = words.find_map(number)?;
    let minor = words.next().and_then(number).unwrap_or(0);
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn versions_are_read_from_every_form_of_name() {
        for (model, want) in [
            ("claude-3-5-haiku-20241022", Some((3, 5))),
            ("claude-3-opus-20240229", Some((3, 0))),
            ("claude-3.7-sonnet", Some((3, 7))),
            ("claude-opus-4-20250514", Some((4, 0))),
            ("claude-opus-4@20250514", Some((4, 0))),
            ("anthropic.claude-sonnet-4-5-20250929-v1:0", Some((4, 5))),
            ("claude-opus-4-7", Some((4, 7))),
            ("claude", None),
            ("sonnet-latest", None),
        ] {
            assert_eq!(version(model), want, "{model}");
        }
    }
}
