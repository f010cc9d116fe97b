//! Runs of texts: whoever cuts passages by length cuts sentences. A text that goes on in the middle of a sentence is
//! read together with the text before it.

/// Signs behind which a sentence goes on whatever follows, and signs that no sentence begins with.
const OPEN: [char; 7] = [',', '-', '–', '(', '/', '&', '+'];
const CLOSING: [char; 6] = [',', ';', ')', '%', ']', '/'];

/// Returns whether a text goes on with a sentence of the text before it.
pub(super) fn goes_on(before: &str, text: &str) -> bool {
    let last = before.chars().rev().find(|c| !c.is_whitespace());
    let first = text.chars().find(|c| !c.is_whitespace());
    let (Some(last), Some(first)) = (last, first) else {
        return false;
    };
    let inside = first.is_lowercase() || is_caseless(first) || CLOSING.contains(&first);
    OPEN.contains(&last) || (last.is_alphanumeric() && inside)
}

/// Returns whether a letter has no case, as in Chinese, so that it does not tell whether a sentence begins.
fn is_caseless(letter: char) -> bool {
    letter.is_alphabetic() && !letter.is_lowercase() && !letter.is_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{Document, Text, Texts};

    #[test]
    fn a_text_that_begins_in_a_sentence_goes_on() {
        for (before, text) in [
            ("The supplier shall deli", "ver the goods. "),
            ("The supplier shall ", "deliver the goods."),
            ("within thirty days of the Effective\n\n", "date of this"),
            ("the fees, costs,", " Taxes and duties."),
            ("liable for damages (", "Including lost profit)"),
            ("the sum of 12", "% a year"),
            ("供应商应在三十天", "内交付货物。"),
        ] {
            assert!(goes_on(before, text), "{before} | {text}");
        }
        for (before, text) in [
            ("It is delivered.", "the buyer pays."),
            ("Payment Terms\n", "The buyer pays."),
            ("Is it paid?\n\n", "[2] No."),
            ("| 2019 | 12 |\n", "| 2020 | 13 |"),
            ("the following:", "delivery of the goods"),
            ("", "delivery"),
            ("delivery", "  "),
            ("供应商交付货物。", "客户付款。"),
        ] {
            assert!(!goes_on(before, text), "{before} | {text}");
        }
    }

    #[test]
    fn texts_are_in_a_run_while_they_go_on() -> Result<(), liquid_process::Invalid> {
        let parts = [
            "One is done. Two is do",
            "ne by him and by",
            " her. ",
            "Three is new. ",
            "It ends",
        ];
        let document = parts.concat();
        let texts = parts.map(|part| Text {
            bytes: part.len() as u64,
            whole: true,
        });
        let document = Document::parse_texts(&document, &Texts::new(&document, texts.to_vec())?);
        let mut runs: Vec<(u32, u32)> = document.units.iter().map(|unit| (unit.text, unit.run)).collect();
        runs.dedup();
        assert_eq!(runs, [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]);
        Ok(())
    }
}
