//! Identifiers that Anthropic takes, in place of those that it refuses.
//!
//! Whatever is already valid stays as it is. What is not gets an alias made of its own characters and a hash, so
//! that the same request gives the same bytes each time and a prompt cache keeps working.

use std::collections::{BTreeMap, HashMap, HashSet};

use base16ct::lower::encode_string;
use sha2::{Digest, Sha256};

/// Longest identifier. Anthropic's page on tools allows names of 64 characters.
pub(super) const MAX_LENGTH: usize = 64;

/// Longest `metadata.user_id` (Messages API reference).
const MAX_USER_LENGTH: usize = 256;

/// Characters of the original that an alias begins with.
const KEPT_LENGTH: usize = 40;

/// Returns whether an identifier matches Anthropic's pattern for names and ids of tools.
pub(super) fn is_valid(identifier: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !identifier.is_empty() && identifier.len() <= MAX_LENGTH && identifier.bytes().all(allowed)
}

fn hash(text: &str, length: usize) -> String {
    let mut hash = encode_string(&Sha256::digest(text.as_bytes()));
    hash.truncate(length);
    hash
}

/// The number `occurrence` tells the uses of one identifier apart.
fn alias(identifier: &str, occurrence: usize) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    let kept = identifier.chars().take(KEPT_LENGTH);
    let kept: String = kept.map(|each| if allowed(each) { each } else { '_' }).collect();
    format!("{kept}_{}", hash(&format!("{identifier}\0{occurrence}"), 16))
}

/// Ids of one conversation's calls: no two calls share one.
#[derive(Debug, Default)]
pub(super) struct CallIds(HashSet<String>);

impl CallIds {
    /// Returns the id of a further call. Clients that count calls in each turn anew use an id twice, which
    /// Anthropic refuses.
    pub(super) fn issue(&mut self, id: &str) -> String {
        let own = is_valid(id).then(|| id.to_owned());
        let aliases = (0..).map(|occurrence| alias(id, occurrence));
        let mut free = own
            .into_iter()
            .chain(aliases)
            .filter(|each| !self.0.contains(each));
        let issued = free.next().unwrap_or_default();
        self.0.insert(issued.clone());
        issued
    }
}

/// Names of one request's tools: one name has one alias everywhere, and two names never share one.
#[derive(Debug, Default)]
pub(super) struct ToolNames {
    aliases: HashMap<String, String>,
    taken: HashSet<String>,
}

impl ToolNames {
    /// Returns the name to send for a tool.
    pub(super) fn translate(&mut self, name: &str) -> String {
        if let Some(known) = self.aliases.get(name) {
            return known.clone();
        }
        let own = is_valid(name).then(|| name.to_owned());
        let aliases = (0..).map(|occurrence| alias(name, occurrence));
        let mut free = own
            .into_iter()
            .chain(aliases)
            .filter(|each| !self.taken.contains(each));
        let issued = free.next().unwrap_or_default();
        self.taken.insert(issued.clone());
        self.aliases.insert(name.to_owned(), issued.clone());
        issued
    }

    /// Lists the names that were sent, sorted.
    pub(super) fn sent(&self) -> Vec<String> {
        let mut names: Vec<String> = self.taken.iter().cloned().collect();
        names.sort_unstable();
        names
    }

    /// Returns the client's name for each name that was replaced.
    pub(super) fn originals(self) -> BTreeMap<String, String> {
        let replaced = self.aliases.into_iter().filter(|(name, alias)| name != alias);
        replaced.map(|(name, alias)| (alias, name)).collect()
    }
}

/// Returns the `metadata.user_id` for a client's `user`; `None` where there is none.
///
/// Anthropic wants an opaque identifier, and refuses what looks like an e-mail address or a telephone number. An
/// identifier is opaque if it has 1 to 256 characters, all of them ASCII letters, digits, `_`, `-`, `:` or `|`,
/// and none of its parts between `:` and `|` is a telephone number: 7 to 15 digits, with or without hyphens.
/// Everything else (addresses, numbers, names with spaces or dots) goes out as the first half of its SHA-256:
/// still one value for each user, and no longer personal data in the clear.
pub(super) fn user_id(user: &str) -> Option<String> {
    let user = user.trim();
    if user.is_empty() {
        return None;
    }
    Some(if is_opaque(user) {
        user.to_owned()
    } else {
        format!("sha256-{}", hash(user, 32))
    })
}

fn is_opaque(user: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:|".contains(&byte);
    let is_number = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        (7..=15).contains(&digits) && part.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    };
    user.len() <= MAX_USER_LENGTH && user.bytes().all(allowed) && !user.split([':', '|']).any(is_number)
}
