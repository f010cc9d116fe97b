//! Facts in what a language model writes freely, both ways: from any text nothing panics, and what is read is bounded; of
//! facts that are written as JSON and cut anywhere, those that are whole before the cut are read as they were written.
//!
//! The module is compiled in by its path: through its crate it would bring burn along.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;

#[path = "../../decoder/src/facts/parse.rs"]
mod parse;

use parse::{MOST_FACTS, RawFact, Reading, parse};

/// Longest text of which all is read.
const MOST_BYTES: usize = 1 << 16;

fuzz_target!(|text: &str| {
    if let Some(parsed) = parse(text) {
        assert!(parsed.facts.len() <= MOST_FACTS);
        assert!(parsed.facts.iter().all(|fact| !fact.quote.trim().is_empty()));
        assert!(!parsed.facts.is_empty() || parsed.reading == Reading::Strict);
    }
    there_and_back(text);
});

/// Takes each line for a fact, quote and text on either side of the first bar.
fn there_and_back(text: &str) {
    let facts = text.split('\n').filter_map(|line| {
        let (quote, fact) = line.split_once('|').unwrap_or((line, ""));
        let fact = RawFact {
            quote: quote.trim().to_owned(),
            fact: fact.trim().to_owned(),
        };
        (!fact.quote.is_empty()).then_some(fact)
    });
    let facts: Vec<RawFact> = facts.take(MOST_FACTS).collect();
    let objects: Vec<String> = facts
        .iter()
        .map(|fact| json!({"quote": fact.quote, "fact": fact.fact}).to_string())
        .collect();
    let begin = "{\"facts\":[";
    let written = format!("{begin}{}]}}", objects.join(","));
    if written.len() > MOST_BYTES {
        return;
    }
    let read = parse(&written).expect("JSON of the right form is read");
    assert_eq!((read.reading, &read.facts), (Reading::Strict, &facts));
    // Any cut will do: the input is what varies it.
    let mut cut = text.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % written.len();
    while !written.is_char_boundary(cut) {
        cut -= 1;
    }
    let mut end = begin.len();
    let whole = objects.iter().take_while(|object| {
        let last = end + object.len();
        end = last + 1;
        last <= cut
    });
    let whole = whole.count();
    let read = parse(&written[..cut]).map_or_else(Vec::new, |parsed| parsed.facts);
    assert!(read.len() >= whole, "{} facts of {whole}", read.len());
    assert_eq!(read[..whole], facts[..whole]);
}
