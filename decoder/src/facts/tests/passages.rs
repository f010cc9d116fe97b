//! Passages lead back to their source, and the tokens that may be written are those that stand there.

use super::*;

#[test]
fn a_passage_evens_out_white_space_and_finds_quotes_with_any() {
    let source = "  The lease\r\n\tends in\u{a0}2031.\n\nRent:\u{7} \"five\"\\\n";
    let ends = [source.find('.').unwrap() + 1, source.trim_end().len()];
    let passage = Passage::new(source, &ends);
    assert_eq!(passage.text(), "The lease ends in 2031.\nRent: \"five\"\\");
    assert_eq!(
        passage.written(),
        "The lease ends in 2031.\\nRent: \\\"five\\\"\\\\"
    );
    let quoted = |quote: &str| passage.find(quote).map(|range| &source[range]);
    assert_eq!(
        quoted("lease  ends\nin 2031"),
        Some("lease\r\n\tends in\u{a0}2031")
    );
    assert_eq!(quoted("2031. Rent:"), Some("2031.\n\nRent:"));
    assert_eq!(quoted("five\"\\"), Some("five\"\\"));
    assert_eq!(quoted("Lease ends"), None);
    assert_eq!(quoted(". "), None);
    assert_eq!(quoted(""), None);
}

#[test]
fn a_unit_that_is_too_long_is_cut_between_words() {
    let source = "word ".repeat(1000);
    let passage = Passage::new(source.trim_end(), &[]);
    let end = passage.end_from(5, 9);
    assert!((1100..=1205).contains(&end), "{end}");
    assert!(passage.written()[..end].ends_with("word"));
    assert_eq!(passage.end_after(5, 9), None);
    let one = "é".repeat(3000);
    let passage = Passage::new(&one, &[]);
    let end = passage.end_from(0, 4);
    assert!(passage.written().is_char_boundary(end) && end <= 1200, "{end}");
}

proptest! {
    #[test]
    fn every_part_that_is_read_leads_back_to_the_characters_it_was_made_of(
        source in "[a-c.\"\\\\ \n\té\u{7}]{0,60}",
        ends in proptest::collection::btree_set(0..80_usize, 0..6),
        parts in proptest::collection::vec((0..80_usize, 0..80_usize), 1..8),
    ) {
        let ends: Vec<usize> = ends.into_iter().collect();
        let passage = Passage::new(&source, &ends);
        let flat = |text: &str| {
            let text: String = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        prop_assert_eq!(flat(passage.text()), flat(&source));
        let json: String = serde_json::from_str(&format!("\"{}\"", passage.written())).unwrap();
        prop_assert_eq!(&json, passage.text());
        for (start, length) in parts {
            let shown: String = passage.text().chars().skip(start).take(length).collect();
            if let Some(range) = passage.find(&shown) {
                prop_assert_eq!(flat(&source[range]), flat(&shown));
            } else {
                prop_assert!(!shown.contains(char::is_alphanumeric));
            }
        }
        for start in passage.starts() {
            let end = passage.end_from(*start, start + 1);
            let range = passage.source_of_written(*start..end).unwrap();
            let json: String = serde_json::from_str(&format!("\"{}\"", &passage.written()[*start..end])).unwrap();
            prop_assert_eq!(flat(&source[range]), flat(&json));
        }
    }

    #[test]
    fn the_tokens_that_may_be_written_are_those_that_stand_at_a_place(
        text in "[a-e0-9.{}\"-]{0,40}",
        places in proptest::collection::vec(0..45_usize, 0..8),
    ) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let tokenizer = Tokenizer::read(&tokenizer_folder(&fixtures)).unwrap();
        let mut found = std::collections::BTreeSet::new();
        tokenizer.tree().find(text.as_bytes(), places.clone(), |token| { found.insert(token); });
        let stands = |token: &u32| {
            let bytes = tokenizer.bytes(*token).unwrap_or_default();
            let at = |place: &usize| text.as_bytes().get(*place..).is_some_and(|text| text.starts_with(bytes));
            !bytes.is_empty() && places.iter().any(at)
        };
        let expected: std::collections::BTreeSet<u32> = (0..tokenizer.size() as u32).filter(stands).collect();
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn special_tokens_in_a_document_are_text() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let tokenizer = Tokenizer::read(&tokenizer_folder(&fixtures)).unwrap();
    assert!(tokenizer.encode("ab</s>", false).unwrap().contains(&2));
    assert!(!tokenizer.encode_plain("ab</s>").unwrap().contains(&2));
}
