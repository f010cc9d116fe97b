//! The beginning of a prompt, by which calls that share it find the worker that has read it before: what the system and
//! the tools say, and how the conversation begins. A conversation keeps it in all its turns: packs of earlier turns are
//! the same bytes in every later call.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::extract::PrefixKey;

/// Bytes of what stands before the model's first words that count. Questions about a document that stands first share
/// more; what shares less is read again at little cost.
const OPENING: usize = 4 << 10;

/// The parts of a request that its prompt begins with.
#[derive(Debug, Default, Deserialize)]
struct Prompt<'a> {
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    prompt: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    role: Cow<'a, str>,
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
}

/// Computes the key of a body. One that cannot be read has that of an empty prompt: the worker refuses it.
pub fn prefix_key(body: &[u8]) -> PrefixKey {
    let prompt: Prompt<'_> = serde_json::from_slice(body).unwrap_or_default();
    let mut hash = Sha256::new();
    let mut left = OPENING;
    if let Some(tools) = prompt.tools {
        add(&mut hash, tools.get());
    }
    for message in &prompt.messages {
        let content = message.content.map_or("", RawValue::get);
        match &*message.role {
            "system" | "developer" => add(&mut hash, content),
            "assistant" => break,
            _ => add_opening(&mut hash, content, &mut left),
        }
    }
    if let Some(prompt) = prompt.prompt {
        add_opening(&mut hash, prompt.get(), &mut left);
    }
    hash.finalize().into()
}

fn add_opening(hash: &mut Sha256, text: &str, left: &mut usize) {
    let counts = text.floor_char_boundary(text.len().min(*left));
    add(hash, &text[..counts]);
    *left -= counts;
}

/// Adds a text so that no two lists of texts are alike.
fn add(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::{Value, json};

    fn key(messages: &Value) -> PrefixKey {
        prefix_key(json!({"model": "m", "messages": messages}).to_string().as_bytes())
    }

    fn user(text: &str) -> Value {
        json!({"role": "user", "content": text})
    }

    #[test]
    fn a_conversation_keeps_its_key() {
        let system = json!({"role": "system", "content": "Be brief."});
        let answer = json!({"role": "assistant", "content": "4"});
        let first = key(&json!([system, user("2 + 2?")]));
        let second = key(&json!([system, user("2 + 2?"), answer, user("And 3?")]));
        assert_eq!(first, second);
        for other in [
            json!([system, user("3 + 3?")]),
            json!([user("2 + 2?")]),
            json!([system, user("2 + 2?"), user("And 3?")]),
        ] {
            assert_ne!(first, key(&other), "{other}");
        }
        let tools = json!({"tools": [{"type": "function"}], "messages": [system, user("2 + 2?")]});
        assert_ne!(first, prefix_key(tools.to_string().as_bytes()));
    }

    #[test]
    fn questions_about_a_document_that_stands_first_share_a_key() {
        let document = "Whereas the parties agree. ".repeat(300);
        let ask = |question: &str| key(&json!([user(&document), user(question)]));
        assert_eq!(ask("Who pays?"), ask("When does it end?"));
        let joined = |question: &str| key(&json!([user(&format!("{document}\n{question}"))]));
        assert_eq!(joined("Who pays?"), joined("When does it end?"));
        assert_ne!(joined("Who pays?"), key(&json!([user("Who pays?")])));
    }

    #[test]
    fn a_plain_prompt_counts_by_its_beginning() {
        let plain = |prompt: &str| prefix_key(json!({"prompt": prompt}).to_string().as_bytes());
        let long = "ä".repeat(5_000);
        assert_eq!(plain(&long), plain(&format!("{long} and more")));
        assert_ne!(plain("a"), plain("b"));
    }

    #[test]
    fn what_cannot_be_read_has_a_key_too() {
        for body in ["", "[]", "{\"messages\":1}", "{\"messages\":[{\"role\":1}]}"] {
            assert_eq!(prefix_key(body.as_bytes()), prefix_key(b"{}"), "{body}");
        }
    }
}
