//! The page itself: one file with its script and style, and the policy that lets the browser run those and no others.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The page. It inserts every text as a text node.
pub const HTML: &str = include_str!("page.html");

/// The page's content security policy: its own script and style by their hashes, answers of this origin, nothing else.
/// A script that made markup of a text would be stopped by the browser.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        hash("<script>", "</script>"),
        hash("<style>", "</style>")
    )
});

/// Returns the hash of what stands between two tags, as the policy spells it.
fn hash(open: &str, close: &str) -> String {
    let inside = HTML
        .split_once(open)
        .and_then(|(_, rest)| rest.split_once(close))
        .map_or("", |(inside, _)| inside);
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inside)))
}
