//! White space as the provider's checks see it.

/// Returns whether a text has nothing but white space; Anthropic refuses such text blocks and stop sequences.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(is_space)
}

/// Cuts white space off a text's end; Anthropic refuses it at the end of a last assistant turn.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// The provider's checks count the four separators of ASCII as white space, which Unicode's property does not.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}
