//! What becomes of tools' results, by the tool's name.

use std::collections::BTreeMap;

use liquid_process::Invalid;
use serde::{Deserialize, Serialize};

/// What becomes of a tool's results.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolMode {
    /// Prose, tables and pages are packed; code, listings, hits, logs and configuration stay word for word.
    #[default]
    Auto,
    /// They stay word for word.
    Keep,
    /// They are packed, whatever they hold.
    Compress,
}

/// A mode for each tool: names, in which `*` stands for any characters. Section `[policy.tools]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tools(BTreeMap<String, ToolMode>);

impl<const N: usize> From<[(String, ToolMode); N]> for Tools {
    fn from(modes: [(String, ToolMode); N]) -> Self {
        Self(modes.into())
    }
}

impl Tools {
    /// Returns the mode for a tool: that of the longest name that matches.
    pub fn mode(&self, tool: &str) -> ToolMode {
        let matching = self.0.iter().filter(|(name, _)| matches(name, tool));
        matching
            .max_by_key(|(name, _)| (name.len() - name.matches('*').count(), name.len()))
            .map_or(ToolMode::Auto, |(_, mode)| *mode)
    }

    /// Lists every name that cannot be one.
    pub(super) fn validate(&self) -> Vec<Invalid> {
        let odd = |name: &&String| name.is_empty() || name.chars().any(char::is_whitespace);
        self.0
            .keys()
            .filter(odd)
            .map(|name| {
                Invalid::new(
                    "tools",
                    format!("{name:?}"),
                    "write a tool's name, such as \"read_*\"",
                )
            })
            .collect()
    }
}

/// Returns whether a name fits a pattern. Linear: each piece between two stars is taken where it first occurs, but
/// for the last, which ends the name.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = name.find(piece) else {
            return false;
        };
        name = &name[at + piece.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, name, want) in [
            ("read", "read", true),
            ("read", "reads", false),
            ("*", "", true),
            ("read_*", "read_file", true),
            ("*_file", "read_file", true),
            ("mcp__*__read*", "mcp__docs__read_page", true),
            ("a*b*b", "ab", false),
            ("a*b*b", "axbxb", true),
            ("*a", "aa", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn the_longest_name_decides() {
        let tools = Tools(
            [
                ("*", ToolMode::Keep),
                ("search_*", ToolMode::Compress),
                ("search_code", ToolMode::Auto),
            ]
            .map(|(name, mode)| (name.to_owned(), mode))
            .into(),
        );
        assert_eq!(tools.mode("search_code"), ToolMode::Auto);
        assert_eq!(tools.mode("search_web"), ToolMode::Compress);
        assert_eq!(tools.mode("read"), ToolMode::Keep);
        assert_eq!(Tools::default().mode("read"), ToolMode::Auto);
    }
}
