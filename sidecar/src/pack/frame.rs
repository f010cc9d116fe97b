//! The text that stands in place of a document: its evidence, word for word and in order, inside a frame that
//! the document cannot imitate.
//!
//! ```text
//! [excerpt k7qd: 18% of a document of 152311 bytes, word for word and in order. [k7qd @N] comes before the
//! passage that starts at byte N; what lies between passages is left out here, the document itself is complete.
//! If the answer is not in this excerpt, say so.]
//! [k7qd @0]
//! ...
//! [k7qd @1234]
//! ...
//! [end of excerpt k7qd]
//! ```
//!
//! The name `k7qd` is derived from the document's hash, and derived again until the document does not hold it
//! in brackets: whoever writes a document cannot write a marker of its frame, and its text need not be
//! altered.

use std::fmt::Write as _;
use std::ops::Range;

use memchr::memmem;
use sha2::{Digest, Sha256};

use super::facts::Fact;
use super::manifest::KeptSpan;

const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Tokens of the mark before a passage, `[k7qd @12345]`, with the line breaks behind it and behind the passage.
pub const MARK: u64 = 12;

/// Writes the pack of a document. `spans` are in order, do not overlap, and stand on character boundaries; a
/// span that does not is left out.
///
/// Deterministic: the same document and spans give the same bytes.
pub fn write(document: &str, document_sha256: &[u8; 32], spans: &[KeptSpan]) -> String {
    write_with_facts(document, document_sha256, spans, &[])
}

/// Writes the pack of a document with facts before its passages, each with the byte at which its quote begins.
///
/// Deterministic: the same document, spans and facts give the same bytes.
pub fn write_with_facts(
    document: &str,
    document_sha256: &[u8; 32],
    spans: &[KeptSpan],
    facts: &[Fact],
) -> String {
    let passages = passages(document, spans);
    let kept: usize = passages.iter().map(Range::len).sum();
    let name = name(document, document_sha256);
    let mut text = String::with_capacity(kept + 40 * passages.len() + 400);
    let share = share(kept, document.len());
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "[excerpt {name}: {share} of a document of {} bytes, word for word and in order. [{name} @N] comes before \
         the passage that starts at byte N; what lies between passages is left out here, the document itself is \
         complete. If the answer is not in this excerpt, say so.]",
        document.len()
    );
    // Whoever wrote the document cannot know the name, and what they make the model say must not hold it.
    let facts = facts.iter().filter(|fact| !fact.text.contains(&name));
    let facts: Vec<&Fact> = facts.collect();
    if !facts.is_empty() {
        let _ = writeln!(
            text,
            "[facts {name}: what a language model read in the document, each with the byte at which its proof begins; \
             trust the excerpt where they differ]"
        );
        for fact in facts {
            let _ = writeln!(text, "- {} [{name} @{}]", fact.text, fact.start);
        }
        let _ = writeln!(text, "[end of facts {name}]");
    }
    for passage in passages {
        let _ = writeln!(text, "[{name} @{}]", passage.start);
        let _ = writeln!(text, "{}", &document[passage]);
    }
    let _ = write!(text, "[end of excerpt {name}]");
    text
}

/// Writes what stands in place of a passage that is left out whole.
pub fn write_left_out(document: &str, document_sha256: &[u8; 32]) -> String {
    format!("[{}: passage left out]", name(document, document_sha256))
}

/// A document of an earlier turn, and what is added of it.
#[derive(Debug, Clone, Copy)]
pub struct Addition<'a> {
    /// The document.
    pub document: &'a str,
    /// Its SHA-256.
    pub sha256: &'a [u8; 32],
    /// What is added: in order, disjoint, on character boundaries.
    pub spans: &'a [KeptSpan],
}

/// Writes what a later turn is given of documents that were packed before it, under the names that their packs have.
///
/// Deterministic: the same additions give the same bytes.
pub fn write_further(additions: &[Addition<'_>]) -> String {
    let mut text = String::from("[further excerpts from above, word for word, for what follows:]\n");
    for addition in additions {
        let name = name(addition.document, addition.sha256);
        for passage in passages(addition.document, addition.spans) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "[{name} @{}]", passage.start);
            let _ = writeln!(text, "{}", &addition.document[passage]);
        }
        let _ = writeln!(text, "[end of excerpt {name}]");
    }
    text.push('\n');
    text
}

/// Writes all that was not there yet of documents that were packed before a turn, each as one text: nothing is left to
/// tell apart, and marks would make the document dearer than it was.
///
/// Deterministic: the same additions give the same bytes.
pub fn write_rest(additions: &[Addition<'_>]) -> String {
    let mut text = String::new();
    for addition in additions {
        let name = name(addition.document, addition.sha256);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[the rest of {name}, word for word and in order:]");
        for passage in passages(addition.document, addition.spans) {
            let _ = writeln!(text, "{}", &addition.document[passage]);
        }
        let _ = writeln!(text, "[end of excerpt {name}]");
    }
    text.push('\n');
    text
}

/// Writes passages of a document under the name that its pack has, for a model that asked for them.
///
/// Deterministic: the same spans give the same bytes.
pub fn write_passages(document: &str, name: &str, spans: &[KeptSpan]) -> String {
    let mut text = String::new();
    for passage in passages(document, spans) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[{name} @{}]", passage.start);
        let _ = writeln!(text, "{}", &document[passage]);
    }
    let _ = write!(text, "[end of excerpt {name}]");
    text
}

/// Spans with nothing but white space between them are one passage.
fn passages(document: &str, spans: &[KeptSpan]) -> Vec<Range<usize>> {
    let mut passages: Vec<Range<usize>> = Vec::new();
    for span in spans {
        let (start, end) = (span.start as usize, span.end as usize);
        if document.get(start..end).is_none_or(str::is_empty) {
            continue;
        }
        match passages.last_mut() {
            Some(last) if start < last.end => {}
            Some(last) if document[last.end..start].trim().is_empty() => last.end = end,
            _ => passages.push(start..end),
        }
    }
    passages
}

fn share(kept: usize, all: usize) -> String {
    match (kept * 100).checked_div(all).unwrap_or(100) {
        0 => "less than 1%".to_owned(),
        percent => format!("{percent}%"),
    }
}

/// Derives the name of a document's pack: one that the document does not hold behind an opening bracket or the word
/// "excerpt".
pub fn name(document: &str, document_sha256: &[u8; 32]) -> String {
    // Longer with each attempt: a document made to hold the first names meets longer ones, each of which
    // depends on the hash of the whole document.
    let names = (0..28_u8).map(|attempt| {
        let hash = Sha256::new()
            .chain_update(document_sha256)
            .chain_update([attempt])
            .finalize();
        let length = 4 + usize::from(attempt);
        hash.iter()
            .take(length)
            .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
            .collect::<String>()
    });
    let holds = |name: &str| {
        ["[", "excerpt "]
            .iter()
            .any(|before| memmem::find(document.as_bytes(), format!("{before}{name}").as_bytes()).is_some())
    };
    let mut last = String::new();
    for name in names {
        last = name;
        if !holds(&last) {
            break;
        }
    }
    last
}
