//! The question as the lexical signals see it: stems of the words that carry its meaning.

use std::collections::HashMap;

use super::terms::{Terms, is_stop_word, stem};

/// Words that tell what to do with the subject, or name the kind of document, rather than the subject.
const INSTRUCTION: &[&str] = &[
    "according",
    "agreement",
    "answer",
    "attitude",
    "category",
    "certain",
    "clause",
    "clauses",
    "concerning",
    "consider",
    "contain",
    "contains",
    "contract",
    "contracts",
    "counterparty",
    "describe",
    "details",
    "discuss",
    "discussed",
    "discussion",
    "document",
    "documents",
    "either",
    "etc",
    "example",
    "explain",
    "find",
    "following",
    "give",
    "highlight",
    "incl",
    "include",
    "included",
    "includes",
    "including",
    "indicate",
    "introduce",
    "list",
    "many",
    "meeting",
    "mention",
    "mentioned",
    "much",
    "name",
    "opinion",
    "opinions",
    "parties",
    "parts",
    "party",
    "please",
    "provide",
    "provided",
    "regarding",
    "related",
    "required",
    "requirement",
    "respect",
    "respond",
    "response",
    "reviewed",
    "said",
    "say",
    "says",
    "section",
    "show",
    "subject",
    "summarise",
    "summarize",
    "summary",
    "tell",
    "text",
    "think",
    "third",
    "thought",
    "thoughts",
    "toward",
    "towards",
    "within",
    "without",
];

/// Most distinct terms of a question that count.
const MAX_TERMS: usize = 256;

/// Weight that each further occurrence in the question adds to a term.
const REPEATED: f32 = 0.5;

/// Weight of a term of the title.
const TITLE: f32 = 3.0;

/// Longest title, and shortest text that may follow one.
const MAX_TITLE_BYTES: usize = 60;
const MIN_BODY_BYTES: usize = 20;

/// The terms of a question.
#[derive(Clone, Debug, Default)]
pub struct Question {
    terms: HashMap<String, u32>,
    /// Weight of each term.
    weights: Vec<f32>,
}

impl Question {
    /// Reads a question. Instruction words are dropped unless nothing else is left; the words of a title
    /// ("Governing law: which state's law ...") count more.
    pub fn parse(text: &str) -> Self {
        let mut question = Self::default();
        let (title, body) = titled(text);
        let title = words(title);
        for word in meaningful(&words(body)) {
            question.add(word, |before| before.map_or(1.0, |weight| weight + REPEATED));
        }
        for word in title.iter().filter(|word| !is_listed(word)) {
            question.add(word, |_| TITLE);
        }
        question
    }

    fn add(&mut self, word: &str, weight: impl FnOnce(Option<f32>) -> f32) {
        if let Some(&term) = self.terms.get(stem(word)) {
            let slot = &mut self.weights[term as usize];
            *slot = weight(Some(*slot));
        } else if self.weights.len() < MAX_TERMS {
            self.terms
                .insert(stem(word).to_owned(), self.weights.len() as u32);
            self.weights.push(weight(None));
        }
    }

    /// Returns the number of distinct terms.
    pub fn len(&self) -> usize {
        self.terms.len()
    }

    /// Returns true if the question has no term.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns the weight of each term: 1, more if the question repeats it.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// Returns the stem and the index of each term, in no particular order.
    pub fn terms(&self) -> impl Iterator<Item = (&str, u32)> {
        self.terms.iter().map(|(stem, &term)| (stem.as_str(), term))
    }

    /// Returns the index of the term that a lower-case word stems to.
    pub fn term(&self, word: &str) -> Option<u32> {
        self.terms.get(stem(word)).copied()
    }
}

/// Words that ask for what is no text, or for what stands on every page.
const DATA: &[&str] = &[
    "base64",
    "blob",
    "bytes",
    "certificate",
    "checksum",
    "encoded",
    "fingerprint",
    "footer",
    "hash",
    "header",
    "hex",
    "hexadecimal",
    "jwt",
    "key",
    "minified",
    "page",
    "pages",
    "pagina",
    "página",
    "pem",
    "script",
    "seite",
    "seiten",
    "sha256",
    "sha512",
    "signature",
    "token",
    "uri",
    "url",
];

/// Returns true if a question asks for encoded data, code or the furniture of pages, which are else no evidence.
pub fn asks_for_data(question: &str) -> bool {
    let mut asks = false;
    Terms::new(question).for_each(|word| asks |= DATA.binary_search(&word).is_ok());
    asks
}

/// Splits a question into title and body: "Title: a longer description". The title is empty if there is none.
fn titled(text: &str) -> (&str, &str) {
    let is_title = |title: &str| title.len() <= MAX_TITLE_BYTES && !title.contains(['?', '.', '\n']);
    match text.split_once(": ") {
        Some((title, body)) if is_title(title) && body.len() >= MIN_BODY_BYTES => (title, body),
        _ => ("", text),
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    Terms::new(text).for_each(|word| words.push(word.to_owned()));
    words
}

/// Returns the words that carry the meaning; all of them if none does.
fn meaningful(words: &[String]) -> Vec<&String> {
    let keep = |keep: fn(&str) -> bool| words.iter().filter(|word| keep(word)).collect::<Vec<_>>();
    let kept = keep(|word| !is_listed(word));
    if !kept.is_empty() {
        return kept;
    }
    let kept = keep(|word| !is_stop_word(word));
    if kept.is_empty() {
        words.iter().collect()
    } else {
        kept
    }
}

fn is_listed(word: &str) -> bool {
    is_stop_word(word) || INSTRUCTION.binary_search(&word).is_ok()
}
