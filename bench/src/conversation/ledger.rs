//! What a provider has seen: the bodies of a conversation, piece by piece, and how much of each had come before.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result};
use liquid_sidecar::policy::cost::Prompt;
use liquid_sidecar::policy::tokens;
use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// SHA-256 of a piece of a body: everything beside the messages, then each message.
type Piece = [u8; 32];

/// The bodies that a provider got in one conversation.
#[derive(Default)]
pub(super) struct Ledger {
    earlier: Vec<Vec<Piece>>,
    tokens: HashMap<Piece, u64>,
}

/// One more body.
#[derive(Debug)]
pub(super) struct EnteredBody {
    pub(super) prompt: Prompt,
    /// Whether all of the body before came again at the beginning of this one; true for the first.
    pub(super) stable: bool,
}

impl Ledger {
    /// Enters the body of a chat completion. The provider has seen the longest beginning, in whole messages, that any
    /// earlier body shares with it byte for byte; nothing where tools or other fields differ.
    pub(super) fn enter(&mut self, body: &[u8]) -> Result<EnteredBody> {
        let mut pieces = Vec::new();
        for piece in split(body)? {
            let hash = <Piece>::from(Sha256::digest(&piece));
            if let Entry::Vacant(entry) = self.tokens.entry(hash) {
                entry.insert(count(&piece)?);
            }
            pieces.push(hash);
        }
        let common = |earlier: &Vec<Piece>| {
            let pairs = earlier.iter().zip(&pieces);
            pairs.take_while(|(a, b)| a == b).count()
        };
        let known = self.earlier.iter().map(common).max().unwrap_or(0);
        let stable = self.earlier.last().is_none_or(|last| common(last) == last.len());
        let sum = |pieces: &[Piece]| pieces.iter().filter_map(|piece| self.tokens.get(piece)).sum();
        let (seen, new) = pieces.split_at(known);
        let prompt = Prompt {
            seen: sum(seen),
            new: sum(new),
        };
        self.earlier.push(pieces);
        Ok(EnteredBody { prompt, stable })
    }
}

/// Splits a body into everything beside its messages, and its messages, each as it is written.
fn split(body: &[u8]) -> Result<Vec<String>> {
    let what = "a body is no chat completion";
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(body).context(what)?;
    let messages = fields.remove("messages").context(what)?;
    let messages: Vec<&RawValue> = serde_json::from_str(messages.get()).context(what)?;
    let messages = messages.into_iter().map(|message| message.get().to_owned());
    let head = serde_json::to_string(&fields)?;
    Ok(std::iter::once(head).chain(messages).collect())
}

/// Estimates the tokens of all strings of a piece, keys aside.
fn count(piece: &str) -> Result<u64> {
    let value: Value = serde_json::from_str(piece)?;
    Ok(strings(&value).into_iter().map(tokens::estimate).sum())
}

/// Returns all texts of a body, joined by line feeds.
pub(super) fn text(body: &[u8]) -> Result<String> {
    let value: Value = serde_json::from_slice(body)?;
    Ok(strings(&value).join("\n"))
}

/// Lists all strings of a value, keys aside.
fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use super::*;

    fn body(messages: &[&str]) -> String {
        let messages: Vec<String> = messages
            .iter()
            .map(|text| format!(r#"{{"role":"user","content":"{text}"}}"#))
            .collect();
        format!(r#"{{"model":"m","messages":[{}]}}"#, messages.join(","))
    }

    fn enter(ledger: &mut Ledger, messages: &[&str]) -> (u64, u64, bool) {
        let entry = ledger.enter(body(messages).as_bytes()).expect("a body");
        (entry.prompt.seen, entry.prompt.new, entry.stable)
    }

    #[test]
    fn a_provider_has_seen_the_longest_beginning_that_came_before() {
        let mut ledger = Ledger::default();
        let (_, first, stable) = enter(&mut ledger, &["one two three", "four"]);
        assert!(first > 0 && stable);
        let (seen, new, stable) = enter(&mut ledger, &["one two three", "four", "five"]);
        assert!(seen == first && new > 0 && stable, "everything comes again");
        let (seen, _, stable) = enter(&mut ledger, &["one two", "four", "five"]);
        assert!(
            0 < seen && seen < first && !stable,
            "a changed message ends it: only the model's name is left"
        );
        let (seen, _, stable) = enter(&mut ledger, &["one two three", "four", "five", "six"]);
        assert!(seen > first && !stable, "what came two calls ago is still known");
    }

    #[test]
    fn other_fields_and_other_bytes_are_not_seen() {
        let mut ledger = Ledger::default();
        enter(&mut ledger, &["one"]);
        let spaced = body(&["one"]).replace("\"user\",", "\"user\", ");
        let entry = ledger.enter(spaced.as_bytes()).expect("a body");
        assert!(!entry.stable, "the same JSON in other bytes");
        let other = body(&["one"]).replace("\"m\"", "\"n\"");
        let entry = ledger.enter(other.as_bytes()).expect("a body");
        assert_eq!((entry.prompt.seen, entry.stable), (0, false), "another model");
        assert!(ledger.enter(b"{}").is_err());
    }
}
