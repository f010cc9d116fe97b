//! Joins the words that people ask with to the words that contracts are written in.
//!
//! Query expansion by a small thesaurus (Manning, Raghavan and Schütze 2008, "Introduction to Information
//! Retrieval", 9.2), used for contracts only: [`ContractLanguage`] looks at the document's own words. The
//! entries are data, in `contracts.toml`.

use std::sync::OnceLock;

use serde::Deserialize;

use super::terms::stem;

/// Stems that contracts are full of.
const CONTRACT_STEMS: [&str; 9] = [
    "agree", "hereb", "herei", "hereu", "parti", "party", "pursu", "shall", "there",
];

/// Share of [`CONTRACT_STEMS`] among a contract's words. On the DEV sets contracts have 0.017 to 0.079, and no
/// other document has more than 0.0115.
const CONTRACT_SHARE: f64 = 0.014;

#[derive(Deserialize)]
struct File {
    entry: Vec<Entry>,
}

/// A subject: the words that ask for it, and the words that speak of it.
#[derive(Deserialize)]
struct Entry {
    ask: Vec<String>,
    find: Vec<String>,
}

/// Calls `add` with each word that a clause on the question's subject is likely to use.
pub(super) fn expand(question: &[String], mut add: impl FnMut(&str)) {
    let asked = |entry: &&Entry| {
        let asks = |word: &String| question.iter().any(|asked| stem(asked) == stem(word));
        entry.ask.iter().any(asks)
    };
    for entry in entries().iter().filter(asked) {
        entry.find.iter().for_each(|word| add(word));
    }
}

/// Counts that tell contracts from other documents by their words.
#[derive(Debug, Default)]
pub(super) struct ContractLanguage {
    words: u64,
    of_contracts: u64,
}

impl ContractLanguage {
    /// Counts a lower-case word.
    pub(super) fn see(&mut self, word: &str) {
        self.words += 1;
        self.of_contracts += u64::from(CONTRACT_STEMS.binary_search(&stem(word)).is_ok());
    }

    /// Returns true if the words counted are those of a contract.
    pub(super) fn is_contract(&self) -> bool {
        self.of_contracts as f64 > CONTRACT_SHARE * self.words as f64
    }
}

fn entries() -> &'static [Entry] {
    static ENTRIES: OnceLock<Vec<Entry>> = OnceLock::new();
    // A test reads the file; a broken one would only cost the expansion.
    ENTRIES.get_or_init(|| {
        toml::from_str::<File>(include_str!("contracts.toml")).map_or_else(|_| Vec::new(), |file| file.entry)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::terms::Terms;
    use super::*;

    #[test]
    fn every_entry_can_be_read_and_has_both_sides() {
        let file: File = toml::from_str(include_str!("contracts.toml")).unwrap();
        assert!(
            file.entry
                .iter()
                .all(|entry| !entry.ask.is_empty() && !entry.find.is_empty())
        );
        assert_eq!(file.entry.len(), entries().len());
        assert!(CONTRACT_STEMS.is_sorted());
    }

    #[test]
    fn a_question_brings_the_words_of_its_clause() {
        let mut found = Vec::new();
        expand(&["assignments".to_owned()], |word| found.push(word.to_owned()));
        assert!(found.contains(&"successors".to_owned()) && !found.contains(&"escrow".to_owned()));
        let before = found.len();
        expand(&["weather".to_owned()], |word| found.push(word.to_owned()));
        assert_eq!(found.len(), before, "an unknown subject has no words");
    }

    #[test]
    fn tells_contracts_from_other_texts() {
        let contract = "This Agreement is made between the parties hereto. \
                        The Supplier shall deliver the goods. \
                        Neither party shall assign this Agreement without consent.";
        let story = "The television movie was broadcast in December, and one season of episodes was ordered.";
        let is_contract = |text: &str| {
            let mut language = ContractLanguage::default();
            Terms::new(text).for_each(|word| language.see(word));
            language.is_contract()
        };
        assert!(is_contract(contract) && !is_contract(story) && !is_contract(""));
    }
}
